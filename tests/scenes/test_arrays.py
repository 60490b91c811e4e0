"""NPY and NPZ files, and the rule that tells bands first from bands last."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.errors import InputError
from segapp.scenes.arrays import Layout, band_axis
from segapp.scenes.open import open_raster

from .format_checks import FormatChecks, noise, read_whole


class TestNpy(FormatChecks):
    pixels = noise(np.float64)

    def write(self, folder: Path) -> Path:
        np.save(folder / "scene.npy", self.pixels)
        return folder / "scene.npy"


class TestBandsFirstBigEndianNpy(FormatChecks):
    pixels = noise(np.int32)

    def write(self, folder: Path) -> Path:
        np.save(folder / "scene.npy", np.moveaxis(self.pixels, -1, 0).astype(">i4"))
        return folder / "scene.npy"


class TestStatedLayoutNpy(FormatChecks):
    """As many bands as columns: only the statement tells."""

    pixels = noise(np.uint8, (44, 53, 44))
    options: ClassVar[dict[str, Any]] = {"layout": "CHW"}

    def write(self, folder: Path) -> Path:
        np.save(folder / "scene.npy", np.asfortranarray(np.moveaxis(self.pixels, -1, 0)))
        return folder / "scene.npy"


class TestNpz(FormatChecks):
    pixels = noise(np.float16)
    options: ClassVar[dict[str, Any]] = {"variable": "img"}

    def write(self, folder: Path) -> Path:
        np.savez(folder / "scene.npz", img=self.pixels, msk=self.pixels[..., 0])
        return folder / "scene.npz"


class TestCompressedNpz(FormatChecks):
    pixels = noise(np.uint64, (44, 53, 1))

    def write(self, folder: Path) -> Path:
        np.savez_compressed(folder / "scene.npz", labels=self.pixels[..., 0], wavelengths=np.arange(6.0))
        return folder / "scene.npz"


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((7, 9393, 5642), 0), ((128, 128, 48), 2), ((512, 512, 1), 2), ((1, 512, 300), 0), ((12, 9), None),
        ((610, 340, 103), 2), ((200, 1200, 900), 0), ((48, 512, 512), 0),
    ],
)  # fmt: skip
def test_the_band_axis_follows_from_the_shape(shape: tuple[int, ...], axis: int | None) -> None:
    assert band_axis("scene.mat", shape, None) == axis


@pytest.mark.parametrize(
    "shape",
    [
        (48, 128, 64), (6, 256, 6), (256, 6, 256), (4, 4, 4), (145, 145, 200),
        (20, 300, 200), (200, 300, 20), (100, 66, 100), (150, 66, 400),  # strips, and lines x bands x samples
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["HWC", "CHW", "HCW"])
def test_a_shape_that_leaves_it_open_is_refused_until_the_layout_is_stated(
    tmp_path: Path, shape: tuple[int, int, int], layout: Layout
) -> None:
    expected = rf"s\.npy: which axis of {'x'.join(map(str, shape))} holds the bands .*; set layout = \"HWC\""
    np.save(tmp_path / "s.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=expected):
        open_raster(tmp_path / "s.npy")
    raster = open_raster(tmp_path / "s.npy", layout=layout)
    found = {"H": raster.shape[0], "W": raster.shape[1], "C": len(raster.band_names)}
    assert tuple(found[axis] for axis in layout) == shape


@given(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)))
def test_the_band_axis_of_a_mirrored_shape_is_the_mirrored_axis(shape: tuple[int, int, int]) -> None:
    def found(axes: tuple[int, ...]) -> int | None:
        try:
            return band_axis("", axes, None)
        except InputError:
            return None

    assert found(shape) == {0: 2, 2: 0, None: None}[found(shape[::-1])]


def test_wrong_layout_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", noise())
    layout: Layout = "WHC"  # type: ignore[assignment]
    with pytest.raises(InputError, match=r'scene\.npy: layout is "HWC", "CHW" or "HCW", not "WHC"; change it'):
        open_raster(tmp_path / "scene.npy", layout=layout)


def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    trap = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "trap.npy", trap)
    np.savez(tmp_path / "trap.npz", img=trap)
    with pytest.raises(InputError, match=r"trap\.npy: .*pickled objects.*; save real numbers again"):
        open_raster(tmp_path / "trap.npy")
    with pytest.raises(InputError, match=r"trap\.npz: variable 'img' is 1x1 objects, not real numbers"):
        open_raster(tmp_path / "trap.npz", variable="img")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("array", [np.ones((20, 30), complex), np.ones(5), np.ones((2, 3, 4, 5)), np.ones((0, 4))])
def test_array_that_is_no_image_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", a=array)
    with pytest.raises(InputError, match=r"a\.npy: holds .*, not real numbers of 2 or 3 axes; save it as such"):
        open_raster(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npz: variable 'a' is .*; usable are: none"):
        open_raster(tmp_path / "a.npz", variable="a")


def test_variable_of_an_npy_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", noise())
    with pytest.raises(InputError, match="holds no named variables; leave out the variable 'img'"):
        open_raster(tmp_path / "scene.npy", variable="img")


def test_real_scene_and_labels(shared_data: Path) -> None:
    path = shared_data / "ukis" / "landsat7.npz"
    with np.load(path) as expected:
        for name in ("img", "msk"):
            np.testing.assert_array_equal(read_whole(open_raster(path, variable=name)), expected[name])
    with pytest.raises(InputError, match=r"usable are: 'img' \(512x512x6 float32\); 'msk' \(512x512x1 uint8\)"):
        open_raster(path)
