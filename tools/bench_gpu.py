"""What a GPU makes of segapp: the training step, a training from end to end, and the map of a whole scene.

    python tools/bench_gpu.py [--steps 1000]

Takes some five minutes. The step is that of bench_train.py, for a small and a large network, beside PyTorch's where
it is installed; its rate is what a training from end to end could reach at best: the default recipe on a scene of
2048 x 2048 pixels, from its 100th step on. The scene to map is that of bench_predict.py. Without a GPU the CPU does it.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_input
import click

TOOLS = Path(__file__).parent
SIZES = ((16, 64, 8), (16, 128, 8), (64, 256, 16))
"""First filters, side of a patch, patches of a batch; the first is the default recipe's."""
WARM = 100


def steps(device: str) -> dict[tuple[int, int, int], float]:
    """Print a table for each size; returns segapp's seconds a step."""
    found = {}
    for size in SIZES:
        figures = Path(tempfile.gettempdir()) / "bench_gpu.json"
        options = [
            text for pair in zip(("--filters", "--patch", "--batch"), map(str, size), strict=True) for text in pair
        ]
        command = [TOOLS / "bench_train.py", "--device", device, "--steps", "30", "--rounds", "5", *options]
        subprocess.run([sys.executable, *command, "--output", figures], check=True)
        measured = json.loads(figures.read_text())["steps"]
        found[size] = next(one["wall"] for one in measured if one["contestant"] == "segapp")
    return found


def train(number: int) -> float:
    """Seconds a step of `segapp train` with the default recipe, without its first steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_input.write_scene(folder, 2048)
        classes = ", ".join(f'{{ id = {i}, name = "class {i}" }}' for i in range(1, 8))
        bands = ", ".join(map(str, range(1, bench_input.BANDS + 1)))
        (folder / "dataset.toml").write_text(
            f"schema = 1\n[image]\nbands = [{bands}]\nscale = 1e-4\n[classes]\nlist = [{classes}]\n"
            '[[scenes]]\nimage = "image.tif"\nlabels = "labels.tif"\nrole = "train"\n'
        )
        command = [sys.executable, "-m", "segapp", "train", "--data", str(folder / "dataset.toml"), "--quiet"]
        subprocess.run([*command, "--output", str(folder / "model"), "--steps", str(number)], check=True)
        with (folder / "model" / "log.csv").open() as stream:
            rows = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(stream)]
    (first, begun), (last, ended) = next(row for row in rows if row[0] >= WARM), rows[-1]
    return (ended - begun) / (last - first)


@click.command()
@click.option("--steps", "number", default=1000, show_default=True, help="Of the training from end to end.")
def main(number: int) -> None:
    """Measure, and print what each takes."""
    from segapp.commands.options import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    bare = steps(device)[SIZES[0]]
    taken = train(number)
    click.echo(
        f"default recipe from end to end: {taken * 1e3:.2f} ms a step, {SIZES[0][2] / taken:.0f} patches/s; "
        f"the bare step takes {bare * 1e3:.2f} ms, {bare / taken:.2f} of it"
    )
    subprocess.run([sys.executable, TOOLS / "bench_predict.py", "--engine", "tensorflow"], check=True)


if __name__ == "__main__":
    main()
