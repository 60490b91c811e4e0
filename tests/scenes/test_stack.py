"""One raster from several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject

from segapp.errors import InputError
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference, Raster
from segapp.scenes.stack import open_stack, same_grid
from segapp.windows import grid, whole

from .format_checks import FormatChecks, noise, read_whole
from .test_geotiff import write_tiff

LEFT, TOP = 500_000.0, 5_000_000.0


def placed(path: Path, pixels: np.ndarray, metres: float, left: float = LEFT, **profile: Any) -> Raster:
    """A GeoTIFF of `pixels` of so many `metres`."""
    transform = from_origin(left, TOP, metres, metres)
    return open_raster(write_tiff(path, pixels, **{"crs": "EPSG:32633", "transform": transform, **profile}))


class TestStackOfSingleBandFiles(FormatChecks):
    """Landsat's way, here with two bands in the last file: `LC08_B1.TIF`, `LC08_B2.TIF`, ..."""

    def write(self, folder: Path) -> Path:
        for number, band in enumerate(np.moveaxis(self.pixels[..., :2], -1, 0), start=1):
            write_tiff(folder / f"LC08_B{number}.TIF", band)
        return write_tiff(folder / "LC08_B34.TIF", self.pixels[..., 2:])

    def open(self, path: Path) -> Raster:
        last = open_raster(path)  # first, since it is the file that the checks damage
        folder = path.parent if (path.parent / "LC08_B1.TIF").exists() else self.folder
        return open_stack([*(open_raster(folder / f"LC08_B{n}.TIF") for n in (1, 2)), last])

    @pytest.fixture(scope="class", autouse=True)
    def _remember_the_folder(self, path: Path) -> None:
        type(self).folder = path.parent

    folder: Path

    def test_shape_dtype_and_bands_are_those_written(self, path: Path) -> None:
        raster = self.open(path)
        assert (raster.shape, raster.dtype, len(raster.band_names)) == ((44, 53), np.uint16, 4)
        assert raster.path.endswith("LC08_B1.TIF and 2 more")


def test_dtypes_are_promoted_and_validity_is_that_of_the_bands_asked_for(tmp_path: Path) -> None:
    red = noise(np.uint8, (20, 30))
    red[3, 4] = 0
    rasters = [
        placed(tmp_path / "red.tif", red, 30, nodata=0),
        placed(tmp_path / "thermal.tif", noise(np.int16, (20, 30)), 30),
    ]
    stack = open_stack(rasters)
    assert stack.dtype == np.int16
    np.testing.assert_array_equal(read_whole(stack), np.stack([red, noise(np.int16, (20, 30))], axis=-1))
    assert not stack.valid(whole(stack.shape), [1, 0])[3, 4]
    assert stack.valid(whole(stack.shape), [1]).all()


def test_20_m_bands_are_repeated_exactly_by_nearest_neighbour(tmp_path: Path) -> None:
    fine, coarse = noise(np.uint16, (40, 60, 2)), noise(np.uint16, (20, 30))
    rasters = [placed(tmp_path / "B2.tif", fine, 10), placed(tmp_path / "SCL.tif", coarse, 20)]
    pixels = read_whole(open_stack(rasters, resampling=["bilinear", "bilinear", "nearest"]))
    np.testing.assert_array_equal(pixels[..., :2], fine)
    np.testing.assert_array_equal(pixels[..., 2], coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_10_m_bands_are_averaged_onto_a_20_m_grid(tmp_path: Path) -> None:
    fine, coarse = noise(np.float32, (40, 60)), noise(np.float32, (20, 30))
    rasters = [placed(tmp_path / "B2.tif", fine, 10), placed(tmp_path / "B11.tif", coarse, 20)]
    pixels = read_whole(open_stack(rasters, grid=1, resampling="average"))
    np.testing.assert_allclose(pixels[..., 0], fine.reshape(20, 2, 30, 2).mean(axis=(1, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pixels[..., 1], coarse)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("metres", [20, 5, 13.7])
def test_resampled_pixels_do_not_depend_on_the_window(tmp_path: Path, resampling: str, metres: float) -> None:
    side = int(1000 / metres)
    coarse = noise(np.uint16, (side, side, 2))
    coarse[5:20, 7:11] = 0
    rasters = [
        placed(tmp_path / "B2.tif", noise(np.uint16, (100, 90)), 10),
        placed(tmp_path / "B11.tif", coarse, metres, nodata=0),
    ]
    stack = open_stack(rasters, resampling=resampling)
    extent = whole(stack.shape)
    pixels, valid = read_whole(stack), stack.valid(extent, [0, 1, 2])
    assert valid.any() and not valid.all()
    for window in grid(extent, 33, 27):
        np.testing.assert_array_equal(stack.read(window, [2, 0, 1]), pixels[window.slices][..., [2, 0, 1]])
        np.testing.assert_array_equal(stack.valid(window, [0, 1, 2]), valid[window.slices])


@pytest.mark.parametrize("profile", [{}, {"nodata": 0}])
def test_pixels_that_a_file_does_not_cover_are_invalid(tmp_path: Path, profile: dict[str, Any]) -> None:
    coarse = np.maximum(noise(np.uint16, (10, 30)), 1)
    rasters = [
        placed(tmp_path / "B2.tif", noise(np.uint16, (40, 60)), 10),
        placed(tmp_path / "B11.tif", coarse, 20, **profile),
    ]
    stack = open_stack(rasters)
    assert len(stack.band_names) == 2
    valid = stack.valid(whole(stack.shape), [1])
    assert valid[:20].all() and not valid[20:].any()
    assert stack.valid(whole(stack.shape), [0]).all()


def test_internal_mask_follows_its_raster_to_the_new_grid(tmp_path: Path) -> None:
    mask = np.ones((20, 30), bool)
    mask[4:9, 3:14] = False
    rasters = [
        placed(tmp_path / "B2.tif", noise(np.uint16, (40, 60)), 10),
        placed(tmp_path / "SCL.tif", noise(np.uint8, (20, 30)), 20, mask=mask),
    ]
    stack = open_stack(rasters, resampling="nearest")
    np.testing.assert_array_equal(stack.valid(whole(stack.shape), [1]), mask.repeat(2, axis=0).repeat(2, axis=1))


def test_another_crs_is_reprojected_onto_the_grid(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:80, :90]
    ramp = (20 * rows + 30 * columns + 1000).astype(np.float32)
    here = placed(tmp_path / "here.tif", ramp, 10)
    bounds = (LEFT, TOP - 800, LEFT + 900, TOP)
    transform, width, height = calculate_default_transform("EPSG:32633", "EPSG:32632", 90, 80, *bounds)
    moved = np.zeros((height, width), np.float32)
    source = {"src_transform": from_origin(LEFT, TOP, 10, 10), "src_crs": "EPSG:32633"}
    reproject(ramp, moved, **source, dst_transform=transform, dst_crs="EPSG:32632", resampling=1, dst_nodata=-1)
    there = placed(tmp_path / "there.tif", moved, 10, crs="EPSG:32632", transform=transform, nodata=-1)
    stack = open_stack([here, there])
    pixels, valid = read_whole(stack), stack.valid(whole(stack.shape), [1])
    assert valid[5:-5, 5:-5].all()
    # a ramp survives two linear interpolations but for the curvature of the projections; a pixel off is 20 or 30
    assert np.abs(pixels[5:-5, 5:-5, 0] - pixels[5:-5, 5:-5, 1]).max() < 1


def test_different_shapes_without_georeference_are_refused_naming_both(tmp_path: Path) -> None:
    one = open_raster(write_tiff(tmp_path / "B2.tif", noise(np.uint16, (40, 60))))
    other = open_raster(write_tiff(tmp_path / "B11.tif", noise(np.uint16, (20, 30))))
    expected = r"B11\.tif: is 20x30 pixels where \S*B2\.tif is 40x60 pixels, and without georeference .*; give files"
    with pytest.raises(InputError, match=expected):
        open_stack([one, other])


def test_files_that_cannot_be_placed_on_the_grid_are_refused(tmp_path: Path) -> None:
    here = placed(tmp_path / "here.tif", noise(np.uint16, (40, 60)), 10)
    coarse = noise(np.uint16, (20, 30))
    with pytest.raises(InputError, match=r"far\.tif: does not overlap the image"):
        open_stack([here, placed(tmp_path / "far.tif", coarse, 20, left=LEFT + 9000)])
    with pytest.raises(InputError, match=r"bare\.tif: is 20x30 .*only one of them has a CRS; assign"):
        open_stack([here, placed(tmp_path / "bare.tif", coarse, 20, crs=None)])
    assert here.georeference is not None
    array = ArrayRaster("coarse.npy", coarse, georeference=Georeference(here.georeference.crs, (20, 0, 0, 0, -20, 0)))
    with pytest.raises(InputError, match=r"coarse\.npy: is 20x30 .*; save it as a GeoTIFF"):
        open_stack([here, array])


def test_same_grid_compares_shape_crs_and_place() -> None:
    def at(left: float, shape: tuple[int, int] = (40, 60), epsg: int = 32633) -> ArrayRaster:
        georeference = Georeference(CRS.from_epsg(epsg).to_wkt(), (10, 0, left, 0, -10, TOP))
        return ArrayRaster("a", np.zeros(shape), georeference=georeference)

    assert same_grid(at(LEFT), at(LEFT + 0.05))
    assert not same_grid(at(LEFT), at(LEFT + 5))
    assert not same_grid(at(LEFT), at(LEFT, (60, 40)))
    assert not same_grid(at(LEFT), at(LEFT, epsg=32632))
    assert same_grid(at(LEFT), ArrayRaster("b", np.zeros((40, 60))))


def test_real_landsat_band_and_its_coarse_twin(shared_data: Path, tmp_path: Path) -> None:
    scene = open_raster(shared_data / "landsat7" / "L7_ETMs.tif")
    assert scene.georeference is not None
    a, b, c, d, e, f = scene.georeference.transform
    means = read_whole(scene)[:352, :348].reshape(176, 2, 174, 2, 6).mean(axis=(1, 3)).astype(np.float32)
    transform = from_origin(c, f, 2 * a, -2 * e)
    assert (b, d) == (0, 0)
    coarse = placed(tmp_path / "coarse.tif", means, 57, crs=scene.georeference.crs, transform=transform)
    both = read_whole(open_stack([scene, coarse]))[:, :347]
    for band in range(6):
        assert np.corrcoef(both[..., band].ravel(), both[..., band + 6].ravel())[0, 1] > 0.9
