"""MAT files of every version."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat, whosmat

from segapp.errors import InputError
from segapp.scenes.mat import list_variables
from segapp.scenes.open import open_raster
from segapp.windows import Window

from .format_checks import FormatChecks, noise, read_whole


def write_mat73(path: Path, classes: dict[str, str] | None = None, **variables: np.ndarray) -> Path:
    """A file as MATLAB writes it with '-v7.3': a block with its name, then HDF5 with the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in variables.items():
            chunks = tuple(min(16, length) for length in array.shape[::-1])
            dataset = file.create_dataset(name, data=array.T, chunks=chunks, compression="gzip")
            names = {"float64": "double", "float32": "single", "bool": "logical"}
            kind = (classes or {}).get(name, names.get(str(array.dtype), str(array.dtype)))
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(text.ljust(124, b" ") + struct.pack("<H2s", 0x0200, b"IM"))
    return path


def write_opaque(path: Path, **variables: np.ndarray) -> Path:
    """A version 5 file that also holds `net`, an object of a class of MATLAB's own, as `save` writes a network."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def matrix(content: bytes) -> bytes:
        return element(14, content)

    savemat(path, variables)
    # an opaque array: flags (class 17), name, type system, class name, and the numbers by which MATLAB finds it
    numbers = matrix(
        element(6, struct.pack("<II", 13, 0))
        + element(5, struct.pack("<ii", 2, 1))
        + element(1, b"")
        + element(6, struct.pack("<II", 1, 2))
    )
    opaque = matrix(
        element(6, struct.pack("<II", 17, 0))
        + element(1, b"net")
        + element(1, b"MCOS")
        + element(1, b"DAGNetwork")
        + numbers
    )
    path.write_bytes(path.read_bytes() + opaque)
    return path


class TestMat5(FormatChecks):
    pixels = noise(np.int16)

    def write(self, folder: Path) -> Path:
        savemat(folder / "scene.mat", {"cube": self.pixels})
        return folder / "scene.mat"


class TestMat7Compressed(FormatChecks):
    """Bands first, as RIT-18's files are, beside a scalar and a text that are no images."""

    pixels = noise(np.float32)

    def write(self, folder: Path) -> Path:
        variables = {"cube": np.moveaxis(self.pixels, -1, 0), "nodata": 0.0, "sensor": "OLI"}
        savemat(folder / "scene.mat", variables, do_compression=True)
        return folder / "scene.mat"


class TestMat4(FormatChecks):
    pixels = noise(np.float64, (44, 53, 1))

    def write(self, folder: Path) -> Path:
        savemat(folder / "scene.mat", {"cube": self.pixels[..., 0]}, format="4")
        return folder / "scene.mat"


class TestMat73(FormatChecks):
    def write(self, folder: Path) -> Path:
        return write_mat73(folder / "scene.mat", cube=self.pixels)


class TestMat73BandsFirst(FormatChecks):
    pixels = noise(np.float64)

    def write(self, folder: Path) -> Path:
        return write_mat73(folder / "scene.mat", cube=np.moveaxis(self.pixels, -1, 0))


class TestMat73Logical(FormatChecks):
    pixels = noise(bool, (44, 53, 1))

    def write(self, folder: Path) -> Path:
        return write_mat73(folder / "mask.mat", {"mask": "logical"}, mask=self.pixels[..., 0].astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (3, 20, 30)])
def test_versions_5_and_73_of_one_variable_read_identically(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    array = noise(dtype, shape)
    savemat(tmp_path / "five.mat", {"a": array})
    write_mat73(tmp_path / "seven.mat", a=array)
    five, seven = open_raster(tmp_path / "five.mat"), open_raster(tmp_path / "seven.mat")
    assert (five.shape, five.dtype, five.band_names) == (seven.shape, seven.dtype, seven.band_names)
    assert five.shape == (20, 30) and five.dtype == dtype
    np.testing.assert_array_equal(read_whole(five), read_whole(seven))


def test_several_variables_are_listed_with_their_shapes(tmp_path: Path) -> None:
    arrays = {"image": noise(np.uint16, (20, 30, 3)), "labels": noise(np.uint8, (20, 30))}
    savemat(tmp_path / "five.mat", {**arrays, "sensor": "OLI"})
    write_mat73(tmp_path / "seven.mat", **arrays)
    for name in ("five.mat", "seven.mat"):
        expected = r": holds several variables; .* 'image' \(20x30x3 uint16\); 'labels' \(20x30 uint8\)$"
        with pytest.raises(InputError, match=expected):
            open_raster(tmp_path / name)
        with pytest.raises(InputError, match=r"has no variable 'img'; usable are: 'image'"):
            open_raster(tmp_path / name, variable="img")
        assert open_raster(tmp_path / name, variable="labels").path == f"{tmp_path / name}:labels"


def test_network_in_a_mat_file_is_refused_listing_what_is_usable(tmp_path: Path) -> None:
    path = write_opaque(tmp_path / "net.mat", image=noise(np.uint16, (20, 30, 3)), labels=noise(np.uint8, (20, 30)))
    with pytest.raises(InputError, match=r"net\.mat.*'net'.* MATLAB object.*'image' \(20x30x3 uint16\); 'labels'"):
        open_raster(path, variable="net")
    with pytest.raises(InputError, match=r"net\.mat: holds several .*'image' \(20x30x3 uint16\); 'labels' \(20x30"):
        open_raster(path)
    np.testing.assert_array_equal(read_whole(open_raster(path, variable="image")), noise(np.uint16, (20, 30, 3)))


def test_damaged_count_of_numbers_is_refused_before_scipy_trusts_it(tmp_path: Path) -> None:
    savemat(tmp_path / "scene.mat", {"image": noise(np.uint16, (20, 30))})
    content = (tmp_path / "scene.mat").read_bytes()
    numbers = content.index(noise(np.uint16, (20, 30)).tobytes(order="F"))
    for damage in (struct.pack("<II", 4, 1198), struct.pack("<II", 77, 1200), struct.pack("<II", 9, 1200)):
        (tmp_path / "scene.mat").write_bytes(content[: numbers - 8] + damage + content[numbers:])
        with pytest.raises(InputError, match=r"scene\.mat: cannot be read as a MAT file .*; save it again"):
            open_raster(tmp_path / "scene.mat")


def test_network_in_a_version_73_file_is_refused(tmp_path: Path) -> None:
    path = write_mat73(tmp_path / "net.mat", {"net": "DAGNetwork"}, net=noise(np.uint32, (6, 2)), image=noise(np.uint8))
    with h5py.File(path, "r+") as file:
        file["net"].attrs["MATLAB_object_decode"] = 3
    with pytest.raises(InputError, match=r"'net' is 6x2 a MATLAB object \(DAGNetwork\), not .*'image' \(44x53x4 uint8"):
        open_raster(path, variable="net")
    np.testing.assert_array_equal(read_whole(open_raster(path)), noise(np.uint8))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["a", "abcd", "a_rather_long_name_of_a_variable"])
def test_headers_are_read_as_scipy_reads_them(tmp_path: Path, name: str, compressed: bool) -> None:
    arrays = {name: noise(np.int64, (3, 4, 5)), "z": noise(bool, (2, 9)), "s": {"f": np.ones((3, 3))}}
    savemat(tmp_path / "five.mat", arrays, do_compression=compressed)
    listed = {n: (v.shape, v.kind) for n, v in list_variables(tmp_path / "five.mat").items()}
    assert listed == {n: (shape, kind) for n, shape, kind in whosmat(tmp_path / "five.mat")}


def test_files_of_many_matlab_versions_read_as_scipy_reads_them_or_are_refused() -> None:
    folder = Path(pytest.importorskip("scipy.io.matlab.tests").__file__).with_name("data")
    compared = 0
    for path in sorted(folder.glob("*_*.mat")):
        for name in _names(path):
            try:
                raster = open_raster(path, variable=name, layout="HWC")
                pixels = read_whole(raster)
            except InputError as error:
                assert str(path) in str(error)
                continue
            expected = loadmat(path)[name] if "hdf5" not in path.name else pixels
            np.testing.assert_array_equal(pixels.squeeze(), expected.squeeze())
            compared += 1
    if compared == 0:
        pytest.skip(f"this SciPy came without its test data in {folder}")


def _names(path: Path) -> list[str]:
    try:
        return [name for name, *_ in whosmat(path)]
    except Exception:  # whatever SciPy raises for damaged files
        return ["anything"]


@pytest.mark.parametrize("value", ["text", {"field": 1.0}, np.array(["a", [1, 2]], dtype=object)])
def test_variable_that_is_no_array_of_numbers_is_refused(tmp_path: Path, value: Any) -> None:
    savemat(tmp_path / "scene.mat", {"thing": value})
    with pytest.raises(InputError, match=r"'thing' is .*(char|struct|cell), not real numbers; usable are: none"):
        open_raster(tmp_path / "scene.mat", variable="thing")
    with pytest.raises(InputError, match=r"holds no numeric array of 2 or 3 axes, but 'thing' .*; name another file"):
        open_raster(tmp_path / "scene.mat")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    array = noise(np.float32, (20, 30)) * 1j
    savemat(tmp_path / "five.mat", {"radar": array})
    with pytest.raises(InputError, match=r"five\.mat: variable 'radar' is 20x30 complex single, not real numbers"):
        open_raster(tmp_path / "five.mat", variable="radar")
    savemat(tmp_path / "four.mat", {"radar": array}, format="4")
    with pytest.raises(InputError, match=r"four\.mat: variable 'radar' is complex; save its real part"):
        read_whole(open_raster(tmp_path / "four.mat"))
    pairs = np.zeros((20, 30), [("real", "f4"), ("imag", "f4")])
    write_mat73(tmp_path / "seven.mat", {"radar": "single"}, radar=pairs)
    with pytest.raises(InputError, match=r"seven\.mat: variable 'radar' is 20x30 complex single, not real numbers"):
        open_raster(tmp_path / "seven.mat", variable="radar")


def test_variable_that_lies_in_another_file_is_refused(tmp_path: Path) -> None:
    write_mat73(tmp_path / "other.mat", secret=noise())
    path = write_mat73(tmp_path / "scene.mat", text=np.zeros(3, np.uint16))
    with h5py.File(path, "r+") as file:
        file["image"] = h5py.ExternalLink("other.mat", "/secret")
    with pytest.raises(InputError, match=r"scene\.mat: has no variable 'image'"):
        open_raster(path, variable="image")


def test_real_hyperspectral_cube_and_labels(shared_data: Path) -> None:
    path = shared_data / "houston" / "houston_dataset.mat"
    expected = loadmat(path)
    cube = open_raster(path, variable="hyprImg")
    assert (cube.shape, len(cube.band_names), cube.dtype) == ((128, 128), 48, np.uint16)
    window = Window(10, 20, 30, 40)
    np.testing.assert_array_equal(cube.read(window, [47, 0]), expected["hyprImg"][10:40, 20:60][..., [47, 0]])
    assert open_raster(path, variable="clasLabs").shape == (512, 512)
