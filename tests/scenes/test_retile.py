"""GeoTIFFs that are slow to read by window are read from a copy in tiles that says the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pytest
import rasterio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from segapp.errors import InputError
from segapp.scenes import retile
from segapp.scenes.open import open_raster
from segapp.scenes.retile import quick_to_read, slow_to_read
from segapp.windows import Window, whole

from .format_checks import noise, read_whole
from .test_geotiff import write_tiff

TILE = 64
PIXELS = noise(np.uint16, (300, 700, 3))


@pytest.fixture
def small_cache() -> Iterator[None]:
    """As if GDAL's cache held a tenth of `PIXELS`, so that these are a large image."""
    with mock.patch.multiple(retile, CACHE_BYTES=1 << 17, _HELD_BYTES=1 << 16):
        yield


@contextmanager
def always_copied() -> Iterator[None]:
    """Every file counts as slow, and is copied in many chunks."""
    with mock.patch.multiple(retile, slow_to_read=lambda *_: True, _HELD_BYTES=1 << 14, _CHUNK_BYTES=1):
        yield


def striped(folder: Path, pixels: np.ndarray = PIXELS, **profile: Any) -> Path:
    return write_tiff(folder / "scene.tif", pixels, **{"tiled": False, **profile})


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize(
    ("profile", "slow"),
    [
        ({"compress": "deflate"}, True),
        ({"compress": "lzw", "interleave": "band"}, True),
        ({"compress": "deflate", "blockysize": 16}, True),
        ({"compress": "deflate", "blockysize": 300}, True),
        ({"blockysize": 300, "interleave": "band"}, True),  # decoded or not, each window fetches the whole image
        ({}, False),
        ({"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64}, False),
    ],
)
def test_what_decodes_a_multiple_of_what_is_asked_for_is_slow(
    tmp_path: Path, profile: dict[str, Any], slow: bool
) -> None:
    assert slow_to_read(striped(tmp_path, **profile), TILE) == slow


@pytest.mark.usefixtures("small_cache")
def test_windows_that_share_their_strips_through_the_cache_or_span_them_are_quick(tmp_path: Path) -> None:
    file = striped(tmp_path, compress="deflate")
    assert [slow_to_read(file, tile) for tile in (8, TILE, 700)] == [False, True, False]


def test_an_image_that_fits_the_cache_is_quick(tmp_path: Path) -> None:
    assert not slow_to_read(striped(tmp_path, compress="deflate", blockysize=300), TILE)


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize("name", ["scene.npy", "scene.mat", "scene.png", "missing.tif"])
def test_other_formats_and_missing_files_are_left_to_those_who_open_them(tmp_path: Path, name: str) -> None:
    if name != "missing.tif":
        (tmp_path / name).write_bytes(b"anything else")
    with quick_to_read(tmp_path / name, TILE, tmp_path) as file:
        assert file == tmp_path / name


@pytest.mark.usefixtures("small_cache")
def test_the_copy_is_tiled_and_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    file = striped(tmp_path, compress="deflate")
    with quick_to_read(file, TILE, tmp_path / "work") as copy:
        assert copy != file and copy.name == file.name and not slow_to_read(copy, TILE)
        np.testing.assert_array_equal(read_whole(open_raster(copy)), PIXELS)
        assert str(copy) in {opened.path for opened in psutil.Process().open_files()}
    assert list((tmp_path / "work").iterdir()) == []
    # a deleted file that is open still takes its space
    assert not any(copy.name in opened.path and "work" in opened.path for opened in psutil.Process().open_files())


@pytest.mark.usefixtures("small_cache")
def test_what_a_killed_process_left_of_the_same_file_goes(tmp_path: Path) -> None:
    file = striped(tmp_path, compress="deflate")
    with quick_to_read(file, TILE, tmp_path) as copy:
        left = tmp_path / f"{copy.parent.name}-of-a-killed-process"
        shutil.copytree(copy.parent, left)
    with quick_to_read(file, TILE, tmp_path):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("elsewhere")])
def test_the_copy_is_gone_after_an_error(tmp_path: Path, error: Any) -> None:
    (tmp_path / "work").mkdir()
    with (
        pytest.raises(error if isinstance(error, type) else type(error)),
        quick_to_read(striped(tmp_path, compress="deflate"), TILE, tmp_path / "work") as copy,
    ):
        open_raster(copy).read(Window(0, 0, 9, 9), [0])
        raise error
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.usefixtures("small_cache")
def test_an_interrupted_copy_is_gone(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    file = striped(tmp_path, compress="deflate")
    with (
        mock.patch.object(retile.RasterioRaster, "read", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
        quick_to_read(file, TILE, tmp_path / "work"),
    ):
        pass
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.usefixtures("small_cache")
def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "work").mkdir()
    file = striped(tmp_path, compress="deflate")
    usage = mock.Mock(free=1000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with mock.patch.object(retile.shutil, "disk_usage", return_value=usage), pytest.raises(InputError) as told:
        quick_to_read(file, TILE, tmp_path / "work").__enter__()
    assert str(told.value).startswith(f"{tmp_path / 'work'}: cannot hold a temporary copy of {file}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"work: cannot hold .* \(File too large\); free some space"):
            quick_to_read(file, TILE, tmp_path / "work").__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(InputError, match="nowhere: cannot hold a temporary copy"):
        quick_to_read(file, TILE, tmp_path / "nowhere").__enter__()
    assert list((tmp_path / "work").iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("small_cache")
def test_a_truncated_file_is_blamed_itself(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    file = striped(tmp_path, compress="deflate")
    file.write_bytes(file.read_bytes()[:500_000])
    with pytest.raises(InputError, match=r"scene\.tif: cannot be read as a raster"):
        quick_to_read(file, TILE, tmp_path / "work").__enter__()
    assert list((tmp_path / "work").iterdir()) == []


PROFILES = st.fixed_dictionaries(
    {
        "compress": st.sampled_from([None, "deflate", "lzw"]),
        "interleave": st.sampled_from(["pixel", "band"]),
        "blockysize": st.integers(1, 220),
        "nodata": st.sampled_from([None, 0, 7]),
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("uint8", (16, 27, 4), {"compress": None, "interleave": "pixel", "blockysize": 1, "nodata": None}, "mask")
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"]),
    st.tuples(st.integers(1, 200), st.integers(1, 90), st.integers(1, 5)),
    PROFILES,
    st.sampled_from(["nothing", "mask", "alpha"]),
)
def test_the_copy_says_what_the_file_says(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], profile: dict[str, Any], validity: str
) -> None:
    pixels = noise(dtype, shape)
    pixels[noise(bool, shape, 1)] = 7
    alpha = validity == "alpha" and shape[2] in (2, 4) and dtype.startswith("uint")
    if alpha:
        pixels[..., -1] = np.where(noise(bool, shape[:2]), np.iinfo(dtype).max, 0)
        profile |= {"alpha": "YES", "photometric": {2: "minisblack", 4: "rgb"}[shape[2]], "nodata": None}
    mask = noise(bool, shape[:2], 2) if validity == "mask" else None
    transform = from_origin(5e5, 5e6, 10, 10)
    file = striped(tmp_path, pixels, mask=mask, crs="EPSG:32633", transform=transform, **profile)
    with rasterio.open(file, "r+") as opened:
        opened.set_band_description(shape[2], "nir")
    original = open_raster(file)
    extent, bands = whole(original.shape), range(shape[2])
    with always_copied(), quick_to_read(file, TILE, tmp_path) as path:
        copy = open_raster(path)
        np.testing.assert_array_equal(read_whole(copy), pixels)
        assert (copy.dtype, copy.shape, copy.band_names) == (original.dtype, original.shape, original.band_names)
        assert copy.georeference == original.georeference
        for chosen in ([0], bands):
            np.testing.assert_array_equal(copy.valid(extent, chosen), original.valid(extent, chosen))
        if alpha:  # a mask, unless its band is read as data
            np.testing.assert_array_equal(copy.valid(extent, bands[:-1]), pixels[..., -1] != 0)


def test_four_bands_of_bytes_are_not_taken_for_alpha(tmp_path: Path) -> None:
    pixels = noise(np.uint8, (30, 40, 4)) * noise(bool, (30, 40, 1))
    file = striped(tmp_path, pixels, photometric="minisblack")
    with always_copied(), quick_to_read(file, TILE, tmp_path) as copy:
        assert open_raster(copy).valid(Window(0, 0, 30, 40), range(4)).all()


@pytest.mark.parametrize("name", ["landsat7/L7_ETMs.tif", "rstoolbox/lsat.tif"])
def test_copies_of_real_scenes_lie_where_the_scenes_lie(shared_data: Path, tmp_path: Path, name: str) -> None:
    original = open_raster(shared_data / name)
    with always_copied(), quick_to_read(shared_data / name, TILE, tmp_path) as path:
        copy = open_raster(path)
        assert copy.georeference == original.georeference and copy.band_names == original.band_names
        np.testing.assert_array_equal(read_whole(copy), read_whole(original))


@pytest.mark.parametrize(
    "crs", [None, "EPSG:3035", "+proj=laea +lat_0=10 +lon_0=20 +ellps=sphere", 'LOCAL_CS["site",UNIT["metre",1]]']
)
def test_unusual_georeferences_are_kept(tmp_path: Path, crs: str | None) -> None:
    transform = rasterio.Affine(3, 1, 100, -1, 3, 200)  # turned, and north is down
    file = striped(tmp_path, PIXELS[:20, :30], crs=crs, transform=transform)
    if crs is not None:  # GDAL makes up a CRS for the tag alone
        with rasterio.open(file, "r+") as opened:
            opened.update_tags(AREA_OR_POINT="Point")
    expected = open_raster(file).georeference
    assert expected is not None
    with always_copied(), quick_to_read(file, TILE, tmp_path) as copy:
        assert open_raster(copy).georeference == expected


def test_a_file_without_georeference_stays_without(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    file = striped(tmp_path, PIXELS[:20, :30])
    with always_copied(), quick_to_read(file, TILE, tmp_path) as copy:
        assert open_raster(copy).georeference is None
    assert not recwarn.list


@pytest.mark.usefixtures("small_cache")
def test_two_copies_of_one_file_do_not_touch_each_other(tmp_path: Path) -> None:
    file = striped(tmp_path, compress="deflate")
    with quick_to_read(file, TILE, tmp_path) as one, quick_to_read(file, TILE, tmp_path) as other:
        assert one != other and one.exists() and other.exists()
        np.testing.assert_array_equal(read_whole(open_raster(one)), read_whole(open_raster(other)))
    assert list(tmp_path.iterdir()) == [file]
