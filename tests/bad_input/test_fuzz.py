"""Whatever is changed in an image, in labels or in a dataset.toml, it is read, or refused as bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from skimage.io import imsave

from segapp.classes import ClassTable, read_class_csv
from segapp.data.dataset import read_dataset
from segapp.data.inspection import inspect_dataset
from segapp.scenes.labels import open_labels
from segapp.scenes.open import open_raster
from segapp.scenes.rules import LabelRules
from segapp.windows import Window
from tests.bad_input.fuzz import damages, examples, refused_or_read
from tests.bad_input.place import pixels, write_tiff
from tests.scenes.test_mat import write_mat73


def _hdf5(path: Path, **settings: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a/image", data=pixels()[:9, :11], **settings)


def _geojson(path: Path) -> None:
    ring = [[500_010, 5_999_990], [500_090, 5_999_990], [500_090, 5_999_900], [500_010, 5_999_990]]
    feature = {"type": "Feature", "properties": {"kind": 1}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))


_SMALL = pixels()[:9, :11]
RASTERS: dict[str, Callable[[Path], object]] = {
    "a.npy": lambda p: np.save(p, _SMALL),
    "a.npz": lambda p: np.savez(p, a=_SMALL),
    "packed.npz": lambda p: np.savez_compressed(p, a=_SMALL),
    "four.mat": lambda p: savemat(p, {"a": _SMALL[..., 0].astype(float)}, format="4"),
    "five.mat": lambda p: savemat(p, {"a": _SMALL}),
    "packed.mat": lambda p: savemat(p, {"a": _SMALL}, do_compression=True),
    "seven.mat": lambda p: write_mat73(p, a=_SMALL),
    "a.h5": _hdf5,
    "packed.h5": lambda p: _hdf5(p, chunks=(4, 4, 3), compression="gzip", shuffle=True),
    "strips.tif": lambda p: write_tiff(p, _SMALL),
    "tiles.tif": lambda p: write_tiff(
        p, _SMALL, tiled=True, blockxsize=16, blockysize=16, compress="deflate", nodata=0
    ),
    "jpeg.tif": lambda p: write_tiff(p, _SMALL.astype(np.uint8), compress="jpeg"),
    "a.png": lambda p: imsave(p, _SMALL.astype(np.uint8), check_contrast=False),
    "a.jpg": lambda p: imsave(p, _SMALL.astype(np.uint8), check_contrast=False),
}
_CLASSES = ClassTable.model_validate({"classes": [{"id": 1, "name": "land"}, {"id": 2, "name": "water"}]})


def _read_raster(path: Path) -> None:
    for indexed in (False, True):
        raster = open_raster(path, indexed=indexed)
        window = Window(0, 0, min(raster.shape[0], 64), min(raster.shape[1], 64))
        bands = range(min(len(raster.band_names), 4))
        raster.read(window, bands)
        raster.valid(window, bands)


@pytest.mark.parametrize("name", RASTERS)
@examples(80)
@given(damage=damages())
def test_a_damaged_raster(name: str, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    if not path.exists():
        RASTERS[name](path)
    damaged = tmp_path / f"damaged-{name}"
    damaged.write_bytes(damage(path.read_bytes()))
    refused_or_read(lambda: _read_raster(damaged), tmp_path)


@examples(60)
@given(damage=damages())
def test_damaged_polygons(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    image, path = tmp_path / "image.tif", tmp_path / "labels.geojson"
    if not image.exists():
        write_tiff(image, _SMALL, west=500_000)
    _geojson(path)
    path.write_bytes(damage(path.read_bytes()))
    raster = open_raster(image)
    refused_or_read(lambda: open_labels(path, LabelRules(), raster, _CLASSES).read(Window(0, 0, 9, 11)), tmp_path)


@examples(60)
@given(damage=damages())
def test_a_damaged_class_table(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "classes.csv"
    path.write_bytes(damage(b"id,name,color,ignore\n1,land,#00ff00,\n2,water,blue,0\n7,cloud,,1\n"))
    refused_or_read(lambda: read_class_csv(path), tmp_path)


_PIECES = (
    "[image]",
    "[[scenes]]",
    "[split]",
    "[labels]",
    "= ",
    '"',
    "'",
    "[",
    "]",
    "{",
    "}",
    "-1",
    "0",
    "nan",
    "1e999",
)
_PIECES += ("bands = [1]\n", "nodata = nan\n", 'mask_band = "blue"\n', "scale = [1, 2, 3]\n", "split = 'blocks'\n")
_PIECES += ('file = "classes.csv"\n', 'image = ["image.tif", "image.tif"]\n', "quality = {band = 1, bits = [0]}\n")
_PIECES += ('resample = "majority"\n', 'layout = "CHW"\n', "**", "/", "\\u0000", "é", "\n", " ", "true", "9999999999")


@examples(80)
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(_PIECES)), min_size=1, max_size=4))
def test_a_dataset_file_with_mistakes(place: Path, edits: list[tuple[float, int, str]]) -> None:
    text = _dataset_text(place)
    for where, length, piece in edits:
        start = int(where * len(text))
        text = text[:start] + piece + text[start + length :]
    (place / "dataset.toml").write_text(text, encoding="utf-8")
    refused_or_read(lambda: inspect_dataset(read_dataset(place / "dataset.toml")), place)


def _dataset_text(place: Path) -> str:
    kept = place / "kept.toml"
    if not kept.exists():
        kept.write_bytes((place / "dataset.toml").read_bytes())
    return kept.read_text()
