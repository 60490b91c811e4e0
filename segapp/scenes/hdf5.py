"""HDF5 datasets read by window through h5py."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segapp.bands import in_nanometres
from segapp.errors import InputError
from segapp.scenes.arrays import Layout, Variable, band_axis, choose_variable, describe
from segapp.scenes.memory import require_inside, require_no_bomb, take_bands
from segapp.scenes.raster import Raster, Scaling, known_unit
from segapp.windows import Window

_INTERLEAVES: dict[str, Layout] = {"bsq": "CHW", "bip": "HWC", "bil": "HCW"}
_LAYOUT_BY_AXIS: tuple[Layout, ...] = ("CHW", "HCW", "HWC")
_BAND_AXIS = re.compile(r"n?_?(bands?|channels?|wavelengths?|wl|spectral\w*|lambda)", re.IGNORECASE)
_WAVELENGTHS = re.compile(r"(center_|centre_)?wavelengths?(_nm)?", re.IGNORECASE)

# What h5py raises for damaged files and missing filters, and for types that NumPy has no name for.
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


def open_hdf5(path: Path, variable: str | None, layout: Layout | None) -> Raster:
    """The HDF5 dataset at `variable` ("/a/b"), or the only one that can be an image.

    Raises InputError when the file cannot be read, the dataset is no image, or its numbers lie in another file.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            name = choose_variable(path, _variables(file, variable), variable)
            found = file[name]
            refuse_other_files(path, found)
            require_small_chunks(path, found)
            axis = band_axis(f"{path}:{name}", found.shape, layout or _stated_layout(found))
            raster = Hdf5Raster(path, name, found.shape, found.dtype, axis)
            raster.take_attributes(found.attrs)
            raster.wavelengths_nm = _wavelengths(found, len(raster.band_names), axis)
            return raster
    except HDF5_ERRORS as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); write or copy it again") from None


class Hdf5Raster(Raster):
    """One dataset, read by window. The file is opened for each read: there may be thousands of them.

    `shape` and `band_axis` are those of the array as the user sees it, which with `reversed_axes` are the dataset's
    axes in reverse, as MATLAB stores them.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        band_axis: int | None,
        reversed_axes: bool = False,
    ) -> None:
        self.path = f"{path}:{name}"
        self.file = path
        self.name = name
        self._fills = np.array([])
        axes = tuple(range(len(shape)))
        axes = axes if band_axis is None else (*axes[:band_axis], *axes[band_axis + 1 :], band_axis)
        self.shape = (shape[axes[0]], shape[axes[1]])
        self.dtype = dtype.newbyteorder("=")
        self.band_names: tuple[str | None, ...] = (None,) * (shape[axes[2]] if len(axes) == 3 else 1)
        # where rows, columns and bands lie among the axes of the dataset
        self.axes = tuple(len(shape) - 1 - axis for axis in axes) if reversed_axes else axes

    def take_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Scale, offset, unit and fill values from attributes by the CF conventions, as in netCDF files."""
        count = len(self.band_names)
        scale, offset = _numbers(attributes, "scale_factor"), _numbers(attributes, "add_offset")
        for key, values in (("scale_factor", scale), ("add_offset", offset)):
            if len(values) not in (0, 1, count):
                raise InputError(
                    f"{self.path}: its attribute {key} has {len(values)} numbers for {count} bands; remove it, and set "
                    "'scale' and 'offset'"
                )
        if len(scale) or len(offset):
            unit = attributes.get("units")
            unit = known_unit(unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit)
            scale, offset = (np.resize(v if len(v) else [d], count) for v, d in ((scale, 1.0), (offset, 0.0)))
            self.scaling = tuple(Scaling(float(a), float(b), unit) for a, b in zip(scale, offset, strict=True))
        fills = np.unique(np.concatenate([_numbers(attributes, key) for key in ("_FillValue", "missing_value")]))
        if self.dtype.kind != "f":  # a value that the type cannot have is in no pixel
            fills = fills[np.isin(fills, fills.clip(*_limits(self.dtype)))]
        self._fills = fills.astype(self.dtype)
        self.nodata_values = frozenset(fills.tolist())
        if len(fills):
            self.nodata_source = "nodata " + ", ".join(f"{value:g}" for value in fills)

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)). Raises InputError when the file turns out to be damaged."""
        require_inside(window, self.shape, self.path)
        # h5py takes a range much faster than a list, so the bands between the wanted ones are read along
        first, stop = min(bands), max(bands) + 1
        ranges = (*window.slices, slice(first, stop))
        selection = tuple(ranges[self.axes.index(axis)] for axis in range(len(self.axes)))
        try:
            with h5py.File(self.file, "r", locking=False) as file:
                stored = file[self.name][selection]
        except HDF5_ERRORS as error:
            raise InputError(f"{self.path}: cannot be read ({error}); write or copy it again") from None
        pixels = np.transpose(stored, self.axes)
        pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
        return take_bands(pixels, [band - first for band in bands], self.dtype)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where any of `bands` has a fill value that the dataset's attributes state."""
        require_inside(window, self.shape, self.path)
        if not len(self._fills):
            return np.ones(window.shape, bool)
        filled = np.isin(self.read(window, bands), self._fills)
        return np.logical_not(filled.any(axis=-1))


def _stated_layout(dataset: h5py.Dataset) -> Layout | None:
    """The order of axes that the file itself states: by an attribute "interleave", or by a name of the band axis."""
    interleave = dataset.attrs.get("interleave", dataset.attrs.get("Interleave", ""))
    interleave = interleave.decode("latin1") if isinstance(interleave, bytes) else str(interleave)
    if interleave.lower() in _INTERLEAVES:
        return _INTERLEAVES[interleave.lower()]
    names = [
        [dimension.label, *(Path(str(scale.name)).name for scale in dimension.values())] for dimension in dataset.dims
    ]
    found = [axis for axis, of_axis in enumerate(names) if any(map(_BAND_AXIS.fullmatch, of_axis))]
    return _LAYOUT_BY_AXIS[found[0]] if len(found) == 1 and len(names) == 3 else None


def _wavelengths(dataset: h5py.Dataset, count: int, axis: int | None) -> tuple[float | None, ...]:
    """Centre wavelengths in nm of `count` bands, from an attribute, the scale of their axis or a dataset beside it."""
    beside = dataset.parent
    stated = [(value, dataset.attrs) for key, value in dataset.attrs.items() if _WAVELENGTHS.fullmatch(key)]
    scales = [] if axis is None else list(dataset.dims[axis].values())
    named = [beside[key] for key in beside if _WAVELENGTHS.fullmatch(key) and isinstance(beside.get(key), h5py.Dataset)]
    for found, attributes in [*stated, *((scale, scale.attrs) for scale in (*scales, *named))]:
        try:
            lengths = np.asarray(found[()] if isinstance(found, h5py.Dataset) else found, np.float64)
        except (TypeError, ValueError):
            continue
        unit = attributes.get("units", attributes.get("wavelength_units"))
        unit = unit.decode("latin1") if isinstance(unit, bytes) else unit
        in_nm = [in_nanometres(length, unit if isinstance(unit, str) else None) for length in lengths.ravel().tolist()]
        if len(in_nm) == count and None not in in_nm:
            return tuple(in_nm)
    return ()


def _limits(dtype: np.dtype) -> tuple[int, int]:
    info = np.iinfo(dtype if dtype.kind != "b" else np.uint8)
    return int(info.min), int(info.max)


def _numbers(attributes: Mapping[str, Any], key: str) -> np.ndarray:
    """(n,) numbers of an attribute; none where it is missing or is no number."""
    try:
        return np.asarray(attributes.get(key, ()), np.float64).ravel()
    except (TypeError, ValueError):
        return np.array([])


def require_small_chunks(path: Path, dataset: h5py.Dataset) -> None:
    """Raises InputError where one chunk of `dataset`, which is read as a whole, would fill the memory."""
    if dataset.chunks is not None:
        size = math.prod(dataset.chunks) * dataset.dtype.itemsize
        require_no_bomb(f"{path}:{dataset.name}", size, dataset.id.get_storage_size())


def refuse_other_files(path: Path, dataset: h5py.Dataset) -> None:
    """Raises InputError when the numbers of `dataset` lie outside its own HDF5 dataset (external or virtual)."""
    if dataset.external or dataset.is_virtual:
        kind = "external" if dataset.external else "virtual"
        raise InputError(f"{path}: '{dataset.name}' is {kind}, its numbers lie elsewhere; copy them into the file")


def own_items(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Name and content of what lies in `group` itself; links, which may lead into other files, are not followed."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield name, group[name]


def _variables(file: h5py.File, wanted: str | None) -> dict[str, Variable]:
    """The datasets of `file` by path; links are not followed, but `wanted` may be spelled without its first slash."""
    found: dict[str, Variable] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[f"/{name}"] = describe(item.shape or (), item.dtype)

    file.visititems(note)
    if wanted is not None:
        _refuse_links(file, wanted)
        if f"/{wanted}" in found:
            found[wanted] = found[f"/{wanted}"]
    return found


def _refuse_links(file: h5py.File, wanted: str) -> None:
    steps = [step for step in wanted.split("/") if step]
    for depth in range(1, len(steps) + 1):
        link = file.get("/".join(steps[:depth]), getlink=True)
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            target = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else link.path
            raise InputError(f"{file.filename}: '{wanted}' is a link to {target}; name that file and dataset instead")
