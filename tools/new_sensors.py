"""models/unet6 to other sensors and other bands, against a network trained from scratch with equal steps.

    python tools/new_sensors.py [--seeds 3] [--steps 300] [--output build/new_sensors]

Four transfers, each what `segapp finetune --base models/unet6 --data tools/datasets/<name>.toml --steps 300` does, by
`staged` with its own patches of 64 pixels; a random forest on single pixels stands beside. Where one scene serves for
training and test it is cut into parts that lie in build/new_sensors/parts: blocks keep a patch apart, for which these
scenes are too small. Writes a table and figures.json. Finished runs in the output folder are kept, interrupted ones
go on.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import rasterio
import scipy.io
from contestants import DATASETS, FOREST, SCRATCH, Result, mean, run, shown, write_figures
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table

from segapp.data.dataset import read_dataset

SHARED = Path(__file__).parents[2] / "shared" / "data"
PARTS = Path(__file__).parents[1] / "build" / "new_sensors" / "parts"
SENSORS = {
    "landsat7_halves": "surface to top-of-atmosphere reflectance, other classes",
    "water12_four_bands": "four bands, new places",
    "landsat5_halves": "digital numbers, thermal band, sparse polygons",
    "houston_quarters": "48 unnamed bands, finer labels",
}
CONTESTANTS = ("staged", SCRATCH, FOREST)


def cut_scenes(folder: Path) -> None:
    """Write the parts of scenes that the dataset files in tools/datasets name."""
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(SHARED / "ukis" / "landsat7.npz") as file:
        whole = {name: file[name] for name in ("img", "msk")}
    for name, columns in (("left", slice(None, 256)), ("right", slice(256, None))):
        np.savez(folder / f"landsat7-{name}.npz", **{key: array[:, columns] for key, array in whole.items()})

    whole = scipy.io.loadmat(SHARED / "houston" / "houston_dataset.mat", variable_names=["hyprImg", "clasLabs"])
    quarters = {"train-1": (0, 0), "test-1": (0, 1), "test-2": (1, 0), "train-2": (1, 1)}
    for name, (row, col) in quarters.items():
        image, labels = (_quarter(whole[key], row, col) for key in ("hyprImg", "clasLabs"))
        np.savez(folder / f"houston-{name}.npz", hyprImg=image, clasLabs=labels)

    for file, suffix in (("lsat.tif", ""), ("lsat_labels.tif", "-labels")):
        with rasterio.open(SHARED / "rstoolbox" / file) as source:
            middle = source.height // 2
            for name, start, stop in (("upper", 0, middle), ("lower", middle, source.height)):
                window = Window(0, start, source.width, stop - start)
                profile = source.profile | {"height": window.height, "transform": source.window_transform(window)}
                with rasterio.open(folder / f"landsat5-{name}{suffix}.tif", "w", **profile) as target:
                    target.write(source.read(window=window))


def _quarter(array: np.ndarray, row: int, col: int) -> np.ndarray:
    height, width = array.shape[0] // 2, array.shape[1] // 2
    return array[row * height : (row + 1) * height, col * width : (col + 1) * width]


def table_of(results: dict[str, dict[str, list[Result]]], steps: int) -> Table:
    """Two lines each sensor: accuracy and mean IoU, mean (worst..best) over the seeds, and the gain over scratch."""
    table = Table(title=f"models/unet6 to other sensors, test part, {steps} steps")
    for column in ("data", "what is new", "score", *CONTESTANTS, f"staged - {SCRATCH}", "holds"):
        table.add_column(column)
    for sensor, of in results.items():
        table.add_section()
        for score, title in (("accuracy", "accuracy"), ("mean_iou", "mean IoU")):
            gain = mean(of["staged"], score) - mean(of[SCRATCH], score)
            told = (sensor, SENSORS[sensor]) if score == "accuracy" else ("", "")
            holds = "holds" if gain > 0 else "DOES NOT HOLD"
            table.add_row(*told, title, *(shown(of[name], score) for name in CONTESTANTS), f"{gain:+.4f}", holds)
    return table


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--sensors", multiple=True, type=click.Choice(list(SENSORS)), default=list(SENSORS), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/new_sensors"), show_default=True)
def main(seeds: int, steps: int, sensors: tuple[str, ...], output: Path) -> None:
    """Cut the scenes, run what is missing, print the table and write figures.json."""
    cut_scenes(PARTS)
    results: dict[str, dict[str, list[Result]]] = {}
    for sensor in sensors:
        dataset = read_dataset(DATASETS / f"{sensor}.toml")
        results[sensor] = {name: [] for name in CONTESTANTS}
        for seed in range(seeds):
            for name in CONTESTANTS:
                folder = output / sensor / f"{name.replace(' ', '-')}-{seed}"
                result = run(name, dataset, folder, seed, steps=steps, patch=64)
                click.echo(
                    f"{sensor}, seed {seed}, {name}: accuracy {result.accuracy:.4f}, mean IoU {result.mean_iou:.4f}"
                )
                results[sensor][name].append(result)
    write_figures(output / "figures.json", {"steps": steps, "results": results})
    Console(width=180).print(table_of(results, steps))


if __name__ == "__main__":
    main()
