"""Whatever is wrong with a dataset, the command line answers with exit code 2 and one line: file, fault, remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from segapp.cli import main

GOOD = """
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


def _write(path: Path, array: np.ndarray, crs: str | None = "EPSG:32633", size: float = 10.0) -> None:
    profile = {"driver": "GTiff", "dtype": array.dtype, "count": len(array), "height": array.shape[1]}
    transform = rasterio.Affine(size, 0, 400_000, 0, -size, 5_000_000)
    with rasterio.open(path, "w", width=array.shape[2], crs=crs, transform=transform, **profile) as file:
        file.write(array)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset that is right: 3 bands of 20 x 30 pixels and their labels."""
    rng = np.random.default_rng(0)
    _write(tmp_path / "image.tif", rng.integers(1, 9, (3, 20, 30), np.uint16))
    _write(tmp_path / "labels.tif", rng.integers(0, 3, (1, 20, 30), np.uint8))
    (tmp_path / "dataset.toml").write_text(GOOD)
    return tmp_path


def _inspect(folder: Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["inspect", str(folder / "dataset.toml")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def _edit(old: str, new: str) -> Callable[[Path], object]:
    assert old in GOOD
    return lambda folder: (folder / "dataset.toml").write_text(GOOD.replace(old, new))


def _truncate(folder: Path) -> None:
    data = (folder / "image.tif").read_bytes()
    (folder / "image.tif").write_bytes(data[: len(data) // 2])


def _no_georeference_and_other_size(folder: Path) -> None:
    (folder / "labels.tif").unlink()
    np.save(folder / "labels.npy", np.ones((21, 30), np.uint8))
    _edit("labels.tif", "labels.npy")(folder)


def _ambiguous_layout(folder: Path) -> None:
    np.save(folder / "image.npy", np.ones((3, 5, 4), np.uint8))
    _edit('image = "image.tif"', 'image = "image.npy"')(folder)


def _pickle(folder: Path) -> None:
    np.save(folder / "image.npy", np.array([{"a": 1}], object))
    _edit('image = "image.tif"', 'image = "image.npy"')(folder)


def _several_variables(folder: Path) -> None:
    np.savez(folder / "image.npz", one=np.ones((20, 30, 3)), two=np.ones((20, 30, 3)))
    _edit('image = "image.tif"', 'image = "image.npz"')(folder)


def _bad_vectors(folder: Path) -> None:
    (folder / "labels.geojson").write_text('{"type": "FeatureCollection", "features": []')
    _edit("labels.tif", "labels.geojson")(folder)


MISTAKES: list[tuple[str, Callable[[Path], object], tuple[str, ...]]] = [
    ("no TOML", lambda f: (f / "dataset.toml").unlink(), ("dataset.toml", "no such file")),
    ("broken TOML", _edit("schema = 1", "schema = "), ("dataset.toml", "no valid TOML")),
    ("unknown key", _edit("[image]", "[image]\nbandz = [1]"), ("'image.bandz'", "did you mean 'bands'")),
    ("unknown table", _edit("[image]", "[imagery]\n[image]"), ("'imagery'", "did you mean 'image'")),
    ("no schema", _edit("schema = 1", ""), ("schema is missing",)),
    ("other schema", _edit("schema = 1", "schema = 7"), ("schema",)),
    ("no classes", _edit("[classes]\nignore = [0]", "[other]"), ("dataset.toml",)),
    ("one class", _edit(', { id = 2, name = "water" }', ""), ("classes",)),
    ("class id twice", _edit("id = 2", "id = 1"), ("id 1 is given twice",)),
    ("class name twice", _edit('"water"', '"land"'), ("'land' is given twice",)),
    ("class and ignored", _edit("ignore = [0]", "ignore = [2]"), ("id 2 is a class and ignored",)),
    ("no colour", _edit('name = "water"', 'name = "water", color = "blau"'), ("'blau' is no colour",)),
    ("nodata is a class", _edit("ignore = [0]", "nodata = 2"), ("nodata 2 is the id of class 'water'",)),
    ("no role", _edit('role = "train"', ""), ("role",)),
    ("unknown role", _edit('"train"', '"training"'), ("role",)),
    ("missing image", _edit("image.tif", "imag.tif"), ("imag.tif", "matches no file")),
    ("missing labels", _edit("labels.tif", "label.tif"), ("label.tif", "matches no file")),
    ("truncated image", _truncate, ("image.tif",)),
    ("empty image", lambda f: (f / "image.tif").write_bytes(b""), ("image.tif",)),
    ("not an image", lambda f: (f / "image.tif").write_text("hello"), ("image.tif",)),
    ("image is a folder", lambda f: _edit("image.tif", "..")(f), ("..",)),
    ("missing band", _edit("[image]", "[image]\nbands = [1, 2, 4]"), ("image.tif", "band 4", "there are 3")),
    ("missing band name", _edit("[image]", '[image]\nbands = ["a", "b", "c"]'), ("image.tif", "band 'a'")),
    ("band twice", _edit("[image]", "[image]\nbands = [1, 2, 2]"), ("bands: 2 is given twice",)),
    ("too few names", _edit(', "red"', ""), ("names",)),
    ("wrong label size", _no_georeference_and_other_size, ("labels.npy", "21x30", "20x30")),
    ("ambiguous layout", _ambiguous_layout, ("image.npy", "layout")),
    ("pickle", _pickle, ("image.npy",)),
    ("several variables", _several_variables, ("image.npz", "one", "two", "variable")),
    ("broken polygons", _bad_vectors, ("labels.geojson",)),
    ("split file missing", _edit("[image]", '[split]\nfile = "s.csv"\n[image]'), ("dataset.toml",)),
    ("unknown resampling", _edit("[image]", '[image]\nresampling = "best"'), ("resampling",)),
    ("quality without rule", _edit("[image]", "[image]\nquality = { band = 1 }"), ("'bits' or 'classes'",)),
]


def test_the_dataset_without_a_mistake_is_accepted(folder: Path) -> None:
    assert _inspect(folder) == (0, "")


@pytest.mark.parametrize(("break_it", "told"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_line_that_tells(
    break_it: Callable[[Path], object], told: tuple[str, ...], folder: Path
) -> None:
    break_it(folder)
    code, err = _inspect(folder)
    assert code == 2
    assert err.startswith("segapp: ") and err.count("\n") == 1, err
    for words in told:
        assert words in err


def test_ids_that_are_no_class_stop_a_training_and_are_counted(folder: Path) -> None:
    labels = np.ones((1, 20, 30), np.uint8)
    labels[0, :2] = 9
    _write(folder / "labels.tif", labels)
    output = folder / "model"
    result = CliRunner().invoke(main, ["train", "--data", str(folder / "dataset.toml"), "--output", str(output)])
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "labels.tif" in last and "9 (60 px)" in last and "ignore" in last
    assert {path.name for path in folder.iterdir()} == {"image.tif", "labels.tif", "dataset.toml"}
