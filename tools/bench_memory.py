"""Peak memory of a training from a large scene: ``python tools/bench_memory.py [--side 10000]``.

Writes a made-up GeoTIFF of side x side x 6 uint16 with labels, trains a few steps of the default recipe on it, divided
into blocks for training, validation and test, and prints the peak resident memory of the whole `segapp train`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import rasterio

from segapp.windows import grid, whole

TOML = """
schema = 1
split = "blocks"
[image]
scale = 1e-4
[classes]
list = [{ id = 1, name = "dark" }, { id = 2, name = "bright" }]
[[scenes]]
image = "image.tif"
labels = "labels.tif"
"""


def write_scene(folder: Path, side: int) -> Path:
    """Write image.tif, labels.tif and dataset.toml, strip by strip; returns the last."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": side, "width": side, "tiled": True, "blockxsize": 256, "blockysize": 256}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 400_000, 0, -10, 5_000_000)}
    with (
        rasterio.open(folder / "image.tif", "w", dtype="uint16", count=6, **profile, BIGTIFF="IF_SAFER") as image,
        rasterio.open(folder / "labels.tif", "w", dtype="uint8", count=1, **profile) as labels,
    ):
        for strip in grid(whole((side, side)), 256, side):
            block = rng.integers(1, 10_000, (6, *strip.shape), np.uint16)
            place = rasterio.windows.Window(strip.col, strip.row, strip.width, strip.height)
            image.write(block, window=place)
            labels.write((1 + (block[0] > 5000)).astype(np.uint8), 1, window=place)
    (folder / "dataset.toml").write_text(TOML)
    return folder / "dataset.toml"


@click.command()
@click.option("--side", default=10_000, show_default=True, help="Rows and columns of the scene.")
@click.option("--steps", default=20, show_default=True)
def main(side: int, steps: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_scene(folder, side)
        size = sum(file.stat().st_size for file in folder.glob("*.tif")) / 1e9
        command = ["train", "--data", str(data), "--output", str(folder / "model"), "--steps", str(steps), "--quiet"]
        subprocess.run([sys.executable, "-m", "segapp", *command], check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # kilobytes on Linux
    print(f"{side} x {side} x 6 uint16, {size:.2f} GB on disk: training peaked at {peak:.2f} GB")


if __name__ == "__main__":
    main()
