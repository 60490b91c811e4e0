"""PNG and JPEG pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from skimage import io

from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.windows import whole

from .format_checks import FormatChecks, noise, read_whole
from .test_geotiff import write_tiff


class PictureChecks(FormatChecks):
    def write(self, folder: Path) -> Path:
        io.imsave(folder / "picture.png", np.squeeze(self.pixels), check_contrast=False)
        return folder / "picture.png"


class TestColourPng(PictureChecks):
    pixels = noise(np.uint8, (44, 53, 3))


class TestGreyPng(PictureChecks):
    pixels = noise(np.uint8, (44, 53, 1))


class TestDeepGreyPng(PictureChecks):
    pixels = noise(np.uint16, (44, 53, 1))


class TestGreyPngAsMask(PictureChecks):
    pixels = noise(np.uint8, (44, 53, 1))
    options: ClassVar[dict[str, Any]] = {"indexed": True}


class TestDeepColourPng(FormatChecks):
    """16 bits a colour, which Pillow alone would cut down to 8."""

    pixels = noise(np.uint16, (44, 53, 3))

    def write(self, folder: Path) -> Path:
        return write_tiff(folder / "picture.png", self.pixels, driver="PNG")


class TestJpeg(FormatChecks):
    """A JPEG holds no exact pixels: what counts is what its decoder makes of it."""

    pixels: ClassVar[np.ndarray]

    def write(self, folder: Path) -> Path:
        io.imsave(folder / "picture.jpg", noise(np.uint8, (44, 53, 3)), check_contrast=False)
        type(self).pixels = io.imread(folder / "picture.jpg")
        return folder / "picture.jpg"


def test_palette_png_is_read_as_colours_or_as_indexes(tmp_path: Path) -> None:
    indexes = noise(np.uint8, (20, 30)) % 3
    colours = np.array([[255, 0, 0], [0, 255, 0], [9, 9, 200]], np.uint8)
    picture = Image.fromarray(indexes, mode="P")
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_whole(open_raster(tmp_path / "mask.png")), colours[indexes])
    np.testing.assert_array_equal(read_whole(open_raster(tmp_path / "mask.png", indexed=True))[..., 0], indexes)


def test_transparent_pixels_are_invalid(tmp_path: Path) -> None:
    pixels = noise(np.uint8, (20, 30, 4))
    pixels[..., 3] = np.where(noise(bool, (20, 30)), 200, 0)
    io.imsave(tmp_path / "picture.png", pixels, check_contrast=False)
    raster = open_raster(tmp_path / "picture.png")
    np.testing.assert_array_equal(read_whole(raster), pixels)
    np.testing.assert_array_equal(raster.valid(whole(raster.shape), [0]), pixels[..., 3] > 0)


def test_variable_of_a_picture_is_refused(tmp_path: Path) -> None:
    io.imsave(tmp_path / "picture.png", noise(np.uint8, (20, 30)), check_contrast=False)
    with pytest.raises(InputError, match="leave out the variable 'img'"):
        open_raster(tmp_path / "picture.png", variable="img")


def test_real_micrograph(shared_data: Path) -> None:
    path = shared_data / "membrane" / "images" / "0.png"
    np.testing.assert_array_equal(read_whole(open_raster(path))[..., 0], io.imread(path))
