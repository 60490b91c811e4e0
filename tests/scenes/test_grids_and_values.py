"""Files as other software writes them are read right: what they cover, what has no data, and what numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.warp import calculate_default_transform, reproject

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.windows import grid, whole

from .test_geotiff import write_tiff

SIDE = 64
X, Y = 500_000.0, 5_000_000.0
CLASSES = ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in range(3)]})


def at(metres: float = 10, x: float = X, y: float = Y, crs: str | None = "EPSG:32633") -> dict[str, Any]:
    return {"transform": Affine(metres, 0, x, 0, -metres, y), "crs": crs}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def fine(folder: Path, **place: Any) -> Path:
    """A band of 64 x 64 pixels of 10 m."""
    return write_tiff(folder / "B04.tif", np.full((SIDE, SIDE), 3000, np.uint16), **(place or at()))


def values_of(scene: RasterScene) -> np.ndarray:
    return scene.read(whole(scene.shape))


def invalid(scene: RasterScene) -> float:
    return float((~scene.valid(whole(scene.shape))).mean())


class TestBandsThatCoverAPart:
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
    @pytest.mark.parametrize("count", [1, 2, 3, 6])
    @pytest.mark.parametrize("nodata", [None, 0])
    @pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
    def test_are_invalid_outside(
        self, tmp_path: Path, dtype: str, count: int, nodata: int | None, resampling: Any
    ) -> None:
        west = rng().integers(100, 200, (32, 16, count)).astype(dtype)
        coarse = write_tiff(tmp_path / "B11.tif", west, nodata=nodata, **at(20))
        scene = open_scene([fine(tmp_path), coarse], ImageRules(resampling=resampling))
        valid = scene.valid(whole(scene.shape))
        assert valid[:, :32].all() and not valid[:, 32:].any()
        inside = values_of(scene)[:, :32, 1:]
        assert inside.min() >= (50 if resampling == "cubic" else 100)

    @pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "EPSG:4326"])
    def test_are_invalid_outside_from_another_crs(self, tmp_path: Path, crs: str) -> None:
        west = np.full((32, 16), 700, np.float32)
        bounds = (X, Y - 640, X + 320, Y)
        transform, width, height = calculate_default_transform("EPSG:32633", crs, 16, 32, *bounds)
        moved = np.full((height, width), np.nan, np.float32)
        source = {"src_transform": at(20)["transform"], "src_crs": "EPSG:32633"}
        reproject(west, moved, **source, dst_transform=transform, dst_crs=crs, dst_nodata=np.nan)
        coarse = write_tiff(tmp_path / "B11.tif", moved, crs=crs, transform=transform)
        scene = open_scene([fine(tmp_path), coarse], ImageRules())
        values = values_of(scene)[..., 1]
        assert invalid(scene) == pytest.approx(0.5, abs=0.06) and not np.isfinite(values[:, 40:]).any()
        np.testing.assert_allclose(values[np.isfinite(values)], 700)


class TestNoDataBeforeInterpolation:
    """A plain of 2000 with no data in the west of its coarse pixels stays a plain."""

    @pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
    @pytest.mark.parametrize(
        ("dtype", "fill", "how"),
        [
            ("int16", -9999, "tag"),
            ("uint16", 0, "tag"),
            ("float32", np.nan, "tag"),
            ("float32", np.nan, "none"),
            ("float32", -3.4028234663852886e38, "tag"),
            ("float64", -1.7976931348623157e308, "none"),
            ("float32", 1e20, "none"),
            ("uint16", 0, "rule"),
            ("int32", -9999, "rule"),
            ("int16", 5, "mask"),
            ("uint8", 5, "mask"),
            ("float32", 5, "mask"),
            ("uint16", 5, "alpha"),
            ("int16", 5, "alpha"),
            ("uint16", 5, "mask and rule"),
            ("uint16", 5, "tag and rule"),
        ],
    )
    def test_leaves_the_rest_alone(self, tmp_path: Path, dtype: str, fill: float, how: str, resampling: Any) -> None:
        value = 200 if dtype == "uint8" else 2000
        coarse = np.full((32, 32, 2), value, dtype)
        coarse[:, :16] = fill
        mask, file, given = None, tmp_path / "B11.tif", fill if how == "rule" else None
        if "mask" in how:
            mask = np.arange(32)[np.newaxis].repeat(32, 0) >= 16
        if " and " in how:  # the file leaves out one quarter, the rules another
            coarse[:, 8:16], given = 7, 7
            mask = None if mask is None else np.arange(32)[np.newaxis].repeat(32, 0) >= 8
        if how == "alpha":
            alpha = np.where(np.arange(32) >= 16, 255, 0).astype(dtype)[np.newaxis, :, np.newaxis].repeat(32, 0)
            coarse = np.concatenate([coarse, alpha], axis=-1)
        write_tiff(file, coarse, mask=mask, nodata=fill if "tag" in how else None, **at(20))
        if how == "alpha":
            with rasterio.open(file, "r+") as opened:
                opened.colorinterp = (ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha)
        rules = ImageRules(resampling=resampling, nodata=given, bands=(1, 2, 3))
        scene = open_scene([fine(tmp_path), file], rules)
        pixels = values_of(scene)[..., 1:]
        assert set(np.unique(pixels[np.isfinite(pixels)])) == {value}
        share = np.isfinite(pixels[..., 0]).mean()
        assert share == pytest.approx(0.5, abs=0.05 if how == "none" else 0)  # what nothing states spreads


@pytest.mark.parametrize("name", ["scl", "SCL_20m", "QA_PIXEL", "Fmask", "mask"])
def test_flags_and_classes_are_never_interpolated(tmp_path: Path, name: str) -> None:
    classes = rng().choice(np.array([4, 10], np.uint8), (16, 16))
    flags = write_tiff(tmp_path / f"{name}.tif", classes, **at(40))
    rules = {"mask": {"mask_band": 2}, "scl": {"quality": {"band": 2, "classes": [5, 6, 7, 8, 9]}, "bands": [1]}}
    chosen = ImageRules.model_validate(rules.get(name, {}) | {"resampling": "cubic"})
    scene = open_scene([fine(tmp_path), flags], chosen)
    assert invalid(scene) == 0
    if name not in rules:
        np.testing.assert_array_equal(values_of(scene)[..., 1], classes.repeat(4, 0).repeat(4, 1))


def test_a_quality_band_that_covers_a_part_leaves_the_rest_invalid(tmp_path: Path) -> None:
    flags = write_tiff(tmp_path / "scl.tif", np.full((32, 16), 4, np.uint8), **at(20))
    rules = ImageRules.model_validate({"quality": {"band": 2, "classes": [8]}, "bands": [1]})
    assert invalid(open_scene([fine(tmp_path), flags], rules)) == 0.5


class TestLabels:
    """Labels of the ground of an image, whichever way its rows run and whatever places them."""

    ids = rng().integers(1, 3, (SIDE, SIDE)).astype(np.uint8)

    def open(self, image: Path, labels: Path, **rules: Any) -> tuple[np.ndarray, np.ndarray]:
        label_rules = LabelRules.model_validate(rules)
        scene = open_scene([image], ImageRules(), label_file=labels, label_rules=label_rules, classes=CLASSES)
        return scene.read_label_ids(whole(scene.shape))

    @pytest.mark.parametrize("image_north", [True, False])
    @pytest.mark.parametrize("labels_north", [True, False])
    @pytest.mark.parametrize(
        ("image_crs", "label_crs"), [("EPSG:32633", "EPSG:32633"), ("EPSG:32633", None), (None, None)]
    )
    def test_are_placed_by_their_transforms(
        self, tmp_path: Path, image_north: bool, labels_north: bool, image_crs: str | None, label_crs: str | None
    ) -> None:
        north, south = Affine(10, 0, X, 0, -10, Y), Affine(10, 0, X, 0, 10, Y - 10 * SIDE)
        image = fine(tmp_path, transform=north if image_north else south, crs=image_crs)
        ids = self.ids if labels_north else self.ids[::-1]
        labels = write_tiff(tmp_path / "l.tif", ids, crs=label_crs, transform=north if labels_north else south)
        found, labelled = self.open(image, labels)
        assert labelled.all()
        np.testing.assert_array_equal(found, self.ids if image_north else self.ids[::-1])

    @pytest.mark.parametrize("crs", ["EPSG:32633", None])
    def test_that_are_shifted_leave_the_rest_unlabelled(self, tmp_path: Path, crs: str | None) -> None:
        labels = write_tiff(tmp_path / "l.tif", self.ids, **at(x=X + 320, crs=crs))
        found, labelled = self.open(fine(tmp_path), labels)
        assert not labelled[:, :32].any() and labelled[:, 32:].all()
        np.testing.assert_array_equal(found[:, 32:], self.ids[:, :32])

    def test_of_another_place_are_refused(self, tmp_path: Path) -> None:
        labels = write_tiff(tmp_path / "l.tif", self.ids, **at(x=X + 3200, crs=None))
        with pytest.raises(InputError, match=r"l\.tif: does not overlap the image"):
            self.open(fine(tmp_path), labels)

    @pytest.mark.parametrize("parts", [2, 3, 5])
    def test_by_majority_are_the_same_with_and_without_a_crs(self, tmp_path: Path, parts: int) -> None:
        ids = rng().integers(0, 4, (SIDE * parts, SIDE * parts)).astype(np.uint8)
        ids[ids == 3] = 255
        place = at(10 / parts)
        with_crs = write_tiff(tmp_path / "crs.tif", ids, nodata=255, **place)
        without = write_tiff(tmp_path / "none.tif", ids, nodata=255)
        found, labelled = self.open(fine(tmp_path), with_crs, resample="majority")
        expected, expected_labelled = self.open(fine(tmp_path), without, resample="majority")
        np.testing.assert_array_equal(labelled, expected_labelled)
        np.testing.assert_array_equal(found[labelled], expected[labelled])
        assert 0 < labelled.mean() < 1


class TestScaling:
    counts = rng().integers(1000, 4000, (SIDE, SIDE, 2)).astype(np.int16)

    def file(self, folder: Path, suffix: str) -> Path:
        """Counts that the file itself states to be 0.0001 of a reflectance with an offset of -0.1."""
        path = folder / f"scene{suffix}"
        if suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["cube"] = self.counts
                file["cube"].attrs.update({"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": np.int16(-1)})
            return path
        write_tiff(path, self.counts, driver="ENVI" if suffix == ".dat" else "GTiff", **at())
        if suffix == ".dat":
            header = path.with_suffix(".hdr")
            header.write_text(header.read_text() + "\nreflectance scale factor = 10000\n")
            return path
        with rasterio.open(path, "r+") as opened:
            opened.scales, opened.offsets = (1e-4, 1e-4), (-0.1, -0.1)
        return path

    @pytest.mark.parametrize(("suffix", "offset"), [(".tif", -0.1), (".h5", -0.1), (".dat", 0.0)])
    def test_that_a_file_states_is_applied(self, tmp_path: Path, suffix: str, offset: float) -> None:
        scene = open_scene([self.file(tmp_path, suffix)], ImageRules())
        np.testing.assert_allclose(values_of(scene), self.counts * 1e-4 + offset, atol=1e-6)
        assert {band.unit for band in scene.bands} == {"reflectance"} and not scene.remarks

    def test_that_is_given_replaces_that_of_the_file_and_is_said(self, tmp_path: Path) -> None:
        file = self.file(tmp_path, ".tif")
        scene = open_scene([file], ImageRules(scale=1, offset=0))
        np.testing.assert_array_equal(values_of(scene), self.counts)
        (remark,) = scene.remarks
        assert "states scale 0.0001 and offset -0.1 for band_1, but is read with scale 1 and offset 0" in remark
        with pytest.raises(InputError, match=r"give 'offset' too, or neither"):
            open_scene([file], ImageRules(scale=1e-4))

    def test_of_a_stack_is_that_of_each_file(self, tmp_path: Path) -> None:
        scene = open_scene([fine(tmp_path), self.file(tmp_path, ".tif")], ImageRules())
        assert [(band.scale, band.unit) for band in scene.bands] == [
            (1, "digital number"), (1e-4, "reflectance"), (1e-4, "reflectance")
        ]  # fmt: skip

    def test_with_a_unit_has_that_unit(self, tmp_path: Path) -> None:
        file = self.file(tmp_path, ".tif")
        with rasterio.open(file, "r+") as opened:
            opened.units = ("K", "1")
        assert [band.unit for band in open_scene([file], ImageRules()).bands] == ["K", "reflectance"]

    def test_fill_values_of_attributes_are_no_data(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["cube"] = np.where(np.arange(SIDE)[:, np.newaxis, np.newaxis] < 16, -28672, self.counts)
            file["cube"].attrs.update({"_FillValue": np.array([-28672.0]), "missing_value": "none"})
        assert invalid(open_scene([tmp_path / "a.h5"], ImageRules())) == 0.25


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "fill", [np.finfo(np.float32).min, np.finfo(np.float64).min, 1e20, 9.969209968386869e36, np.inf]
)
@pytest.mark.filterwarnings("error")
def test_numbers_that_are_no_measurements_are_no_data_and_named(tmp_path: Path, dtype: str, fill: float) -> None:
    pixels = rng().uniform(0.01, 0.4, (SIDE, SIDE, 2)).astype(dtype)
    with np.errstate(over="ignore"):
        pixels[:16] = np.float64(fill).astype(dtype)
    scene = open_scene([write_tiff(tmp_path / "a.tif", pixels, **at())], ImageRules(scale=2.0))
    assert not np.isfinite(values_of(scene)[:16]).any() and np.isfinite(values_of(scene)[16:]).all()
    (remark,) = scene.remarks
    assert f"{float(pixels[0, 0, 0]):.6g}" in remark and "taken as no data" in remark


class TestMasks:
    @pytest.mark.parametrize("value", [0, np.nan])
    def test_a_mask_band_masks_where_it_is_0_or_nan(self, tmp_path: Path, value: float) -> None:
        pixels = rng().uniform(0.01, 0.4, (SIDE, SIDE, 3)).astype(np.float32)
        pixels[:16, :, 2] = value
        assert invalid(open_scene([write_tiff(tmp_path / "a.tif", pixels)], ImageRules(mask_band=3))) == 0.25

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    @pytest.mark.parametrize("count", [2, 4, 5, 7])
    @pytest.mark.parametrize("form", ["alpha", "mask"])
    def test_of_any_number_of_bands_count(self, tmp_path: Path, dtype: str, count: int, form: str) -> None:
        pixels = rng().integers(1, 100, (SIDE, SIDE, count)).astype(dtype)
        there = np.arange(SIDE)[:, np.newaxis].repeat(SIDE, 1) >= 16
        file = tmp_path / "a.tif"
        if form == "alpha":
            pixels[..., -1] = np.where(there, 255, 0)
            colors = [ColorInterp.gray, *[ColorInterp.undefined] * (count - 2), ColorInterp.alpha]
            write_tiff(file, pixels, photometric="MINISBLACK")
            with rasterio.open(file, "r+") as opened:
                opened.colorinterp = colors
        else:
            write_tiff(file, pixels, mask=there, photometric="MINISBLACK", alpha="NO")
        scene = open_scene([file], ImageRules())
        assert invalid(scene) == 0.25 and len(scene.bands) == count - (form == "alpha")
        chosen = open_scene([file], ImageRules(bands=tuple(range(1, count + 1))))
        assert invalid(chosen) == (0 if form == "alpha" else 0.25)  # alpha that is chosen is data

    @pytest.mark.parametrize("suffix", [".tif", ".png"])
    @pytest.mark.parametrize("kind", ["near infrared", "alpha"])
    def test_the_fourth_band_of_8_bit_images_is_what_its_values_are(
        self, tmp_path: Path, suffix: str, kind: str
    ) -> None:
        pixels = rng().integers(20, 200, (SIDE, SIDE, 4)).astype(np.uint8)
        pixels[..., 3] = 255 if kind == "alpha" else pixels[..., 3]
        pixels[:, 40:, 3] = 0  # deep water, or the edge
        file = tmp_path / f"a{suffix}"
        write_tiff(file, pixels) if suffix == ".tif" else Image.fromarray(pixels, "RGBA").save(file)
        scene = open_scene([file], ImageRules())
        assert (len(scene.bands), invalid(scene)) == ((4, 0) if kind != "alpha" else (3, 0.375))
        assert bool(scene.remarks) == (kind != "alpha")

    @pytest.mark.parametrize(("dtype", "share"), [("uint8", 0.125), ("uint16", 0.5625), ("int8", 0.125)])
    @pytest.mark.parametrize("given", [True, False])
    def test_nodata_of_8_bit_images_is_where_all_bands_have_it(
        self, tmp_path: Path, dtype: str, share: float, given: bool
    ) -> None:
        pixels = rng().integers(1, 100, (SIDE, SIDE, 3)).astype(dtype)
        pixels[:, 32:, 2] = 0  # deep shadow
        pixels[:8] = 0
        file = write_tiff(tmp_path / "a.tif", pixels, nodata=None if given else 0)
        assert invalid(open_scene([file], ImageRules(nodata=0 if given else None))) == share


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_warped_pixels_with_masks_do_not_depend_on_the_window(tmp_path: Path, resampling: Any) -> None:
    mask = rng().random((30, 30)) > 0.3
    coarse = write_tiff(
        tmp_path / "B11.tif", rng().integers(1, 999, (30, 30, 2)).astype(np.int16), mask=mask, **at(23.7)
    )
    scene = open_scene([fine(tmp_path), coarse], ImageRules(resampling=resampling, nodata=500))
    pixels = values_of(scene)
    for window in grid(whole(scene.shape), 17, 23):
        np.testing.assert_array_equal(scene.read(window), pixels[window.slices])


def test_a_damaged_file_does_not_spoil_the_next(tmp_path: Path) -> None:
    file = write_tiff(tmp_path / "a.tif", rng().integers(0, 60000, (500, 500)).astype(np.uint16), compress="deflate")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    raster = open_raster(cut)
    with pytest.raises(InputError, match=r"cut\.tif"):
        raster.read(whole(raster.shape), [0])
    assert open_raster(file).alpha is None
