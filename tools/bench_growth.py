"""How cost grows with work: a log-log plot, and the slope of each curve at its upper end.

    python tools/bench_growth.py [--largest 2048] [--rounds 3]

Prediction, evaluation, finding the classes' pixels, band statistics, cutting patches and opening a dataset must not
grow faster than their work: a slope of 1.1 at most, 1 being a straight line (0: no growth). What a training step costs
by pixels, bands, classes and first filters is drawn beside them; filters count twice, as inputs and as outputs. Times
are processor time, medians of rounds in which all sizes take their turn; slopes are fitted to the three largest sizes.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import rasterio
from bench_input import write_scene
from bench_train import segapp_steps
from rich.console import Console
from rich.table import Table
from turns import this_machine, write_figures

from segapp.bands import Band
from segapp.classes import ClassTable, SegClass
from segapp.commands.options import import_tensorflow
from segapp.data.dataset import read_dataset
from segapp.data.statistics import band_statistics
from segapp.evaluation.report import Evaluation
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from segapp.patches.sampling import PatchSource, find_class_positions
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules, LabelRules

STEEPEST = 1.1
CLASSES = ClassTable(classes=tuple(SegClass(id=i, name=str(i)) for i in range(1, 8)))
BANDS = tuple(Band(name=f"band_{i}", scale=1e-4) for i in range(1, 7))
Job = Callable[[], object]


@dataclass(frozen=True)
class Curve:
    """What is done, and for which amounts of what; `prepare` makes ready what is timed. `straight`: must be so."""

    name: str
    unit: str
    amounts: tuple[int, ...]
    prepare: Callable[[int], Job]
    straight: bool = True


def curves(folder: Path, largest: int) -> list[Curve]:
    """All curves, for scenes of up to `largest` x `largest` pixels, which are written to `folder`."""
    sides = tuple(largest // part for part in (8, 4, 2, 1))
    few = tuple(count * largest // 2048 for count in (50, 100, 200, 400))

    def scene(side: int) -> RasterScene:
        place = folder / str(side)
        if not place.exists():
            place.mkdir()
            write_scene(place, side)
        rules, labels = ImageRules(scale=1e-4), place / "labels.tif"
        return open_scene([place / "image.tif"], rules, label_file=labels, label_rules=LabelRules(), classes=CLASSES)

    def prediction(side: int) -> Job:
        import_tensorflow()
        from segapp.inference.predictor import Predictor
        from segapp.inference.tensorflow_engine import TensorFlowEngine
        from segapp.prediction.mapping import map_scene
        from segapp.prediction.settings import MapSettings

        spec = ModelSpec(
            schema=2,
            name="bench",
            network=UNetConfig(depth=2, filters=8),
            bands=BANDS,
            classes=CLASSES,
            normalization=Normalization(mean=(0.2,) * 6, std=(0.1,) * 6),
            patch_size=64,
        )
        predictor, image = Predictor(TensorFlowEngine(spec.build()), tile=256), Path(scene(side).path)
        return lambda: map_scene(
            predictor, spec, image, folder / f"map-{side}-{time.monotonic_ns()}.tif", MapSettings(), {}
        )

    def evaluation(side: int) -> Job:
        rng = np.random.default_rng(0)
        reference, found = (
            rng.integers(0, 3, (side // 16, side // 16), np.uint8).repeat(16, 0).repeat(16, 1) for _ in range(2)
        )

        def score() -> None:
            gathered = Evaluation(CLASSES)
            gathered.add(reference, found)
            gathered.scores()

        return score

    def patches_of(count: int, side: int) -> Job:
        source = PatchSource([scene(side)], min(64, side), 0)

        def cut() -> None:
            for index in range(count):
                source.cut(index)

        return cut

    def opening(count: int) -> Job:
        place = folder / f"dataset-{count}"
        place.mkdir()
        profile = {"driver": "GTiff", "height": 16, "width": 16, "count": 1, "dtype": "uint8"}
        for number in range(count):
            with rasterio.open(place / f"{number}.tif", "w", **profile) as file:
                file.write(np.ones((1, 16, 16), np.uint8))
        text = 'schema = 1\n[classes]\nlist = [{ id = 1, name = "one" }, { id = 2, name = "two" }]\n'
        text += '[[scenes]]\nimage = "*.tif"\nlabels = "{name}.tif"\nrole = "train"\n'
        (place / "dataset.toml").write_text(text)
        return lambda: read_dataset(place / "dataset.toml").scenes("train", 8)

    def step(filters: int = 4, patch: int = 32, bands: int = 6, classes: int = 7) -> Job:
        import_tensorflow()
        take = segapp_steps("float32", filters, patch, bands, classes)
        return lambda: take(2)

    pixels = tuple(side * side for side in sides)
    side_of = dict(zip(pixels, sides, strict=True))
    return [
        Curve("prediction, files included", "scene pixels", pixels, lambda n: prediction(side_of[n])),
        Curve("evaluation, boundaries included", "scene pixels", pixels, lambda n: evaluation(side_of[n])),
        Curve(
            "finding the classes' pixels",
            "scene pixels",
            pixels,
            lambda n: lambda: find_class_positions([scene(side_of[n])], len(CLASSES), 0),
        ),
        Curve("band statistics", "scene pixels", pixels, lambda n: lambda: band_statistics([scene(side_of[n])])),
        Curve("100 patches", "scene pixels", pixels, lambda n: patches_of(100, side_of[n])),
        Curve("patches", "patches", few, lambda n: patches_of(n, sides[0])),
        Curve("opening a dataset", "scenes", few, opening),
        Curve("training step", "patch pixels", (32**2, 64**2, 128**2), lambda n: step(patch=round(n**0.5))),
        Curve("training step", "bands", (6, 24, 96), lambda n: step(bands=n), straight=False),
        Curve("training step", "classes", (8, 32, 128), lambda n: step(classes=n), straight=False),
        Curve("training step", "first filters", (8, 16, 32), lambda n: step(filters=n), straight=False),
    ]


def measure(curve: Curve, rounds: int) -> list[float]:
    """Seconds of processor time for each amount: medians over the rounds, after one that does not count."""
    jobs = [curve.prepare(amount) for amount in curve.amounts]
    taken: list[list[float]] = [[] for _ in jobs]
    for number in range(rounds + 1):
        for job, seconds in zip(jobs, taken, strict=True):
            before = time.process_time()
            job()
            if number:
                seconds.append(time.process_time() - before)
    return [float(np.median(one)) for one in taken]


def slope(amounts: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent with which cost grows over the three largest amounts."""
    return float(np.polyfit(np.log(amounts[-3:]), np.log(seconds[-3:]), 1)[0])


def plot(found: Sequence[tuple[Curve, list[float]]], file: Path) -> None:
    """Cost over work, both relative to a curve's smallest amount; what must be straight to the left."""
    from matplotlib.figure import Figure

    figure = Figure((12, 5.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, straight in zip(panels, (True, False), strict=True):
        shown = [(curve, seconds) for curve, seconds in found if curve.straight == straight]
        for curve, seconds in shown:
            work = np.array(curve.amounts) / curve.amounts[0]
            label = f"{curve.name} by {curve.unit}: {slope(curve.amounts, seconds):.2f}"
            panel.loglog(work, np.array(seconds) / seconds[0], marker="o", label=label)
        most = max((curve.amounts[-1] / curve.amounts[0] for curve, _ in shown), default=1.0)
        panel.loglog([1, most], [1, most], "k:", label="a straight line: 1.00")
        panel.set(xlabel="times the work", ylabel="times the processor time")
        panel.set_title("must not grow faster than the work" if straight else "as the network asks for")
        panel.legend(fontsize=8)
    figure.savefig(file, dpi=120)


@click.command()
@click.option("--largest", default=2048, show_default=True, help="Side of the largest scene in pixels.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", help="Part of the names of the curves to measure.", default="")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench_growth.json"), show_default=True)
def main(largest: int, rounds: int, only: str, output: Path) -> None:
    """Measure, print a table, and write the figures as JSON and the plot as PNG beside it."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    console = Console(width=120, markup=False, highlight=False)
    table = Table(title=f"CPU seconds as work grows, medians of {rounds} rounds")
    for column in ("", "by", "from", "to", "seconds", "slope", f"at most {STEEPEST}"):
        table.add_column(column, justify="left" if column in ("", "by") else "right")
    with tempfile.TemporaryDirectory() as folder:
        chosen = [curve for curve in curves(Path(folder), largest) if only in f"{curve.name} by {curve.unit}"]
        found = [(curve, measure(curve, rounds)) for curve in chosen]
    for curve, seconds in found:
        steep = slope(curve.amounts, seconds)
        verdict = ("held" if steep <= STEEPEST else "MISSED") if curve.straight else ""
        ends = (f"{curve.amounts[0]:,}", f"{curve.amounts[-1]:,}")
        table.add_row(curve.name, curve.unit, *ends, f"{seconds[0]:.3f} to {seconds[-1]:.3f}", f"{steep:.2f}", verdict)
    console.print(table)
    machine = this_machine("tensorflow", "keras", "rasterio")
    figures = [
        {"curve": curve.name, "by": curve.unit, "amounts": curve.amounts, "seconds": seconds}
        | {"slope": slope(curve.amounts, seconds)}
        for curve, seconds in found
    ]
    write_figures(output, {"machine": machine, "curves": figures})
    plot(found, output.with_suffix(".png"))
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")


if __name__ == "__main__":
    main()
