"""Plain arrays as rasters: which variable, which axis holds the bands; NPY and NPZ files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Literal, get_args

import numpy as np

from segapp.errors import InputError
from segapp.scenes.memory import ArrayRaster, DecodedRaster, require_no_bomb
from segapp.scenes.raster import Raster
from segapp.windows import Window

Layout = Literal["HWC", "CHW", "HCW"]
"""The order of axes: rows (H), columns (W) and bands (C)."""
_LAYOUTS = '"HWC", "CHW" or "HCW"'
_FEW_BANDS, _MOST_BANDS = 16, 500  # of most sensors, and of any

# what NumPy raises for damaged files: the header of an array is a line of Python, which it takes apart
_NPY_ERRORS = (ValueError, TypeError, OSError, EOFError, SyntaxError, TokenError, OverflowError)
_NPZ_ERRORS = (*_NPY_ERRORS, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Variable:
    """An array in a file, before its numbers are read: `kind` is how messages call its type."""

    shape: tuple[int, ...]
    dtype: np.dtype | None
    """None for what is no array of real numbers."""
    kind: str

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape)) or 'scalar'} {self.kind}"


def describe(shape: tuple[int, ...], dtype: np.dtype) -> Variable:
    """The `Variable` of a NumPy array of `shape` and `dtype`."""
    kind = "objects" if dtype.kind == "O" else str(dtype)
    return Variable(shape, dtype if dtype.kind in "biuf" else None, kind)


def choose_variable(path: Path, variables: Mapping[str, Variable], wanted: str | None) -> str:
    """The name of the variable to read: `wanted`, or the only one that can be an image.

    An image is an array of real numbers with 2 or 3 axes, at least 2 of them longer than 1.
    Raises InputError, listing what there is to choose from, when that leaves none or several.
    """
    images = {name: v for name, v in variables.items() if v.dtype is not None and _image_like(v.shape)}
    listed = "; ".join(f"'{name}' ({v})" for name, v in images.items()) or "none"
    if wanted is None:
        if len(images) == 1:
            return next(iter(images))
        if images:
            raise InputError(f"{path}: holds several variables; state which to read, usable are: {listed}")
        held = "; ".join(f"'{name}' ({v})" for name, v in variables.items()) or "nothing"
        raise InputError(f"{path}: holds no numeric array of 2 or 3 axes, but {held}; name another file")
    if wanted not in variables:
        raise InputError(f"{path}: has no variable '{wanted}'; usable are: {listed}")
    found = variables[wanted]
    if found.dtype is None:
        raise InputError(f"{path}: variable '{wanted}' is {found}, not real numbers; usable are: {listed}")
    if len(found.shape) not in (2, 3) or 0 in found.shape:
        raise InputError(f"{path}: variable '{wanted}' is {found}, not 2 or 3 axes of pixels; usable are: {listed}")
    return wanted


def band_axis(path: str, shape: tuple[int, ...], layout: Layout | None) -> int | None:
    """The axis of the bands in an array of 3 axes, of which the first other one is the rows; None where it has 2 axes.

    Unless `layout` states it, it is the first or the last, whichever is at most half as long as both others. More than
    a few bands are taken only if the opposite axis cannot be bands, too. Raises InputError where that leaves it open.
    """
    if layout not in (None, *get_args(Layout)):
        raise InputError(f'{path}: layout is {_LAYOUTS}, not "{layout}"; change it')
    if len(shape) == 2:
        return None
    if layout is not None:
        return layout.index("C")
    first, middle, last = shape
    for axis, bands, opposite in ((0, first, last), (2, last, first)):
        few = bands <= _FEW_BANDS or opposite > _MOST_BANDS or opposite == middle  # images are often square
        if 2 * bands <= min(middle, opposite) and few:
            return axis
    raise InputError(
        f"{path}: which axis of {first}x{middle}x{last} holds the bands is unclear; set layout = {_LAYOUTS} (C: bands) "
        "under [image] of a dataset.toml"
    )


def open_npy(path: Path, variable: str | None, layout: Layout | None) -> Raster:
    """A NumPy .npy file of 2 or 3 axes, memory-mapped. Raises InputError when it cannot be read as an image."""
    if variable is not None:
        raise InputError(f"{path}: holds no named variables; leave out the variable '{variable}'")
    return _NpyRaster(path, layout)


class _NpyRaster(Raster):
    """A .npy file, mapped anew for each read: a mapping holds a file open, and there may be thousands."""

    def __init__(self, path: Path, layout: Layout | None) -> None:
        self.path = str(path)
        self._file = path
        array = self._map()
        found = describe(array.shape, array.dtype)
        if found.dtype is None or array.ndim not in (2, 3) or array.size == 0:
            raise InputError(f"{path}: holds {found}, not real numbers of 2 or 3 axes; save it as such")
        self._band_axis = band_axis(self.path, array.shape, layout)
        view = self._view()
        self.shape = view.shape
        self.dtype = view.dtype
        self.band_names = view.band_names

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        return self._view().read(window, bands)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        return self._view().valid(window, bands)

    def _view(self) -> ArrayRaster:
        array = self._map()
        return ArrayRaster(self.path, _bands_last(array, self._band_axis))

    def _map(self) -> np.ndarray:
        try:
            return np.lib.format.open_memmap(self._file, mode="r")
        except _NPY_ERRORS as error:
            reason = "it holds pickled objects" if "Python objects" in str(error) else error
            raise InputError(f"{self.path}: cannot be read as NPY ({reason}); save real numbers again") from None


def open_npz(path: Path, variable: str | None, layout: Layout | None) -> Raster:
    """One array of a NumPy .npz file, decoded as a whole at the first read. Pickled objects are refused.

    Raises InputError when the file cannot be read or the array is no image.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            variables = {name.removesuffix(".npy"): _npz_member(archive, name) for name in archive.namelist()}
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
    except _NPZ_ERRORS as error:
        raise InputError(f"{path}: cannot be read as NPZ ({error}); write or copy it again") from None
    name = choose_variable(path, variables, variable)
    require_no_bomb(f"{path}:{name}", members[name].file_size, members[name].compress_size)
    return decoded(f"{path}:{name}", variables[name], layout, lambda: _load_npz(path, name))


def decoded(path: str, variable: Variable, layout: Layout | None, load: Callable[[], np.ndarray]) -> DecodedRaster:
    """The raster of `variable`, which `load` reads as a whole in the order of axes of its file."""
    assert variable.dtype is not None
    axis, shape = band_axis(path, variable.shape, layout), variable.shape
    if axis is not None:
        shape = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return DecodedRaster(path, shape, variable.dtype, lambda: _bands_last(load(), axis))


def _bands_last(array: np.ndarray, axis: int | None) -> np.ndarray:
    return array if axis is None else np.moveaxis(array, axis, -1)


def _npz_member(archive: zipfile.ZipFile, name: str) -> Variable:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            return Variable((), None, f"NPY of version {version[0]}.{version[1]}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        return describe(shape, dtype)


def _load_npz(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except _NPZ_ERRORS as error:
        raise InputError(f"{path}: '{name}' cannot be read ({error}); write or copy it again") from None


def _image_like(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and 0 not in shape and sum(length > 1 for length in shape) >= 2
