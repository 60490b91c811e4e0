"""Transfer from models/unet6 against what an analyst could do without it, on many kinds of data.

    python tools/transfer_benchmark.py [--seeds 3] [--steps 300] [--half tuning|report] [--task NAME ...]
                                       [--output build/transfer_benchmark]

`staged` is `segapp finetune --base models/unet6`; the others are the default recipe from scratch with as many steps, a
random forest on single pixels, and one on filters of several scales. All see the same labels: where a task has few
scenes, each seed draws others. The defaults of segapp were chosen on the tasks of the tuning half alone. Regret is by
how much the best candidate of the guard would have scored higher on the test scenes than the one that it wrote.

Writes a table and figures.json. Finished runs in the output folder are kept, interrupted ones go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

import click
import keras
from contestants import BASE, DATASETS, write_figures
from forest import forest_scores, multiscale, single_pixels
from rich.console import Console
from rich.table import Table
from scene_parts import cut_scenes, subset

import segapp
from segapp.data.dataset import Dataset, read_dataset
from segapp.nets.precision import choose_precision
from segapp.training.devices import make_strategy
from segapp.training.display import Display
from segapp.training.recipe import read_recipe
from segapp.transfer.base import read_base
from segapp.transfer.candidates import Candidates, Session, read_json
from segapp.transfer.selection import select
from segapp.transfer.strategy import read_strategy
from segapp.transfer.transfer import plan_transfer

STAGED, SCRATCH, PIXEL_FOREST, SCALE_FOREST = "staged", "from scratch", "forest", "forest, scales"
CONTESTANTS = (STAGED, SCRATCH, PIXEL_FOREST, SCALE_FOREST)
PATCH = 64


@dataclass(frozen=True)
class Task:
    """A transfer: the dataset file, how many training scenes each seed draws (0: all), and whether it is changed."""

    half: str
    what: str
    file: str
    scenes: int = 0
    change: Callable[[Dataset], Dataset] = lambda dataset: dataset

    def dataset(self, seed: int) -> Dataset:
        dataset = self.change(read_dataset(DATASETS / f"{self.file}.toml"))
        return subset(dataset, self.scenes, seed) if self.scenes else dataset


def swapped(dataset: Dataset) -> Dataset:
    """Trained on what was for testing, and the other way round."""
    other = {"train": "test", "test": "train"}
    return replace(dataset, members=tuple((other[role], scene) for role, scene in dataset.members))


TASKS = {
    "water-3": Task("tuning", "3 chips, new classes", "water12_water", 3),
    "water-45": Task("tuning", "45 chips, new classes", "water12_water", 45),
    "landsat7": Task("tuning", "half a scene, other reflectance and classes", "landsat7_halves"),
    "beetle-8": Task("tuning", "8 chips, 12 bands of Sentinel-2, new classes", "barkbeetle", 8),
    "thermal": Task("tuning", "digital numbers, thermal band, sparse polygons", "landsat5_halves"),
    "sar": Task("tuning", "radar in dB, 3 places", "sarflood"),
    "worldcover-3": Task("tuning", "3 chips, the base's classes", "water12_transfer", 3),
    "water-10": Task("report", "10 chips, new classes", "water12_water", 10),
    "water-10-bands": Task("report", "10 chips, three bands, new classes", "water12_water_three_bands", 10),
    "landsat7-right": Task("report", "the other half of the scene", "landsat7_halves", 0, swapped),
    "beetle-160": Task("report", "160 chips, 12 bands of Sentinel-2, new classes", "barkbeetle"),
    "houston": Task("report", "48 bands of a spectrometer, a quarter of a tiny scene", "houston_quarters"),
    "sar-swapped": Task("report", "radar in dB, 6 places", "sarflood", 0, swapped),
    "four-bands": Task("report", "45 chips, four of the base's bands, its classes", "water12_four_bands", 45),
    "worldcover-10": Task("report", "10 chips, the base's classes", "water12_transfer", 10),
    "worldcover-45": Task("report", "45 chips, the base's classes", "water12_transfer", 45),
}


@dataclass(frozen=True)
class Result:
    """Test scores of one run; for `staged` also the candidate that was written, and the mean IoU of each."""

    accuracy: float
    mean_iou: float
    winner: str = ""
    candidates: dict[str, float] = field(default_factory=dict)


def result_of(name: str, dataset: Dataset, folder: Path, seed: int, steps: int) -> Result:
    """The result that lies in `folder`, or is made there."""
    file = folder / "scores.json"
    if file.exists():
        return Result(**json.loads(file.read_text(encoding="utf-8")))
    if name == STAGED:
        result = _staged(dataset, folder, seed, steps)
    elif name == SCRATCH:
        # The recipe's average of the weights would still hold much of the random start after a few hundred steps.
        settings = {"steps": steps, "patch_size": PATCH, "average": 0.0, "validation": {"every": max(1, steps // 5)}}
        segapp.train(dataset, folder, recipe=read_recipe("default", settings), seed=seed, resume=True, quiet=True)
        result = _evaluated(folder, dataset)
    else:
        scores = forest_scores(dataset, seed, multiscale if name == SCALE_FOREST else single_pixels)
        result = Result(scores.global_accuracy, scores.mean_iou)
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(file, asdict(result))
    keras.utils.clear_session()
    return result


def _staged(dataset: Dataset, folder: Path, seed: int, steps: int) -> Result:
    """What `segapp.finetune` does, with the models of all candidates made with all labels and scored."""
    strategy = read_strategy("staged", {"steps": steps, "patch_size": PATCH})
    transfer = plan_transfer(read_base(BASE), dataset, strategy, seed=seed)
    session = Session(Display(quiet=True), make_strategy("auto"), choose_precision("auto"), seed)
    winner, record = select(transfer, folder, session)
    penalties = [read_json(file)["penalty"] for file in sorted(folder.glob("fold-*/head/result.json"))]
    made = Candidates(transfer, transfer.scenes.whole, folder, session, penalty=median(penalties))
    found = {line["phase"]: _evaluated(made.make(line["phase"]), dataset) for line in record}
    scores = {name: one.mean_iou for name, one in found.items()}
    return replace(found[winner], winner=winner, candidates=scores)


def _evaluated(folder: Path, dataset: Dataset) -> Result:
    scores = segapp.evaluate(folder, dataset).as_dict()
    return Result(scores["global_accuracy"], scores["mean_iou"])


def table_of(half: str, results: dict[str, dict[str, list[Result]]]) -> Table:
    """Tasks in rows: accuracy / mean IoU of each contestant, the margins of `staged` in mean IoU, and its regret."""
    table = Table(title=f"{half}: accuracy / mean IoU on test scenes, mean of the seeds", show_lines=True)
    for column in ("task", "what is new", *CONTESTANTS, "- scratch", "- best forest", "regret", "written"):
        table.add_column(column)
    margins = []
    for task, of in results.items():
        mean = {name: fmean(one.mean_iou for one in runs) for name, runs in of.items()}
        shown = [f"{fmean(one.accuracy for one in of[name]):.3f} / {mean[name]:.3f}" for name in CONTESTANTS]
        forest = max(mean[PIXEL_FOREST], mean[SCALE_FOREST])
        regret = fmean(max(one.candidates.values()) - one.mean_iou for one in of[STAGED])
        margins.append((mean[STAGED] - mean[SCRATCH], mean[STAGED] - forest, regret))
        written = ", ".join(one.winner for one in of[STAGED])
        table.add_row(task, TASKS[task].what, *shown, *(f"{x:+.3f}" for x in margins[-1][:2]), f"{regret:.3f}", written)
    columns = list(zip(*margins, strict=True))
    table.add_row("mean", "", *[""] * len(CONTESTANTS), *(f"{fmean(column):+.3f}" for column in columns), "")
    table.add_row("worst", "", *[""] * len(CONTESTANTS), *(f"{min(c):+.3f}" for c in columns[:2]), "", "")
    return table


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--half", "halves", type=click.Choice(["tuning", "report"]), multiple=True, default=["tuning", "report"])
@click.option("--task", "tasks", type=click.Choice(list(TASKS)), multiple=True)
@click.option("--method", "contestants", type=click.Choice(CONTESTANTS), multiple=True, default=CONTESTANTS)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/transfer_benchmark"), show_default=True)
def main(
    seeds: int,
    steps: int,
    halves: Sequence[str],
    tasks: Sequence[str],
    contestants: Sequence[str],
    output: Path,
) -> None:
    """Run what is missing, print a table for each half and write figures.json."""
    cut_scenes()
    results: dict[str, dict[str, list[Result]]] = {}
    chosen = tasks or [name for name, task in TASKS.items() if task.half in halves]
    for name in contestants:
        for task in chosen:
            for seed in range(seeds):
                folder = output / task / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
                result = result_of(name, TASKS[task].dataset(seed), folder, seed, steps)
                click.echo(
                    f"{task}, seed {seed}, {name}: {result.accuracy:.3f} / {result.mean_iou:.3f} {result.winner}"
                )
                results.setdefault(task, {}).setdefault(name, []).append(result)
    write_figures(output / "figures.json", {"steps": steps, "results": results})
    if set(contestants) == set(CONTESTANTS):
        for half in halves:
            of_half = {task: of for task, of in results.items() if TASKS[task].half == half}
            if of_half:
                Console(width=200).print(table_of(half, of_half))


if __name__ == "__main__":
    main()
