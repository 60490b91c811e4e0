"""How fast patches are loaded, and how fast the training step eats them.

    python tools/bench_loading.py [--rounds 5]

Patches of 128 x 128 x 6 from a tiled GeoTIFF of 2048 x 2048 pixels, and from the same scene in memory; the step is
that of a U-Net of depth 4 with 16 first filters and 8 patches. Loading and training run in turn within each round,
since machines drift; the medians and their ratio are printed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import rasterio
from rich.console import Console
from rich.table import Table

from segapp.classes import ClassTable, SegClass
from segapp.patches.memory import SceneInMemory
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource
from segapp.patches.statistics import band_statistics
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.scenes.scene import Scene
from segapp.training.devices import choose_precision, computing_in, make_repeatable, make_strategy
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, make_optimizer
from segapp.training.recipe import read_recipe

SIDE, BATCH, STEPS, LOADED = 2048, 8, 8, 40


def write_scene(folder: Path) -> Scene:
    """A scene of noise as a tiled, compressed GeoTIFF with its labels."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "tiled": True, "compress": "deflate"}
    for name, dtype, high, count in (("image", "uint16", 10_000, 6), ("labels", "uint8", 7, 1)):
        with rasterio.open(folder / f"{name}.tif", "w", dtype=dtype, count=count, **profile) as file:
            file.write(rng.integers(1, high, (count, SIDE, SIDE), dtype))
    classes = ClassTable(classes=tuple(SegClass(id=i, name=str(i)) for i in range(1, 8)))
    return open_scene(
        [folder / "image.tif"],
        ImageRules(scale=1e-4),
        label_file=folder / "labels.tif",
        label_rules=LabelRules(),
        classes=classes,
    )


@click.command()
@click.option("--rounds", default=5, show_default=True)
def main(rounds: int) -> None:
    """Measure and print."""
    recipe = read_recipe("default", {"patch_size": 128, "batch": BATCH})
    make_repeatable(0)
    strategy = make_strategy()
    with tempfile.TemporaryDirectory() as folder:
        on_disk = write_scene(Path(folder))
        rates: dict[str, list[float]] = {"GeoTIFF": [], "memory": [], "training step": []}
        statistics = band_statistics([on_disk])
        streams = {
            name: PatchStream(PatchSource([scene], 128, 0), recipe.augmentation, statistics)
            for name, scene in (("GeoTIFF", on_disk), ("memory", SceneInMemory(on_disk)))
        }
        loading = {name: iter(stream.batches(BATCH)) for name, stream in streams.items()}
        precision = choose_precision("auto")
        with strategy.scope(), computing_in(precision):
            from segapp.nets.unet import unet

            model = unet(6, 7, recipe.network.model_copy(update={"depth": 4, "filters": 16}))
            optimizer = make_optimizer(recipe.optimizer, LearningRate(recipe.schedule, 1000, 100), recipe.average)
        trainer = Trainer(model, optimizer, make_loss(recipe.loss, np.ones(7, np.float32)), recipe.optimizer, strategy)
        images, labels = next(loading["memory"])
        from tensorflow.data import Dataset

        same = trainer.distribute(Dataset.from_tensors((images, labels)).repeat())
        float(trainer.step(same).loss)
        for _ in range(rounds):
            for name, batches in loading.items():
                for _ in range(6):  # what was fetched ahead while the others ran
                    next(batches)
                start = time.perf_counter()
                for _ in range(LOADED):
                    next(batches)
                rates[name].append(LOADED * BATCH / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(STEPS):
                float(trainer.step(same).loss)
            rates["training step"].append(STEPS * BATCH / (time.perf_counter() - start))
    table = Table(title=f"Patches of 128 x 128 x 6 a second, {rounds} rounds, step in {precision}")
    for column in ("", "slowest", "median", "fastest", "times the step"):
        table.add_column(column, justify="right")
    need = float(np.median(rates["training step"]))
    for name, values in rates.items():
        low, middle, high = np.percentile(values, [0, 50, 100])
        table.add_row(name, f"{low:.0f}", f"{middle:.0f}", f"{high:.0f}", f"{middle / need:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
