"""Rasters in memory, and how many decoded files are kept there."""

from __future__ import annotations

import gc
from pathlib import Path

import h5py
import numpy as np
import pytest

from segapp.errors import InputError
from segapp.scenes import memory
from segapp.scenes.memory import ArrayRaster, DecodedPixels, DecodedRaster
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference
from segapp.windows import Window, whole

from .format_checks import noise, read_whole


def test_array_of_two_axes_is_one_band_and_names_and_georeference_are_kept() -> None:
    georeference = Georeference(None, (10.0, 0.0, 5e5, 0.0, -10.0, 5e6))
    raster = ArrayRaster("labels", noise(np.uint8, (20, 30)), ["classes"], georeference)
    assert (raster.shape, raster.dtype, raster.band_names) == ((20, 30), np.uint8, ("classes",))
    assert raster.georeference is georeference
    np.testing.assert_array_equal(read_whole(raster)[..., 0], noise(np.uint8, (20, 30)))


@pytest.mark.parametrize("nodata", [-1.0, float("nan")])
def test_nodata_makes_pixels_invalid_in_its_band_only(nodata: float) -> None:
    pixels = noise(np.float32, (20, 30, 2))
    pixels[4, 5, 1] = nodata
    raster = ArrayRaster("scene", pixels, nodata=nodata)
    extent = whole(raster.shape)
    assert np.argwhere(~raster.valid(extent, [0, 1])).tolist() == [[4, 5]]
    assert raster.valid(extent, [0]).all()


def test_wrong_number_of_axes_or_names_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="2 or 3 axes, not 4"):
        ArrayRaster("scene", np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match="1 band names for 4 bands"):
        ArrayRaster("scene", noise(), ["red"])


def decoded(name: str, decodings: list[str]) -> DecodedRaster:
    def decode() -> np.ndarray:
        decodings.append(name)
        return noise()

    return DecodedRaster(name, noise().shape, noise().dtype, decode)


def test_decoding_waits_for_the_first_read_and_happens_once() -> None:
    decodings: list[str] = []
    raster = decoded("scene", decodings)
    assert raster.valid(whole(raster.shape), [0]).all() and decodings == []
    for row in range(5):
        raster.read(Window(row, 0, 3, 3), [0])
    assert decodings == ["scene"]


def test_least_recently_read_pixels_are_dropped_and_the_newest_always_kept() -> None:
    kept = DecodedPixels(limit=250)
    one, two, three, huge = (decoded(name, []) for name in ("one", "two", "three", "huge"))
    kept.put(one, np.zeros(100, np.uint8))
    kept.put(two, np.zeros(100, np.uint8))
    assert kept.get(one) is not None
    kept.put(three, np.zeros(100, np.uint8))
    assert kept.get(two) is None and kept.get(one) is not None and kept.get(three) is not None
    kept.put(huge, np.zeros(1000, np.uint8))
    assert kept.get(one) is None and kept.get(three) is None and kept.get(huge) is not None


def test_pixels_of_a_raster_no_longer_used_are_dropped() -> None:
    kept = DecodedPixels(limit=250)
    owner = decoded("scene", [])
    kept.put(owner, np.zeros(200, np.uint8))
    del owner
    gc.collect()
    one, two = decoded("one", []), decoded("two", [])
    kept.put(one, np.zeros(125, np.uint8))
    kept.put(two, np.zeros(125, np.uint8))
    assert kept.get(one) is not None


@pytest.mark.parametrize("kind", ["npz", "h5", "mat"])
def test_a_few_bytes_that_would_fill_the_memory_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LARGEST_OF_A_FEW", 1 << 20)
    pixels = noise(np.uint8, (1500, 1500))
    for name, array in (("bomb", np.zeros_like(pixels)), ("image", pixels)):
        file = tmp_path / f"{name}.{kind}"
        if kind == "npz":
            np.savez_compressed(file, image=array)
        else:
            with h5py.File(file, "w") as opened:
                opened.create_dataset("image", data=array, chunks=array.shape, compression="gzip")
    with pytest.raises(InputError, match=rf"bomb\.{kind}:/?image: [\d,]+ bytes of the file would take 2 MiB of memory"):
        open_raster(tmp_path / f"bomb.{kind}")
    np.testing.assert_array_equal(read_whole(open_raster(tmp_path / f"image.{kind}"))[..., 0], pixels)
