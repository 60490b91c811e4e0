"""How fast, and in how much memory, a large scene is mapped.

    python tools/bench_predict.py [--rows 12446] [--columns 7654] [--tall] [--engine tensorflow]

Makes a scene of RIT-18's test size (six bands uint16, tiled GeoTIFF) and a U-Net of 16 first filters and 18 classes
with random weights, and prints, measured in turn in one process for each engine:

- the machine's rate of matrix products, the ceiling;
- the bare network on one tile in memory;
- the whole scene, reading and writing included, and its share of what the bare network allows: its rate times the share
  of a tile that is not halo;
- a plain loop over tiles of 256 x 256 with half overlap, as one writes it by hand, on a part of the scene;
- the peak memory of the process that maps the scene; with --tall also of one for a scene twice as tall.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import rasterio
from rasterio.windows import Window as Place

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from segapp.windows import Window, grid, whole

NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
FOLDER = Path("build/bench_predict")
PART = 2048


def write_scene(file: Path, rows: int, columns: int) -> None:
    """A made-up scene, strip by strip: fields of some 60 pixels and noise."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 6, "height": rows, "width": columns, "tiled": True}
    profile |= {"blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER", "interleave": "pixel"}
    profile |= {"crs": "EPSG:32618", "transform": rasterio.Affine(0.05, 0, 300_000, 0, -0.05, 4_800_000)}
    temporary = file.with_suffix(".writing")
    with rasterio.open(temporary, "w", **profile) as target:
        target.descriptions = NAMES
        for strip in grid(whole((rows, columns)), 256, columns):
            fields = rng.integers(500, 4000, (6, -(-strip.height // 64), -(-columns // 64)))
            pixels = np.kron(fields, np.ones((64, 64), int))[:, : strip.height, :columns]
            pixels = pixels + rng.integers(0, 300, pixels.shape)
            target.write(pixels.astype(np.uint16), window=Place(0, strip.row, columns, strip.height))
    temporary.rename(file)


def write_network(folder: Path) -> None:
    """A model directory with random weights."""
    import keras

    from segapp.model.bundle import write_model

    keras.utils.set_random_seed(0)
    spec = ModelSpec(
        schema=2,
        name="bench",
        network=UNetConfig(depth=4, filters=16),
        bands=tuple(Band(name=name, scale=1e-4, unit="reflectance") for name in NAMES),
        classes=ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in range(1, 19)]}),
        normalization=Normalization(mean=(0.2,) * 6, std=(0.1,) * 6),
        patch_size=256,
    )
    write_model(folder, spec.build(), spec)


def rate(pixels: int, run: Callable[[], object], seconds: float = 10) -> float:
    """Million pixels a second, over repeated calls of `run` after one that does not count."""
    run()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run()
        calls += 1
    return calls * pixels / (time.perf_counter() - start) / 1e6


def measure(engine_name: str, scene_file: Path) -> dict[str, float]:
    """All figures of one engine; the whole scene comes first, so that the peak of memory is its own."""
    import tensorflow as tf

    from segapp.inference.loading import open_predictor
    from segapp.inference.settings import RunSettings
    from segapp.model.bundle import load
    from segapp.prediction.mapping import map_scene
    from segapp.prediction.settings import MapSettings

    predictor, spec = open_predictor(FOLDER / "model", RunSettings(engine=engine_name))
    engine, side = predictor._engine, predictor.tile
    image = np.random.default_rng(0).random((side, side, 6), np.float32)
    engine.indexes(image, whole((side, side)))
    output = FOLDER / f"{engine_name}.tif"
    output.unlink(missing_ok=True)
    with rasterio.open(scene_file) as scene:
        pixels = scene.height * scene.width
    start = time.perf_counter()
    map_scene(predictor, spec, scene_file, output, MapSettings(), {})
    figures = {"whole scene": pixels / (time.perf_counter() - start) / 1e6}
    figures["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    figures["tile"] = side
    core = predictor._core
    place = Window((side - core) // 2, (side - core) // 2, core, core)
    figures["bare network"] = rate(side * side, lambda: engine.indexes(image, place))
    figures["new share"] = (core / side) ** 2
    matrix = tf.random.normal((4096, 4096))
    figures["matrix GFLOP/s"] = rate(2 * 4096**3, lambda: tf.linalg.matmul(matrix, matrix).numpy()) / 1e3
    if engine_name == "tensorflow":
        model = load(FOLDER / "model")
        figures["plain loop"] = PART * PART / _plain_loop(model, scene_file) / 1e6
    return figures


def _plain_loop(model: object, scene_file: Path) -> float:
    """Seconds for a part of the scene by tiles with half overlap, whose probabilities are added up."""
    start = time.perf_counter()
    total = np.zeros((PART, PART, 18), np.float32)
    with rasterio.open(scene_file) as scene:
        for row in range(0, PART - 255, 128):
            for column in range(0, PART - 255, 128):
                tile = scene.read(window=Place(column, row, 256, 256)).transpose(1, 2, 0) * np.float32(1e-4)
                total[row : row + 256, column : column + 256] += model(tile[np.newaxis], training=False)[0].numpy()
    total.argmax(-1).astype(np.uint8)
    return time.perf_counter() - start


@click.command()
@click.option("--rows", default=12_446, show_default=True)
@click.option("--columns", default=7_654, show_default=True)
@click.option("--tall", is_flag=True, help="Also map a scene twice as tall.")
@click.option("--engine", "engines", multiple=True, default=("tensorflow", "openvino"), show_default=True)
@click.option("--only", hidden=True, help="Measure one engine on one file and print JSON.")
def main(rows: int, columns: int, tall: bool, engines: tuple[str, ...], only: str | None) -> None:
    """Measure and print a table."""
    if only:
        click.echo(json.dumps(measure(engines[0], Path(only))))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "model").exists():
        write = "import bench_predict; bench_predict.write_network(bench_predict.FOLDER / 'model')"
        # in a process of its own, which does not keep a GPU's memory
        subprocess.run(
            [sys.executable, "-c", write], check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        )
    heights = [rows, 2 * rows] if tall else [rows]
    found = {}
    for height in heights:
        scene = FOLDER / f"scene-{height}x{columns}.tif"
        if not scene.exists():
            write_scene(scene, height, columns)
        for engine in engines:
            command = [sys.executable, __file__, "--engine", engine, "--only", str(scene)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            figures = found[engine, height] = json.loads(done.stdout.splitlines()[-1])
            allowed = figures["bare network"] * figures["new share"]
            click.echo(
                f"{engine}, {height} x {columns}: {figures['whole scene']:.3f} Mpx/s whole scene, tile "
                f"{figures['tile']:.0f}; bare network {figures['bare network']:.3f} Mpx/s x {figures['new share']:.2f} "
                f"new = {allowed:.3f}, reached {figures['whole scene'] / allowed:.2f}; "
                f"peak {figures['peak GB']:.2f} GB; "
                f"matrix products {figures['matrix GFLOP/s']:.0f} GFLOP/s"
            )
            if "plain loop" in figures:
                ratio = figures["whole scene"] / figures["plain loop"]
                click.echo(f"  plain loop {figures['plain loop']:.3f} Mpx/s, so {ratio:.1f} times as fast")
    if tall:
        for engine in engines:
            one, two = (found[engine, height]["peak GB"] for height in heights)
            click.echo(f"{engine}: twice as tall takes {two / one:.3f} of the memory")
    if {"tensorflow", "openvino"} <= set(engines):
        ratio = found["openvino", rows]["whole scene"] / found["tensorflow", rows]["whole scene"]
        click.echo(f"openvino maps {ratio:.2f} times as fast as tensorflow")


if __name__ == "__main__":
    main()
