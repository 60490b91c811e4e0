"""Transfer with few labels, in new places, against what one would do instead.

    python tools/few_shot.py [--seeds 3] [--steps 300] [--counts 1 --counts 3 ...] [--labels worldcover|water]
                             [--output build/few_shot]

Each seed orders the transfer places' training chips of water12; the first 1, 3, 10 and 45 are all that a contestant
sees, for validation and penalties too. Tested on the transfer places' test chips. All networks take `--steps` steps of
8 patches of 64 pixels. Finished runs in the output folder are kept, interrupted ones go on: a call without `--counts`
and `--labels` puts the whole table together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from contestants import BASE, DATASETS, FOREST, SCRATCH, Result, base_result, mean, run, shown, write_figures
from rich.console import Console
from rich.table import Table

from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import Dataset, read_dataset
from segapp.model.bundle import read_spec
from segapp.scenes.scene import Scene
from segapp.windows import whole

LABELS = {"worldcover": "water12_transfer.toml", "water": "water12_water.toml"}
CONTESTANTS = (SCRATCH, "staged", FOREST)
COUNTS = (1, 3, 10, 45)
PATCH = 64


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` training chips and all test chips; of one seed the larger subsets hold the smaller ones.

    The first chip is one that shows at least two classes.
    """
    train, test = ([m for m in dataset.members if m[0] == role] for role in ("train", "test"))
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    first = next(i for i in order if _classes_shown(train[i][1]) > 1)
    chosen = [first, *(i for i in order if i != first)][:count]
    return replace(dataset, members=(*(train[i] for i in chosen), *test))


def _classes_shown(scene: Scene) -> int:
    labels = scene.read_labels(whole(scene.shape))
    return len(np.unique(labels[labels != IGNORED_INDEX]))


def verdicts(labels: str, results: dict[int, dict[str, list[Result]]]) -> list[tuple[str, bool]]:
    """What was to be shown, with the figures, and whether it holds."""
    margins = {
        other: {count: mean(of["staged"]) - mean(of[other]) for count, of in results.items()}
        for other in (SCRATCH, FOREST)
    }
    found = []
    for other, by_count in margins.items():
        if labels == "worldcover":
            for count, margin in by_count.items():
                bar = 0.05 if other == SCRATCH and count < 45 else 0.0
                holds = margin >= bar if other == SCRATCH else margin > bar
                found.append((f"{count} chips: staged - {other} {margin:+.4f}, bar {bar:+.2f}", holds))
        else:
            average, worst = float(np.mean(list(by_count.values()))), min(by_count.values())
            found.append((f"mean of {len(by_count)} counts: staged - {other} {average:+.4f}, bar above 0", average > 0))
            found.append((f"worst count: staged - {other} {worst:+.4f}, bar -0.01", worst >= -0.01))
    return found


def table_of(title: str, results: dict[int, dict[str, list[Result]]], base: Result | None) -> Table:
    """Chip counts in rows, contestants in columns: mean IoU as mean (worst..best), and the margins of staged."""
    table = Table(title=title, show_lines=True)
    margins = [f"staged - {other}" for other in (SCRATCH, FOREST)]
    for column in ("chips", *CONTESTANTS, *margins, "staged wrote"):
        table.add_column(column, justify="right")
    for count, of in results.items():
        gains = [f"{mean(of['staged']) - mean(of[other]):+.4f}" for other in (SCRATCH, FOREST)]
        winners = ", ".join(str(one.winner) for one in of["staged"])
        table.add_row(str(count), *(shown(of[name]).replace(" ", "\n") for name in CONTESTANTS), *gains, winners)
    if base:
        table.caption = f"the base itself: accuracy {base.accuracy:.4f}, mean IoU {base.mean_iou:.4f}"
    return table


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--counts", multiple=True, type=int, default=COUNTS, show_default=True)
@click.option("--labels", type=click.Choice(list(LABELS)), multiple=True, default=list(LABELS), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/few_shot"), show_default=True)
def main(seeds: int, steps: int, counts: tuple[int, ...], labels: tuple[str, ...], output: Path) -> None:
    """Run what is missing, print a table for each label set and write figures.json."""
    figures, console = {}, Console(width=160)
    for label_set in labels:
        dataset = read_dataset(DATASETS / LABELS[label_set])
        results: dict[int, dict[str, list[Result]]] = {count: {n: [] for n in CONTESTANTS} for count in counts}
        for count in counts:
            for seed in range(seeds):
                few = subset(dataset, count, seed)
                for name in CONTESTANTS:
                    folder = output / label_set / f"{count}-chips" / f"{name.replace(' ', '-')}-{seed}"
                    result = run(name, few, folder, seed, steps=steps, patch=PATCH)
                    click.echo(f"{label_set}, {count} chips, seed {seed}, {name}: mean IoU {result.mean_iou:.4f}")
                    results[count][name].append(result)
        same_classes = dataset.classes == read_spec(BASE).classes
        base = base_result(dataset) if same_classes else None
        found = verdicts(label_set, results)
        title = f"{label_set}: mean IoU on transfer-test, {seeds} seeds, {steps} steps"
        console.print(table_of(title, results, base))
        for text, holds in found:
            console.print(f"{text}: {'holds' if holds else 'DOES NOT HOLD'}", highlight=False)
        figures[label_set] = {
            "steps": steps,
            "base": base,
            "results": results,
            "verdicts": [{"line": text, "holds": holds} for text, holds in found],
        }
        write_figures(output / "figures.json", figures)


if __name__ == "__main__":
    main()
