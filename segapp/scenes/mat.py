"""MATLAB's MAT files: up to version 7 through SciPy, version 7.3 (which is HDF5) through h5py."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from segapp.errors import InputError
from segapp.scenes.arrays import Layout, Variable, band_axis, choose_variable, decoded, describe
from segapp.scenes.hdf5 import HDF5_ERRORS, Hdf5Raster, own_items, refuse_other_files, require_small_chunks
from segapp.scenes.raster import Raster

_DTYPES: dict[str, np.dtype] = {
    "double": np.dtype("f8"),
    "single": np.dtype("f4"),
    "logical": np.dtype(bool),
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}
"""The classes of MATLAB's arrays of numbers; all others (char, cell, struct, objects, ...) are no images."""

# the array classes of version 5 in the order of their numbers, and its types of elements
_CLASSES = (
    "", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16", "uint16", "int32",
    "uint32", "int64", "uint64", "function", "opaque",
)  # fmt: skip
_COMPRESSED = 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes a number, by its type
_LONGEST_HEADER = 4096

# what SciPy's reader raises for damaged files, which it trusts more than it should
MAT_ERRORS = (
    MatReadError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
    ArithmeticError,
    NotImplementedError,
)


def open_mat(path: Path, variable: str | None, layout: Layout | None) -> Raster:
    """One numeric array of a MAT file, in MATLAB's order of axes; the file's signature gives its version.

    Up to version 7 the array is decoded as a whole at the first read, in version 7.3 it is read by window.
    Raises InputError when the file cannot be read or the variable is no image.
    """
    if h5py.is_hdf5(path):
        return _open_hdf5_based(path, variable, layout)
    try:
        variables = list_variables(path)
    except MAT_ERRORS as error:
        raise InputError(f"{path}: cannot be read as a MAT file ({error}); save it again from MATLAB") from None
    structs = [name for name, found in variables.items() if found.kind == "struct"]
    if structs and (variable is None or variable not in variables):
        for struct_name in structs:
            variables |= {
                name: describe(array.shape, array.dtype) for name, array in _fields(path, struct_name).items()
            }
    name = choose_variable(path, variables, variable)
    return decoded(f"{path}:{name}", variables[name], layout, lambda: _load(path, name))


def list_variables(path: Path) -> dict[str, Variable]:
    """The variables of a file up to version 7, by their headers (MathWorks, "MAT-File Format", 2024).

    SciPy's `whosmat` cannot list a file that holds an object, such as a network or a string.
    """
    with path.open("rb") as file:
        mark = file.read(128)[124:]
        if mark[2:] not in (b"IM", b"MI"):  # version 4 has no header
            return {n: Variable(tuple(shape), _DTYPES.get(kind), _spoken(kind)) for n, shape, kind in whosmat(path)}
        order: Literal["<", ">"] = "<" if mark[2:] == b"IM" else ">"
        if struct.unpack(f"{order}H", mark[:2])[0] != 0x0100:
            raise ValueError("it is version 7.3, but its HDF5 part is cut off")
        size = path.stat().st_size
        variables = {}
        while file.tell() < size:
            kind, length = struct.unpack(f"{order}II", file.read(8))
            end = file.tell() + length
            if end > size:
                raise ValueError("it is cut off")
            header = file.read(min(length, _LONGEST_HEADER))
            if kind == _COMPRESSED:
                header = zlib.decompressobj().decompress(header, _LONGEST_HEADER)[8:]
            name, variable = _read_header(header, order)
            if name:  # what has no name is MATLAB's own
                variables[name] = variable
            file.seek(end)
        return variables


def _read_header(header: bytes, order: Literal["<", ">"]) -> tuple[str, Variable]:
    """Name and kind of the variable whose matrix element begins with `header`; raises ValueError when it is damaged."""
    flags, offset = _content(header, 0, order, _UINT32)
    bits = struct.unpack(f"{order}II", flags)[0]
    kind = _CLASSES[bits & 0xFF]
    if kind == "opaque":
        name, offset = _content(header, offset, order, _INT8)
        _, offset = _content(header, offset, order, _INT8)
        kind = _content(header, offset, order, _INT8)[0].decode("latin1")
        return name.decode("latin1"), Variable((), None, _spoken(kind))
    stored, offset = _content(header, offset, order, _INT32)
    shape = struct.unpack(f"{order}{len(stored) // 4}i", stored)
    name, offset = _content(header, offset, order, _INT8)
    if kind in _DTYPES:  # SciPy takes the numbers' type and count on trust, and crashes where they are wrong
        number, _, length, _ = _element(header, offset, order)
        if min(shape) < 0 or length != math.prod(shape) * _SIZES[number]:
            raise ValueError(f"variable '{name.decode('latin1')}' is damaged")
        kind = "logical" if bits & 0x0200 else kind
        if bits & 0x0800:
            return name.decode("latin1"), Variable(shape, None, f"complex {kind}")
    return name.decode("latin1"), Variable(shape, _DTYPES.get(kind), _spoken(kind))


def _content(data: bytes, offset: int, order: Literal["<", ">"], expected: int) -> tuple[bytes, int]:
    """The content of the data element of type `expected` at `offset`, and where the next begins."""
    kind, start, length, following = _element(data, offset, order)
    if kind != expected or start + length > len(data):
        raise ValueError("the header of a variable is damaged")
    return data[start : start + length], following


def _element(data: bytes, offset: int, order: Literal["<", ">"]) -> tuple[int, int, int, int]:
    """Type, start and length of the content of the data element at `offset`, and where the next begins."""
    kind, length = struct.unpack_from(f"{order}II", data, offset)
    if kind >> 16:  # up to 4 bytes are packed beside their type and length
        return kind & 0xFFFF, offset + 4, kind >> 16, offset + 8
    return kind, offset + 8, length, offset + 8 + -(-length // 8) * 8


def _load(path: Path, name: str) -> np.ndarray:
    try:
        # in the type it is stored in, often a smaller one than its class: the raster casts what it reads
        found = loadmat(path, variable_names=[name])
        array = found[name] if name in found else _fields(path, name.partition(".")[0])[name]
    except MAT_ERRORS as error:
        raise InputError(f"{path}: '{name}' cannot be read ({error}); save it again from MATLAB") from None
    if np.iscomplexobj(array):
        raise InputError(f"{path}: variable '{name}' is complex; save its real part or its magnitude")
    return array


def _fields(path: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of numbers in the fields of a struct, and in those of structs in it, by name: "s.data"."""
    found: dict[str, np.ndarray] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
            value = value.item()
        for field in getattr(value, "_fieldnames", ()):
            add(f"{prefix}.{field}", getattr(value, field))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            found[prefix] = value

    try:
        add(name, loadmat(path, variable_names=[name], struct_as_record=False)[name])
    except MAT_ERRORS as error:
        raise InputError(f"{path}: '{name}' cannot be read ({error}); save it again from MATLAB") from None
    return found


def _open_hdf5_based(path: Path, variable: str | None, layout: Layout | None) -> Raster:
    try:
        with h5py.File(path, "r", locking=False) as file:
            # MATLAB writes its name into a block before the HDF5 part, and a class to each variable
            reverse = file.userblock_size > 0
            variables = {n: _described(i, reverse) for n, i in _with_fields(file) if not n.startswith("#")}
            name = choose_variable(path, variables, variable)
            stored = name if name in file else name.replace(".", "/")
            refuse_other_files(path, file[stored])
            require_small_chunks(path, file[stored])
            reverse = reverse or "MATLAB_class" in file[stored].attrs
    except HDF5_ERRORS as error:
        raise InputError(f"{path}: cannot be read as a MAT file ({error}); save it again from MATLAB") from None
    chosen = variables[name]
    assert chosen.dtype is not None
    axis = band_axis(f"{path}:{name}", chosen.shape, layout)
    return Hdf5Raster(path, stored, chosen.shape, chosen.dtype, axis, reversed_axes=reverse)


def _with_fields(group: h5py.Group, inside: str = "") -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Name and content of each variable, and of each field of a struct, named as MATLAB does: "s.data"."""
    for name, item in own_items(group):
        yield f"{inside}{name}", item
        if isinstance(item, h5py.Group) and not name.startswith("#"):
            yield from _with_fields(item, f"{inside}{name}.")


def _described(item: h5py.Group | h5py.Dataset, reverse: bool) -> Variable:
    """The variable that `item` stores: MATLAB counts axes the other way round, and its class says what it is."""
    kind = item.attrs.get("MATLAB_class")
    shape = item.shape or () if isinstance(item, h5py.Dataset) else ()
    if kind is None and isinstance(item, h5py.Dataset):
        return describe(shape[::-1] if reverse else shape, item.dtype)
    kind = kind.decode() if isinstance(kind, bytes) else str(kind or "struct")
    # complex numbers are stored as pairs, objects as the numbers by which MATLAB finds them
    real = isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and "MATLAB_object_decode" not in item.attrs
    pairs = isinstance(item, h5py.Dataset) and kind in _DTYPES and item.dtype.names is not None
    return Variable(shape[::-1], _DTYPES.get(kind) if real else None, f"complex {kind}" if pairs else _spoken(kind))


def _spoken(kind: str) -> str:
    """What a user knows MATLAB's class `kind` as."""
    return (
        f"a MATLAB object ({kind})" if kind not in (*_DTYPES, "char", "cell", "struct", "sparse", "function") else kind
    )
