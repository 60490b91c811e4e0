"""The forum user's proof of concept: a base brought to the data and classes that it was trained on.

    python tools/reproduce_forum.py [--seeds 3] [--steps 60 --steps 300] [--method forum ...] [--output build/forum]

Contestants take equal steps of 8 patches of 128 pixels (`head` takes none) and are scored on the base's own test
places: the forum recipe to the letter, the same with frozen layers, `head`, `full`, `staged`, and from scratch; beside
them `staged` as it comes, with its own steps and patches. Then `staged` on the transfer places. Writes table,
figures.json and forum.png. Finished runs in the output folder are kept, interrupted ones go on.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from contestants import (
    BASE,
    DATASETS,
    FROZEN_FORUM,
    SCRATCH,
    Result,
    base_result,
    mean,
    run,
    shown,
    write_figures,
)
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import segapp
from segapp.data.dataset import Dataset, read_dataset
from segapp.model.bundle import read_spec
from segapp.training.records import read_log

CONTESTANTS = ("forum", FROZEN_FORUM, "head", "full", "staged", SCRATCH)
DEFAULTS = "defaults"
PATCH = 128
Results = dict[str, dict[str, list[Result]]]
"""By steps ("60", ..., or "defaults"), then by contestant; one result a seed."""


def curve(folder: Path) -> list[tuple[int, float]]:
    """Validation mean IoU by step, phases one after another, from the model that the first phase starts with."""
    lines = read_spec(folder).provenance.get("phases", ())
    points = [(0, line["mean_iou"]) for line in lines if line["phase"] in ("base", "head") and line["won"]][-1:]
    before = 0
    for phase in sorted(folder.glob("[0-9]-*")) or [folder]:
        rows = read_log(phase)
        points += [(before + row.step, row.val_mean_iou) for row in rows if row.val_mean_iou is not None]
        before += rows[-1].step if rows else 0
    return points


def run_all(
    dataset: Dataset, output: Path, contestants: tuple[str, ...], steps: tuple[int, ...], seeds: int
) -> Results:
    """Every contestant with each number of steps, and `staged` as it comes."""
    plan = [(DEFAULTS, "staged"), *((str(number), name) for number in steps for name in contestants)]
    results: Results = {}
    for seed in range(seeds):
        for budget, name in plan:
            own = {} if budget == DEFAULTS else {"steps": int(budget), "patch": PATCH}
            result = run(name, dataset, folder_of(output, budget, name, seed), seed, **own)
            click.echo(
                f"{output.name}, {budget} steps, seed {seed}, {name}: accuracy {result.accuracy:.4f}, "
                f"mean IoU {result.mean_iou:.4f}"
            )
            results.setdefault(budget, {}).setdefault(name, []).append(result)
    return results


def folder_of(output: Path, budget: str, name: str, seed: int) -> Path:
    """Where one run lies."""
    return output / budget / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def table_of(title: str, results: Results, base: Result) -> Table:
    """A line each contestant: mean (worst..best) over the seeds, the means' distance to the base, and what won."""
    table = Table(title=title)
    table.add_column("steps", justify="right")
    table.add_column("")
    for column in ("accuracy", "against the base", "mean IoU", "against the base"):
        table.add_column(column, justify="right")
    table.add_column("written")
    table.add_row("", "the base", f"{base.accuracy:.3f}", "", f"{base.mean_iou:.3f}", "", "")
    for budget, of in results.items():
        table.add_section()
        for name, found in of.items():
            scores = []
            for score in ("accuracy", "mean_iou"):
                scores += [shown(found, score), f"{mean(found, score) - getattr(base, score):+.4f}"]
            table.add_row(budget, name, *scores, ", ".join(one.winner or "last" for one in found))
    return table


def verdicts(same: Results, base: Result) -> list[tuple[str, bool]]:
    """What was to be shown, with the figures, and whether it holds."""
    found = []
    for budget, of in same.items():
        for score in ("accuracy", "mean_iou") if "staged" in of else ():
            gains = [getattr(one, score) - getattr(base, score) for one in of["staged"]]
            average, worst = float(np.mean(gains)), min(gains)
            text = f"{budget}: staged - base, {score} {average:+.4f}, worst seed {worst:+.4f}, bars 0 and -0.005"
            found.append((text, average >= 0 and worst >= -0.005))
        if "forum" in of:
            loss = base.accuracy - mean(of["forum"], "accuracy")
            bar = ", bar 0.1" if budget == "60" else ""
            found.append((f"{budget}: forum loses {loss:.4f} accuracy{bar}", not bar or loss >= 0.1))
    return found


def plot(
    file: Path, output: Path, contestants: tuple[str, ...], steps: tuple[int, ...], seeds: int, base: float
) -> None:
    """Validation mean IoU against step, a panel for each number of steps: one line each contestant, mean of seeds."""
    figure = Figure(figsize=(6 * len(steps) + 2, 5), layout="constrained")
    panels = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
    for panel, number in zip(panels, steps, strict=True):
        panel.axhline(base, color="black", lw=1, ls="--", label="the base")
        for index, name in enumerate(contestants):
            of_seeds = [curve(folder_of(output, str(number), name, seed)) for seed in range(seeds)]
            at = [step for step, _ in of_seeds[0]]
            values = np.mean([[value for _, value in points] for points in of_seeds], axis=0).tolist()
            if name == "head":  # takes no steps
                at, values = [0, number], values * 2
            panel.plot(at, values, color=f"C{index}", marker="o", ms=3, lw=1.5, label=name)
        panel.set_title(f"{number} steps")
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("validation mean IoU" + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(file, dpi=110)


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", multiple=True, type=int, default=(60, 300), show_default=True)
@click.option("--method", "contestants", type=click.Choice(CONTESTANTS), multiple=True, default=CONTESTANTS)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/forum"), show_default=True)
def main(seeds: int, steps: tuple[int, ...], contestants: tuple[str, ...], output: Path) -> None:
    """Run what is missing, print the tables, draw the plot and write figures.json."""
    same = read_dataset(DATASETS / "water12_worldcover.toml")
    other = read_dataset(DATASETS / "water12_transfer.toml")
    on_same = run_all(same, output / "same-places", contestants, steps, seeds)
    on_other = run_all(other, output / "transfer-places", ("staged",), (), seeds)
    base, base_elsewhere = base_result(same), base_result(other)
    found = verdicts(on_same, base)
    of_base = segapp.evaluate(BASE, same, role="val").mean_iou
    plot(output / "forum.png", output / "same-places", contestants, steps, seeds, of_base)
    figures = {
        "same places": {"base": base, "results": on_same},
        "transfer places": {"base": base_elsewhere, "results": on_other},
        "verdicts": [{"line": text, "holds": holds} for text, holds in found],
    }
    write_figures(output / "figures.json", figures)
    console = Console(width=140)
    console.print(table_of(f"Same data, same classes: test places, {seeds} seeds", on_same, base))
    console.print(table_of(f"Same classes, new places: transfer-test, {seeds} seeds", on_other, base_elsewhere))
    for text, holds in found:
        console.print(f"{text}: {'holds' if holds else 'DOES NOT HOLD'}", highlight=False)
    console.print(f"{output / 'forum.png'}, {output / 'figures.json'}", highlight=False)


if __name__ == "__main__":
    main()
