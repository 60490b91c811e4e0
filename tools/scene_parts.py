"""Parts of datasets: few of their scenes, and halves of single scenes that are too small for blocks a patch apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import scipy.io
from rasterio.windows import Window

from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import Dataset
from segapp.scenes.scene import Scene
from segapp.windows import whole

SHARED = Path(__file__).parents[2] / "shared" / "data"
PARTS = Path(__file__).parents[1] / "build" / "scene_parts"


def cut_scenes(folder: Path = PARTS) -> None:
    """Write the parts of scenes that the dataset files in tools/datasets name, unless they are there."""
    if folder.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(SHARED / "ukis" / "landsat7.npz") as file:
        scene = {name: file[name] for name in ("img", "msk")}
    for name, columns in (("left", slice(None, 256)), ("right", slice(256, None))):
        np.savez(folder / f"landsat7-{name}.npz", **{key: array[:, columns] for key, array in scene.items()})

    cube = scipy.io.loadmat(SHARED / "houston" / "houston_dataset.mat", variable_names=["hyprImg", "clasLabs"])
    quarters = {"train-1": (0, 0), "test-1": (0, 1), "test-2": (1, 0), "train-2": (1, 1)}
    for name, (row, col) in quarters.items():
        image, labels = (_quarter(cube[key], row, col) for key in ("hyprImg", "clasLabs"))
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


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` training scenes and all test scenes; of one seed the larger subsets hold the smaller ones.

    The first scene is one that shows at least two classes.
    """
    train, test = ([m for m in dataset.members if m[0] == role] for role in ("train", "test"))
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    first = next(i for i in order if _classes_present(train[i][1]) > 1)
    chosen = [first, *(i for i in order if i != first)][:count]
    return replace(dataset, members=(*(train[i] for i in chosen), *test))


def _classes_present(scene: Scene) -> int:
    labels = scene.read_labels(whole(scene.shape))
    return len(np.unique(labels[labels != IGNORED_INDEX]))
