"""How fast patches come: segapp's pipeline, a plain rasterio loop, TorchGeo, and what a training step eats.

    python tools/bench_input.py [--side 2048] [--side 8192] [--rounds 5]

Patches of 128 x 128 x 6 with labels, in batches of 8, from one tiled, compressed GeoTIFF uint16. Each contestant has a
process of its own, and they work in turn. Memory is made equal: the plain loop and TorchGeo get a GDAL cache as large
as what segapp holds, which is the whole scene where it fits, else its own cache. Nobody changes patches but "segapp,
augmented", which does what the default recipe does. The step is the default recipe's with 16 first filters; TorchGeo
takes part where it is installed. Ratios are of the medians. "data" is the peak of memory beyond that of the libraries.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import bench_train
import click
import numpy as np
import rasterio
from rasterio.windows import Window as Place
from rich.console import Console
from rich.table import Table
from turns import Contestant, answer_orders, in_turn, peak_memory, this_machine, write_figures

from segapp.patches.memory import MEMORY_LIMIT
from segapp.scenes.geotiff import CACHE_BYTES
from segapp.windows import grid, whole

PATCH, BATCH, BANDS, SCALE = 128, 8, 6, np.float32(1e-4)
TIMES_THE_STEP, TIMES_THE_PLAIN_LOOP = 10.0, 3.0
STEP, PLAIN, TORCHGEO = "training step", "plain rasterio loop", "TorchGeo"
_AHEAD = 6
"""Batches that a pipeline may have ready when its turn begins; they do not count."""


def write_scene(folder: Path, side: int) -> None:
    """Fields of 64 pixels with noise, and labels of 32: what deflate makes of it is as of real scenes."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": side, "width": side, "tiled": True, "compress": "deflate", "zlevel": 1}
    profile |= {"blockxsize": 256, "blockysize": 256, "crs": "EPSG:32633", "BIGTIFF": "IF_SAFER"}
    profile |= {"transform": rasterio.Affine(10, 0, 400_000, 0, -10, 5_000_000)}
    with (
        rasterio.open(folder / "image.tif", "w", dtype="uint16", count=BANDS, interleave="pixel", **profile) as image,
        rasterio.open(folder / "labels.tif", "w", dtype="uint8", count=1, **profile) as labels,
    ):
        for strip in grid(whole((side, side)), 256, side):
            fields = rng.integers(500, 4000, (BANDS, 4, -(-side // 64)), np.uint16)
            pixels = fields.repeat(64, 1).repeat(64, 2)[:, : strip.height, :side]
            known = rng.integers(1, 8, (8, -(-side // 32)), np.uint8).repeat(32, 0).repeat(32, 1)
            place = Place(0, strip.row, side, strip.height)
            image.write(pixels + rng.integers(0, 300, pixels.shape, np.uint16), window=place)
            labels.write(known[: strip.height, :side], 1, window=place)


def load_with_segapp(folder: Path, augmented: bool) -> None:
    """Be a contestant: the stream that a training takes its batches from."""
    from segapp.classes import ClassTable, SegClass
    from segapp.commands.options import import_tensorflow

    import_tensorflow()
    from segapp.data.statistics import BandStatistics
    from segapp.patches.augmentation import Augmentation
    from segapp.patches.memory import hold_in_memory
    from segapp.patches.pipeline import PatchStream
    from segapp.patches.sampling import PatchSource
    from segapp.scenes.raster_scene import open_scene
    from segapp.scenes.rules import ImageRules, LabelRules
    from segapp.training.recipe import read_recipe

    before = peak_memory()
    scene = open_scene(
        [folder / "image.tif"],
        ImageRules(scale=float(SCALE)),
        label_file=folder / "labels.tif",
        label_rules=LabelRules(),
        classes=ClassTable(classes=tuple(SegClass(id=i, name=str(i)) for i in range(1, 8))),
    )
    changes = read_recipe("default").augmentation if augmented else Augmentation(flips=False, quarter_turns=False)
    source = PatchSource(hold_in_memory([scene]), PATCH, 0)
    statistics = BandStatistics(np.full(BANDS, 0.2), np.full(BANDS, 0.1), 1)
    batches = iter(PatchStream(source, changes, statistics).batches(BATCH))
    _answer(lambda: next(batches), before, _AHEAD)


def cache_of(folder: Path) -> rasterio.Env:
    """GDAL with as large a cache as the memory that segapp takes for the scene."""
    with rasterio.open(folder / "image.tif") as image:
        held = image.height * image.width * (4 * BANDS + 1)  # float32, and labels
    return rasterio.Env(GDAL_CACHEMAX=held if held <= MEMORY_LIMIT else CACHE_BYTES)


def load_with_rasterio(folder: Path) -> None:
    """Be a contestant: the loop that one writes by hand, with the files kept open."""
    rng = np.random.default_rng(0)
    before = peak_memory()
    with (
        cache_of(folder),
        rasterio.open(folder / "image.tif") as image,
        rasterio.open(folder / "labels.tif") as labels,
    ):

        def batch() -> tuple[np.ndarray, np.ndarray]:
            pixels, known = [], []
            for _ in range(BATCH):
                row, column = rng.integers(0, image.height - PATCH + 1, 2)
                place = Place(int(column), int(row), PATCH, PATCH)
                pixels.append(image.read(window=place).transpose(1, 2, 0) * SCALE)
                known.append(labels.read(1, window=place))
            return np.stack(pixels), np.stack(known)

        _answer(batch, before)


def load_with_torchgeo(folder: Path) -> None:
    """Be a contestant: TorchGeo's sampler and PyTorch's loader, in this process, as its tutorials have it."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler

    class Image(RasterDataset):
        filename_glob = "image.tif"

    class Labels(RasterDataset):
        filename_glob, is_image = "labels.tif", False

    before = peak_memory()
    with cache_of(folder):
        dataset = Image(folder) & Labels(folder)
        sampler = RandomGeoSampler(dataset, size=PATCH, length=1 << 30)
        batches = iter(DataLoader(dataset, BATCH, sampler=sampler, collate_fn=stack_samples))
        _answer(lambda: next(batches), before)


LOADERS: dict[str, Callable[[Path], None]] = {
    "segapp": lambda folder: load_with_segapp(folder, augmented=False),
    "segapp, augmented": lambda folder: load_with_segapp(folder, augmented=True),
    PLAIN: load_with_rasterio,
    TORCHGEO: load_with_torchgeo,
}


def _answer(next_batch: Callable[[], object], before: int, ahead: int = 0) -> None:
    def skip() -> None:
        for _ in range(ahead):
            next_batch()

    def work(batches: int) -> None:
        for _ in range(batches):
            next_batch()

    answer_orders(work, skip, before)


@click.command()
@click.option("--side", "sides", type=int, multiple=True, default=(2048,), show_default=True, help="Of the scene.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--batches", default=40, show_default=True, help="Batches of each contestant in a round.")
@click.option("--steps", default=3, show_default=True, help="Training steps in a round.")
@click.option("--filters", default=16, show_default=True, help="First filters of the network that is trained.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench_input.json"), show_default=True)
@click.option("--only", nargs=2, hidden=True, help="Be a contestant: its name, and the folder of the scene.")
def main(
    sides: tuple[int, ...],
    rounds: int,
    batches: int,
    steps: int,
    filters: int,
    output: Path,
    only: tuple[str, str] | None,
) -> None:
    """Measure, print a table, and write the figures as JSON."""
    if only:
        LOADERS[only[0]](Path(only[1]))
        return
    console = Console(width=120, markup=False, highlight=False)
    names = [name for name in LOADERS if name != TORCHGEO or importlib.util.find_spec("torchgeo")]
    table = Table(title=f"Patches of {PATCH} x {PATCH} x {BANDS}, medians of {rounds} rounds")
    for column in (
        "side",
        "",
        "a second",
        "CPU ms each",
        "times the step",
        "times the plain loop",
        "by CPU",
        "data MB",
    ):
        table.add_column(column, justify="left" if not column else "right")
    measured = []
    for side in sides:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            write_scene(Path(folder), side)
            running = {name: stack.enter_context(Contestant([__file__, "--only", name, folder])) for name in names}
            trained = ["--only", "segapp", "auto", "--filters", str(filters), "--patch", str(PATCH)]
            running[STEP] = stack.enter_context(Contestant([bench_train.__file__, *trained]))
            found = in_turn(running, {name: steps if name == STEP else batches for name in running}, rounds)
        plain, step = found[PLAIN], found[STEP]
        for name, one in found.items():
            need, loop = step["wall"] / one["wall"], plain["wall"] / one["wall"]
            judged = name.startswith("segapp")
            table.add_row(
                *(str(side), name, f"{BATCH / one['wall']:.0f}", f"{one['cpu'] / BATCH * 1e3:.2f}"),
                "" if name == STEP else f"{need:.1f}{_verdict(need, TIMES_THE_STEP) if judged else ''}",
                "" if name == STEP else f"{loop:.2f}{_verdict(loop, TIMES_THE_PLAIN_LOOP) if name == 'segapp' else ''}",
                "" if name == STEP else f"{plain['cpu'] / one['cpu']:.2f}",
                "" if name == STEP else f"{one['data'] / 1e6:.0f}",
            )
            measured.append({"side": side, "contestant": name, **one})
    console.print(table)
    console.print(f"bars: {TIMES_THE_STEP:.0f} times the step, {TIMES_THE_PLAIN_LOOP:.0f} times the plain loop")
    if TORCHGEO not in names:
        console.print("TorchGeo is left out: it is not installed")
    machine = this_machine("tensorflow", "rasterio", "torchgeo")
    write_figures(output, {"machine": machine, "batch": BATCH, "batches": measured})
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")


def _verdict(ratio: float, bar: float) -> str:
    return " held" if ratio >= bar else " MISSED"


if __name__ == "__main__":
    main()
