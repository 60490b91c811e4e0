"""GeoTIFF and others that rasterio opens."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.windows import Window, whole

from .format_checks import FormatChecks, noise, read_whole


def write_tiff(path: Path, pixels: np.ndarray, *, mask: np.ndarray | None = None, **profile: Any) -> Path:
    """A TIFF of (H, W) or (H, W, C) `pixels`."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    height, width, count = pixels.shape
    size = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **{"driver": "GTiff", **size, **profile}) as file,
    ):
        file.write(np.moveaxis(pixels, -1, 0))
        if mask is not None:
            file.write_mask(mask)
    return path


class RasterioChecks(FormatChecks):
    suffix: ClassVar[str] = ".tif"
    profile: ClassVar[dict[str, Any]] = {}

    def write(self, folder: Path) -> Path:
        return write_tiff(folder / f"scene{self.suffix}", self.pixels, **self.profile)


class TestStripedTiff(RasterioChecks):
    pixels = noise(np.int16)
    profile: ClassVar = {"compress": "deflate", "blockysize": 3, "tiled": False}


class TestTiledTiff(RasterioChecks):
    pixels = noise(np.float32)
    profile: ClassVar = {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"}


class TestOneBandTiff(RasterioChecks):
    pixels = noise(np.int8, (44, 53, 1))


class TestDoubleTiff(RasterioChecks):
    pixels = noise(np.float64, (44, 53, 13))
    profile: ClassVar = {"compress": "lzw", "predictor": 3}


class TestJpeg2000(RasterioChecks):
    suffix = ".jp2"
    profile: ClassVar = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}


class TestPalettePng(FormatChecks):
    """A mask with a palette: its indexes are the classes, not its colours."""

    pixels = noise(np.uint8, (44, 53, 1)) % 5
    options: ClassVar = {"indexed": True}

    def write(self, folder: Path) -> Path:
        picture = Image.fromarray(self.pixels[..., 0], mode="P")
        picture.putpalette(noise(np.uint8, (15,)).tolist())
        picture.save(folder / "mask.png")
        return folder / "mask.png"


def test_palette_tiff_is_read_as_indexes(tmp_path: Path) -> None:
    indexes = noise(np.uint8, (20, 30)) % 3
    path = write_tiff(tmp_path / "classes.tif", indexes, photometric="palette", crs="EPSG:32633")
    with warnings.catch_warnings(action="ignore"), rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255)})
    np.testing.assert_array_equal(read_whole(open_raster(path))[..., 0], indexes)


@pytest.mark.parametrize(("nodata", "dtype"), [(-9999, np.int16), (float("nan"), np.float32), (-3.4e38, np.float32)])
def test_nodata_value_makes_pixels_invalid_in_its_band_only(tmp_path: Path, nodata: float, dtype: Any) -> None:
    pixels = noise(dtype, (20, 30, 2))
    pixels[3:5, 4:8, 0] = nodata
    raster = open_raster(write_tiff(tmp_path / "scene.tif", pixels, nodata=nodata))
    expected = np.ones((20, 30), bool)
    expected[3:5, 4:8] = False
    extent = whole(raster.shape)
    np.testing.assert_array_equal(raster.valid(extent, [0]), expected)
    np.testing.assert_array_equal(raster.valid(extent, [1, 0]), expected)
    assert raster.valid(extent, [1]).all()
    np.testing.assert_array_equal(raster.valid(Window(2, 3, 4, 7), [0]), expected[2:6, 3:10])


def test_internal_mask_makes_pixels_invalid_in_every_band(tmp_path: Path) -> None:
    mask = noise(bool, (20, 30))
    raster = open_raster(write_tiff(tmp_path / "scene.tif", noise(np.uint8, (20, 30, 3)), mask=mask))
    assert len(raster.band_names) == 3
    for bands in ([0], [1, 2]):
        np.testing.assert_array_equal(raster.valid(whole(raster.shape), bands), mask)


def test_alpha_band_counts_as_a_band_and_says_where_there_is_data(tmp_path: Path) -> None:
    pixels = noise(np.uint8, (20, 30, 4))
    pixels[..., 3] = np.where(noise(bool, (20, 30)), 255, 0)
    raster = open_raster(write_tiff(tmp_path / "scene.tif", pixels, photometric="RGB", alpha="YES"))
    np.testing.assert_array_equal(read_whole(raster), pixels)
    np.testing.assert_array_equal(raster.valid(whole(raster.shape), [0, 1]), pixels[..., 3] == 255)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "radar.tif", noise(np.float32, (20, 30)).astype(np.complex64))
    with pytest.raises(InputError, match=r"radar\.tif: holds complex numbers; convert it"):
        open_raster(path)


def test_variable_of_a_format_without_variables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scene\.tif: holds no named variables; leave out the variable 'img'"):
        open_raster(write_tiff(tmp_path / "scene.tif", noise(np.uint8, (20, 30))), variable="img")


def test_band_descriptions_and_georeference_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    write_tiff(path, noise(np.uint8, (20, 30, 2)), crs="EPSG:32633", transform=from_origin(5e5, 5e6, 10, 10))
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "nir")
    raster = open_raster(path)
    assert raster.band_names == (None, "nir")
    assert raster.georeference is not None and raster.georeference.crs is not None
    assert "UTM zone 33N" in raster.georeference.crs
    assert raster.georeference.transform == (10, 0, 5e5, 0, -10, 5e6)


def test_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    for seed in (1, 2):
        pixels = noise(np.uint8, (20, 30, 2), seed)
        write_tiff(path, pixels)
        os.utime(path, ns=(seed, seed))  # two files written within a tick of the clock differ in nothing else
        np.testing.assert_array_equal(read_whole(open_raster(path)), pixels)


def test_more_rasters_than_open_files_are_served(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    write_tiff(tmp_path / "0.tif", noise(np.uint8, (20, 30)))
    names = [tmp_path / f"{i}.tif" for i in range(300)]
    for name in names[1:]:
        name.hardlink_to(names[0])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        rasters = [open_raster(name) for name in names]
        sums = {int(read_whole(raster).sum()) for raster in rasters}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(sums) == 1


def test_real_chip_without_crs_is_read_without_a_warning(shared_data: Path) -> None:
    code = (
        "from pathlib import Path; from segapp.scenes.open import open_raster; from segapp.windows import whole\n"
        f"raster = open_raster(Path({str(shared_data / 'water12' / 'images' / '0.tif')!r}))\n"
        "print(raster.read(whole(raster.shape), [1]).shape, raster.georeference)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("(128, 128, 1) None", "")


def test_truncated_file_prints_nothing_beside_its_error(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scene.tif", noise())
    path.write_bytes(path.read_bytes()[:9000])
    code = (
        "from pathlib import Path; from segapp.scenes.open import open_raster; from segapp.windows import whole\n"
        "from segapp.errors import InputError\n"
        f"raster = open_raster(Path({str(path)!r}))\n"
        "try: raster.read(whole(raster.shape), [0])\nexcept InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be read as a raster") and done.stderr == ""


def test_real_scenes_equal_rasterio(shared_data: Path) -> None:
    for name in ("landsat7/L7_ETMs.tif", "rstoolbox/lsat.tif"):
        raster = open_raster(shared_data / name)
        with rasterio.open(shared_data / name) as file:
            np.testing.assert_array_equal(read_whole(raster), np.moveaxis(file.read(), 0, -1))
    assert raster.band_names[5] == "B6_dn"


def test_what_lies_beside_a_file_is_found(tmp_path: Path) -> None:
    pixels, mask = noise(np.uint8, (20, 30)), noise(bool, (20, 30))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(
            tmp_path / "scene.tif", "w", driver="GTiff", height=20, width=30, count=1, dtype="uint8", crs="EPSG:32633"
        ) as file,
    ):
        file.write(pixels, 1)
        file.write_mask(mask)
    (tmp_path / "scene.tfw").write_text("10\n0\n0\n-10\n5\n-5\n")
    (tmp_path / "scene.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Description>nir</Description></PAMRasterBand></PAMDataset>'
    )
    assert (tmp_path / "scene.tif.msk").exists()
    raster = open_raster(tmp_path / "scene.tif")
    np.testing.assert_array_equal(raster.valid(whole(raster.shape), [0]), mask)
    assert raster.band_names == ("nir",)
    assert raster.georeference is not None and raster.georeference.transform == (10, 0, 0, 0, -10, 0)
