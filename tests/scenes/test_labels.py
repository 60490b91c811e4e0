"""Labels on the image's grid, whatever grid the label file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.errors import InputError
from segapp.scenes.label_ids import BandOfIds
from segapp.scenes.labels import CoarserLabels, FinerLabels, open_labels
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.raster import Georeference
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.windows import Window, whole

CLASSES = ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in (1, 2, 3)]})


def image(shape: tuple[int, int], georeference: Georeference | None = None) -> ArrayRaster:
    return ArrayRaster("image.npy", np.zeros(shape, np.uint8), georeference=georeference)


def windows(height: int, width: int) -> st.SearchStrategy[Window]:
    return st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)).flatmap(
        lambda corner: st.builds(
            Window,
            st.just(corner[0]),
            st.just(corner[1]),
            st.integers(1, height - corner[0]),
            st.integers(1, width - corner[1]),
        )
    )


@settings(max_examples=60, deadline=None)
@given(stn.arrays(np.uint8, (12, 15), elements=st.integers(0, 3)), windows(4, 5))
def test_finer_labels_give_the_commonest_id_of_each_pixel(ids: np.ndarray, window: Window) -> None:
    labels = FinerLabels(ArrayRaster("labels", ids, nodata=0), BandOfIds(0), 3, majority=True)
    found, labelled = labels.read(window)
    for row in range(window.height):
        for col in range(window.width):
            top, left = 3 * (window.row + row), 3 * (window.col + col)
            counts = np.bincount(ids[top : top + 3, left : left + 3].ravel(), minlength=4)
            # ties go to a label rather than to none, and to the smallest id
            expected = 0 if counts[0] > counts[1:].max() else 1 + int(counts[1:].argmax())
            assert labelled[row, col] == (expected != 0)
            assert not labelled[row, col] or found[row, col] == expected


@settings(max_examples=60, deadline=None)
@given(stn.arrays(np.uint8, (4, 5), elements=st.integers(0, 3)), st.integers(1, 4), st.data())
def test_coarser_labels_are_repeated_and_nearest_undoes_it(ids: np.ndarray, factor: int, data: st.DataObject) -> None:
    repeated = ids.repeat(factor, 0).repeat(factor, 1)
    window = data.draw(windows(*repeated.shape))
    found, _ = CoarserLabels(ArrayRaster("labels", ids), BandOfIds(0), factor).read(window)
    np.testing.assert_array_equal(found, repeated[window.slices])
    for majority in (True, False):
        again, _ = FinerLabels(ArrayRaster("labels", repeated), BandOfIds(0), factor, majority).read(whole(ids.shape))
        np.testing.assert_array_equal(again, ids)


def write(path: Path, ids: np.ndarray, origin: tuple[float, float], pixel: float, crs: str | None, **more: Any) -> Path:
    placed = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    profile = {"height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": ids.dtype, "crs": crs, **more}
    with rasterio.open(path, "w", driver="GTiff", transform=placed, **profile) as file:
        file.write(ids, 1)
    return path


GRID = Georeference(CRS.from_epsg(32633).to_wkt(), (10.0, 0.0, 500_000.0, 0.0, -10.0, 6_000_000.0))


def test_labels_of_another_extent_and_pixel_size_are_warped_by_nearest(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 4, (10, 12)).astype(np.uint8)
    path = write(tmp_path / "labels.tif", ids, (499_980, 6_000_020), 20, "EPSG:32633")
    labels = open_labels(path, LabelRules(), image((20, 30), GRID), CLASSES)
    found, labelled = labels.read(whole((20, 30)))
    expected = ids.repeat(2, 0).repeat(2, 1)[2:, 2:]  # 18 rows and 22 columns of the image are covered
    assert labelled[:18, :22].all() and not labelled[18:].any() and not labelled[:, 22:].any()
    np.testing.assert_array_equal(found[:18, :22], expected)
    inner, _ = labels.read(Window(3, 4, 5, 6))
    np.testing.assert_array_equal(inner, found[3:8, 4:10])


def test_labels_in_another_crs_are_warped(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 4, (60, 60)).astype(np.uint8)
    rows, cols = np.mgrid[:20, :20]
    lon, lat = map(
        np.array,
        transform("EPSG:32633", "EPSG:4326", 500_005 + 10 * cols.ravel(), 5_999_995 - 10 * rows.ravel()),
    )
    west, north = lon.min() - 0.00107, lat.max() + 0.00107
    path = write(tmp_path / "labels.tif", ids, (west, north), 0.0002, "EPSG:4326")
    found, labelled = open_labels(path, LabelRules(), image((20, 20), GRID), CLASSES).read(whole((20, 20)))
    assert labelled.all()
    at = np.floor((north - lat) / 0.0002).astype(int), np.floor((lon - west) / 0.0002).astype(int)
    np.testing.assert_array_equal(found.ravel(), ids[at])


def test_georeferenced_labels_may_be_brought_to_the_grid_by_majority(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 4, (18, 24)).astype(np.uint8)
    path = write(tmp_path / "labels.tif", ids, (500_000, 6_000_000), 10 / 3, "EPSG:32633")
    labels = open_labels(path, LabelRules(resample="majority"), image((6, 8), GRID), CLASSES)
    counts = np.stack([(ids == i).reshape(6, 3, 8, 3).sum(axis=(1, 3)) for i in (1, 2, 3)])
    clear = np.sort(counts, axis=0)[-1] > np.sort(counts, axis=0)[-2]
    np.testing.assert_array_equal(labels.read(whole((6, 8)))[0][clear], (1 + counts.argmax(axis=0))[clear])


def test_labels_on_the_same_grid_are_read_as_they_are_with_nodata_as_unlabelled(tmp_path: Path) -> None:
    ids = np.array([[1, 2], [3, 99]], np.uint8)
    path = write(tmp_path / "labels.tif", ids, (500_000, 6_000_000), 10, "EPSG:32633", nodata=99)
    found, labelled = open_labels(path, LabelRules(), image((2, 2), GRID), CLASSES).read(whole((2, 2)))
    np.testing.assert_array_equal(found, ids)
    assert labelled.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("shape", [(20, 20), (10, 15), (3, 4), (20, 31)])
def test_shapes_that_do_not_fit_are_both_named(tmp_path: Path, shape: tuple[int, int]) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError) as error:
        open_labels(tmp_path / "labels.npy", LabelRules(resample="majority"), image((10, 20)), CLASSES)
    for part in ("labels.npy", "image.npy", f"{shape[0]}x{shape[1]}", "10x20", "CRS"):
        assert part in str(error.value)


@pytest.mark.parametrize(("shape", "how"), [((20, 40), "2 times finer"), ((5, 10), "2 times coarser")])
def test_a_whole_factor_needs_an_explicit_choice(tmp_path: Path, shape: tuple[int, int], how: str) -> None:
    np.save(tmp_path / "labels.npy", np.ones(shape, np.uint8))
    with pytest.raises(InputError, match=rf"{how}.*set 'resample'"):
        open_labels(tmp_path / "labels.npy", LabelRules(), image((10, 20)), CLASSES)
    labels = open_labels(tmp_path / "labels.npy", LabelRules(resample="nearest"), image((10, 20)), CLASSES)
    assert (labels.read(whole((10, 20)))[0] == 1).all()


def test_labels_of_several_bands_need_a_choice(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.stack([np.ones((4, 5)), np.full((4, 5), 2.0)], axis=-1))
    with pytest.raises(InputError, match="has 2 bands; set 'band'"):
        open_labels(tmp_path / "labels.npy", LabelRules(), image((4, 5)), CLASSES)
    labels = open_labels(tmp_path / "labels.npy", LabelRules(band=2), image((4, 5)), CLASSES)
    assert (labels.read(whole((4, 5)))[0] == 2).all()


def test_whole_numbered_floats_are_labels_and_nan_is_unlabelled(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((2, 2), np.uint8))
    np.save(tmp_path / "labels.npy", np.array([[1, 2], [3, np.nan]]))
    scene = open_scene([tmp_path / "image.npy"], ImageRules(), label_file=tmp_path / "labels.npy", classes=CLASSES)
    assert scene.read_labels(whole((2, 2))).tolist() == [[0, 1], [2, IGNORED_INDEX]]


def test_houston_labels_four_times_finer_than_the_cube(shared_data: Path) -> None:
    path = shared_data / "houston" / "houston_dataset.mat"
    classes = ClassTable.model_validate(
        {"classes": [{"id": i, "name": f"class {i}"} for i in range(1, 13)], "ignore": [0]}
    )
    rules = ImageRules(variable="hyprImg")
    with pytest.raises(InputError, match=r"512x512.*128x128.*4 times finer"):
        open_scene([path], rules, label_file=path, label_rules=LabelRules(variable="clasLabs"), classes=classes)
    found = LabelRules(variable="clasLabs", resample="majority")
    scene = open_scene([path], rules, label_file=path, label_rules=found, classes=classes)
    labels = scene.read_labels(whole(scene.shape))
    assert (scene.shape, len(scene.bands), labels.shape) == ((128, 128), 48, (128, 128))
    fine = scipy.io.loadmat(path)["clasLabs"].reshape(128, 4, 128, 4)
    unanimous = (fine == fine[:, :1, :, :1]).all(axis=(1, 3))
    first = fine[:, 0, :, 0].astype(int)
    expected = np.where(first == 0, IGNORED_INDEX, first - 1)
    assert unanimous.mean() > 0.5
    np.testing.assert_array_equal(labels[unanimous], expected[unanimous])
