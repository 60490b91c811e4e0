"""Scenes: chosen bands in physical values, and NaN wherever any rule says there is no data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from rasterio.transform import Affine

from segapp.errors import InputError
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules, QualityRule
from segapp.scenes.validity import Quality
from segapp.windows import Window, whole


def in_memory(counts: np.ndarray, band_names: list[str | None] | None = None, /, **rules: Any) -> RasterScene:
    return RasterScene("scene", ArrayRaster("scene.npy", counts, band_names), ImageRules(**rules), ("scene.npy",))


def write(path: Path, counts: np.ndarray, pixel: float = 10, crs: str | None = "EPSG:32633", **profile: Any) -> Path:
    """A GeoTIFF of (H, W, C) `counts` whose top left corner is always the same."""
    height, width, count = counts.shape
    transform = Affine(pixel, 0, 500_000, 0, -pixel, 6_000_000)
    settings = {"width": width, "height": height, "count": count, "dtype": counts.dtype, "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", transform=transform, **settings, **profile) as file:
        file.write(np.moveaxis(counts, -1, 0))
    return path


@settings(max_examples=30, deadline=None)
@given(
    stn.arrays(np.int16, (5, 6, 4)),
    st.permutations([1, 2, 3, 4]),
    st.lists(st.sampled_from([1.0, 1e-4, 2.5]), min_size=4, max_size=4),
    st.sampled_from([0.0, -0.1]),
)
def test_counts_become_physical_values(counts: np.ndarray, order: list[int], scale: list[float], offset: float) -> None:
    scene = in_memory(counts, bands=order, scale=scale, offset=offset)
    pixels = scene.read(Window(1, 2, 3, 4))
    expected = counts[1:4, 2:6][..., [i - 1 for i in order]].astype(np.float64) * scale + offset
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected, rtol=1e-6, atol=1e-6)


def test_bands_are_chosen_by_index_or_name() -> None:
    counts = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    scene = in_memory(counts, ["B2", "Red Edge 1", None], bands=["red_edge_1", 3, "B2"], unit="radiance")
    np.testing.assert_array_equal(scene.read(whole((4, 5))), counts[..., [1, 2, 0]])
    assert [band.name for band in scene.bands] == ["Red Edge 1", "band_3", "B2"]
    assert [band.wavelength_nm for band in scene.bands] == [705.0, None, None]
    assert {band.unit for band in scene.bands} == {"radiance"}


def test_the_unit_is_reflectance_where_counts_are_scaled() -> None:
    counts = np.zeros((2, 2, 1), np.uint8)
    assert in_memory(counts).bands[0].unit == "digital number"
    assert in_memory(counts, scale=1e-4).bands[0].unit == "reflectance"
    named = in_memory(counts, names=["nir"], wavelengths_nm=[842]).bands[0]
    assert (named.name, named.wavelength_nm) == ("nir", 842)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"bands": [0]}, "bands asks for band 0, but there are 3, counted from 1"),
        ({"bands": [4]}, "bands asks for band 4, but there are 3"),
        ({"bands": ["nri"]}, "bands asks for band 'nri', but the bands are red, nir"),
        ({"mask_band": 9}, "mask_band asks for band 9"),
        ({"names": ["a", "b"]}, "'names' has 2 entries for 3 bands"),
        ({"scale": [1, 2]}, "'scale' has 2 entries for 3 bands"),
    ],
)
def test_a_band_that_is_not_there_is_named_with_those_that_are(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        in_memory(np.zeros((2, 2, 3)), ["red", "nir", None], **rules)
    assert str(error.value).startswith("scene.npy: ")


@settings(max_examples=50, deadline=None)
@given(stn.arrays(np.float32, (4, 5, 3), elements=st.sampled_from([0, 1, 2, -9999, np.nan, np.inf, -np.inf])))
def test_a_pixel_invalid_in_one_band_is_nan_in_all(counts: np.ndarray) -> None:
    scene = in_memory(counts, bands=[1, 3], nodata=-9999, scale=2.0, mask_band=2)
    chosen = counts[..., [0, 2]]
    valid = (np.isfinite(chosen) & (chosen != -9999)).all(axis=-1) & (counts[..., 1] != 0) & ~np.isnan(counts[..., 1])
    np.testing.assert_array_equal(scene.valid(whole((4, 5))), valid)
    np.testing.assert_array_equal(
        scene.read(whole((4, 5))), np.where(valid[..., np.newaxis], chosen * np.float32(2), np.nan)
    )


def test_a_mask_band_is_no_input_unless_chosen() -> None:
    assert len(in_memory(np.ones((2, 2, 7)), mask_band=7).bands) == 6


@settings(max_examples=30, deadline=None)
@given(stn.arrays(np.uint16, (4, 5, 2)), st.sets(st.integers(0, 15), min_size=1), st.booleans())
def test_quality_bits_invalidate_pixels_that_have_any_of_them(counts: np.ndarray, bits: set[int], floats: bool) -> None:
    stored = counts.astype(np.float32) if floats else counts
    quality = QualityRule(band=2, bits=tuple(bits))
    raster = ArrayRaster("scene.npy", stored)
    scene = RasterScene("s", raster, ImageRules(bands=(1,)), (), Quality(raster, 1, quality))
    flagged = np.zeros((4, 5), bool)
    for bit in bits:
        flagged |= (counts[..., 1] // 2**bit) % 2 == 1
    np.testing.assert_array_equal(scene.valid(whole((4, 5))), ~flagged)


@pytest.mark.parametrize("rule", [{}, {"bits": [1], "classes": [3]}, {"bits": [-1]}])
def test_a_quality_rule_is_either_bits_or_classes(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bits"):
        QualityRule(band=1, **rule)


def test_quality_classes_of_a_coarser_file_are_brought_to_the_grid_by_nearest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = write(tmp_path / "B4.tif", rng.integers(1, 9, (12, 16, 1)).astype(np.uint16))
    classes = rng.integers(0, 12, (6, 8, 1)).astype(np.uint8)
    scl = write(tmp_path / "SCL.tif", classes, pixel=20)
    scene = open_scene([image], ImageRules(quality={"classes": [3, 8, 9]}), quality_file=scl)
    clouds = np.isin(classes[..., 0], [3, 8, 9]).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(scene.valid(whole((12, 16))), ~clouds)
    np.testing.assert_array_equal(scene.valid(Window(3, 5, 4, 7)), ~clouds[3:7, 5:12])


def test_quality_that_cannot_be_read_says_what_is_missing(tmp_path: Path) -> None:
    image = write(tmp_path / "image.tif", np.ones((4, 4, 1), np.uint8))
    small = write(tmp_path / "qa.tif", np.ones((3, 4, 1), np.uint8), crs=None)
    for rules, file, message in (
        (ImageRules(), small, "nothing says how to read it; add 'quality'"),
        (ImageRules(quality={"bits": [1]}), None, "names no band; add 'band'"),
        (ImageRules(quality={"bits": [1], "band": 3}), None, "quality.band asks for band 3"),
    ):
        with pytest.raises(InputError, match=message):
            open_scene([image], rules, quality_file=file)


def test_several_files_are_one_scene_on_the_grid_of_a_band(tmp_path: Path) -> None:
    fine = np.random.default_rng(0).integers(1, 99, (8, 8, 1)).astype(np.uint16)
    coarse = fine[::2, ::2] + 100
    files = [write(tmp_path / "B11.tif", coarse, pixel=20), write(tmp_path / "B4.tif", fine)]
    scene = open_scene(files, ImageRules(names=("swir1", "red"), grid=2, resampling="nearest"))
    assert (scene.name, scene.shape) == ("B11", (8, 8))
    pixels = scene.read(whole((8, 8)))
    np.testing.assert_array_equal(pixels[..., 1], fine[..., 0])
    np.testing.assert_array_equal(pixels[..., 0], coarse[..., 0].repeat(2, 0).repeat(2, 1))
    assert open_scene(files, ImageRules()).shape == (4, 4)


def test_nodata_of_the_file_holds_for_chosen_bands_only(tmp_path: Path) -> None:
    counts = np.ones((3, 3, 2), np.uint16)
    counts[0, 0, 0] = counts[1, 1, 1] = 0
    path = write(tmp_path / "image.tif", counts, nodata=0)
    valid = open_scene([path], ImageRules(bands=(1,))).valid(whole((3, 3)))
    assert not valid[0, 0] and valid[1, 1]
