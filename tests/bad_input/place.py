"""A folder in which all is right, and ways to make one thing in it wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

Change = Callable[[Path], object]
"""What is done to a folder to make one thing in it wrong."""

NAMES = ("blue", "green", "red")
ROWS, COLUMNS = 40, 60
DATASET = """
schema = 1
[image]
names = ["blue", "green", "red"]
[classes]
ignore = [0]
list = [{ id = 1, name = "land" }, { id = 2, name = "water" }]
[[scenes]]
image = "image.tif"
labels = "labels.tif"
role = "train"
"""
RECIPE = """
schema = 1
patch_size = 16
batch = 2
steps = 1
network = { depth = 1, filters = 2 }
"""
STRATEGY = """
schema = 1
patch_size = 16
batch = 2
steps = 1
[[phases]]
name = "all"
rate = 1e-3
layers = { "*" = 1 }
"""
CLASSES = "id,name\n1,land\n2,water\n"


def pixels(dtype: Any = np.uint16) -> np.ndarray:
    """(H, W, 3) counts that no compression shortens."""
    return np.random.default_rng(0).integers(1, 250, (ROWS, COLUMNS, 3)).astype(dtype)


def labels() -> np.ndarray:
    """(H, W) of both classes and of no label."""
    return np.random.default_rng(1).integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8)


def write_tiff(
    file: Path, array: np.ndarray, crs: str | None = "EPSG:32633", west: float = 400_000, **more: Any
) -> Path:
    """A GeoTIFF of (H, W) or (H, W, C); without `crs` it lies nowhere."""
    array = array if array.ndim == 3 else array[..., np.newaxis]
    height, width, count = array.shape
    place = {"crs": crs, "transform": rasterio.Affine(10, 0, west, 0, -10, 5_000_000)} if crs else {}
    profile = {"driver": "GTiff", "dtype": array.dtype, "height": height, "width": width, "count": count}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(file, "w", **{**profile, **place, **more}) as target,
    ):
        target.write(np.moveaxis(array, -1, 0))
    return file


def make_place(folder: Path) -> None:
    """A dataset of one scene, a recipe, a strategy, classes, a model directory, and models of other makes."""
    import keras

    from segapp.bands import Band
    from segapp.classes import read_class_csv
    from segapp.model.bundle import write_model
    from segapp.model.model_spec import ModelSpec, Normalization
    from segapp.nets.config import UNetConfig
    from tests.conversion.onnx_unet import write_unet

    write_tiff(folder / "image.tif", pixels())
    write_tiff(folder / "labels.tif", labels())
    (folder / "dataset.toml").write_text(DATASET)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "strategy.toml").write_text(STRATEGY)
    (folder / "classes.csv").write_text(CLASSES)
    spec = ModelSpec(
        schema=2,
        name="small",
        network=UNetConfig(depth=1, filters=2),
        bands=tuple(Band(name=name) for name in NAMES),
        classes=read_class_csv(folder / "classes.csv"),
        normalization=Normalization(mean=(100.0,) * 3, std=(50.0,) * 3),
        patch_size=16,
    )
    for seed in itertools.count():  # a network that calls all pixels alike is warned of
        keras.utils.set_random_seed(seed)
        model = spec.build()
        if 0.1 < np.mean(np.argmax(model(np.float32(pixels())[np.newaxis]), -1)) < 0.9:
            break
    write_model(folder / "model", model, spec)
    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    network = keras.Model(image, keras.layers.Conv2D(2, 1, activation="softmax")(features))
    network.save(folder / "base.keras")
    network.save(folder / "old.h5")
    write_unet(folder / "net.onnx", depth=1, filters=2, classes=2, size=(16, 16))


def write(name: str, content: str | bytes) -> Change:
    """Give a file this content."""
    content = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, share: float = 0.5) -> Change:
    """Cut a file off."""

    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return change


def edit(name: str, old: str, new: str) -> Change:
    """Replace a part of a text file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def dataset(old: str, new: str) -> Change:
    """Another dataset.toml."""
    return edit("dataset.toml", old, new)


def also(*changes: Change) -> Change:
    """All of these."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def removed(name: str) -> Change:
    """Without this file."""
    return lambda folder: (folder / name).unlink()


def folder_at(name: str) -> Change:
    """A folder where a file should be."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def link(name: str, target: str) -> Change:
    """A symbolic link instead of the file."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def npy(name: str, array: np.ndarray) -> Change:
    """An NPY file."""
    return lambda folder: np.save(folder / name, array)


def tiff(name: str, array: np.ndarray, **profile: Any) -> Change:
    """A GeoTIFF."""
    return lambda folder: write_tiff(folder / name, array, **profile)


def described(**changes: Any) -> Change:
    """Another `model.json`: keys with dots reach into tables."""

    def change(folder: Path) -> None:
        file = folder / "model" / "model.json"
        spec = json.loads(file.read_text())
        for key, value in changes.items():
            *tables, last = key.split("__")
            table = spec
            for name in tables:
                table = table[name]
            table[last] = value
        file.write_text(json.dumps(spec))

    return change


def weights(change_file: Change) -> Change:
    """Another `model.weights.h5`, of which `model.json` gives the hash: nobody can tell that it was changed."""

    def change(folder: Path) -> None:
        file = folder / "model" / "model.weights.h5"
        change_file(file)
        described(weights__sha256=hashlib.sha256(file.read_bytes()).hexdigest())(folder)

    return change


def repacked(name: str, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Change:
    """An archive with other members, or with others besides."""

    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / name) as archive:
            kept = {member: archive.read(member) for member in archive.namelist()}
        with zipfile.ZipFile(folder / name, "w", compression) as archive:
            for member, content in {**kept, **members}.items():
                archive.writestr(member, content)

    return change


def nothing(folder: Path) -> None:
    """All is left as it is: the command itself is the mistake."""
