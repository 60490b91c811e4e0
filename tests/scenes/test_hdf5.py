"""Plain HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.windows import Window

from .format_checks import FormatChecks, noise, read_whole


class TestChunkedHdf5(FormatChecks):
    pixels = noise(np.float32)
    options: ClassVar[dict[str, Any]] = {"variable": "/scenes/one"}

    def write(self, folder: Path) -> Path:
        with h5py.File(folder / "scenes.h5", "w") as file:
            file.create_dataset("scenes/one", data=self.pixels, chunks=(16, 16, 2), compression="gzip", shuffle=True)
            file["scenes/two"] = self.pixels[:20]
        return folder / "scenes.h5"


class TestContiguousBandsFirstHdf5(FormatChecks):
    pixels = noise(np.uint16)

    def write(self, folder: Path) -> Path:
        with h5py.File(folder / "scene.he5", "w") as file:
            file["image"] = np.moveaxis(self.pixels, -1, 0).astype(">u2")
        return folder / "scene.he5"


class TestTwoAxesHdf5(FormatChecks):
    pixels = noise(bool, (44, 53, 1))

    def write(self, folder: Path) -> Path:
        with h5py.File(folder / "mask.hdf5", "w") as file:
            file["mask"] = self.pixels[..., 0]
        return folder / "mask.hdf5"


def test_datasets_are_listed_by_path_and_found_with_or_without_the_first_slash(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scenes.h5", "w") as file:
        file["a/image"] = noise()
        file["a/labels"] = noise(np.uint8, (44, 53))
        file["note"] = "text"
    with pytest.raises(
        InputError, match=r"scenes\.h5: holds several.* '/a/image' \(44x53x4 uint16\); '/a/labels' \(44"
    ):
        open_raster(tmp_path / "scenes.h5")
    for name in ("/a/image", "a/image"):
        np.testing.assert_array_equal(read_whole(open_raster(tmp_path / "scenes.h5", variable=name)), noise())
    for wrong in ("/a", "/a/nothing", "/b/c", "/a/image/deeper", "/note/x"):
        with pytest.raises(InputError, match=rf"has no variable '{wrong}'; usable are: '/a/image'"):
            open_raster(tmp_path / "scenes.h5", variable=wrong)


def test_numbers_that_lie_in_another_file_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = noise()
    noise().tofile(tmp_path / "raw.bin")
    layout = h5py.VirtualLayout((44, 53, 4), np.uint16)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "image", (44, 53, 4))
    with h5py.File(tmp_path / "scene.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/image")
        file["group"] = h5py.ExternalLink("other.h5", "/")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (44, 53, 4), np.uint16, external=[("raw.bin", 0, noise().nbytes)])
        file["alias"] = h5py.SoftLink("/virtual")
    for name, problem in [
        ("link", "is a link to other.h5:/image; name that"),
        ("/group/image", "is a link to other.h5:/; name that"),
        ("virtual", "is virtual, its numbers lie elsewhere; copy"),
        ("raw", "is external, its numbers lie elsewhere; copy"),
        ("alias", "is a link to /virtual; name that"),
    ]:
        with pytest.raises(InputError, match=rf"scene\.h5: '{name if 'link' in problem else '/' + name}' {problem}"):
            open_raster(tmp_path / "scene.h5", variable=name)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.ones((20, 30), np.complex64), "20x30 complex64, not real numbers"),
        (np.zeros((20, 30), [("a", "u1"), ("b", "f4")]), r"20x30 \[\('a'.*, not real numbers"),
        (np.full((20, 30), b"text"), r"20x30 \|S4, not real numbers"),
        (np.ones((2, 20, 30, 3)), "2x20x30x3 float64, not 2 or 3 axes"),
        (np.ones((0, 30)), "0x30 float64, not 2 or 3 axes"),
        (np.float32(3), "scalar float32, not 2 or 3 axes"),
    ],
)
def test_dataset_that_is_no_image_is_refused(tmp_path: Path, value: Any, problem: str) -> None:
    with h5py.File(tmp_path / "scene.h5", "w") as file:
        file["thing"] = value
    with pytest.raises(InputError, match=rf"scene\.h5: variable '/thing' is {problem}.*; usable are: none"):
        open_raster(tmp_path / "scene.h5", variable="/thing")


def test_big_dataset_is_read_by_window_only(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "big.h5", "w") as file:  # a terabyte that was never written
        file.create_dataset("image", (400_000, 400_000, 3), np.uint16, chunks=(64, 64, 3), fillvalue=7)
    raster = open_raster(tmp_path / "big.h5")
    assert (raster.read(Window(399_000, 5, 128, 128), [2]) == 7).all()
