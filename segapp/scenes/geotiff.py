"""GeoTIFF, JPEG 2000 and whatever else rasterio opens, read by window."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import windows as rasterio_windows
from rasterio._err import CPLE_BaseError  # GDAL's errors where rasterio does not wrap them
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from segapp.bands import in_nanometres
from segapp.errors import InputError
from segapp.scenes.control_points import control_points_of
from segapp.scenes.memory import require_inside
from segapp.scenes.raster import Georeference, Raster, Scaling, known_unit
from segapp.windows import Window

CACHE_BYTES = 128 << 20
"""What GDAL keeps of the blocks it has decoded, for all files together."""
# GDAL's default block cache is 5 % of the machine's memory; a damaged JPEG would otherwise be padded with grey. A VRT
# file may hold Python, which some set up GDAL to run. To find what belongs to a file GDAL lists its whole folder, at
# every opening; asked not to, it looks for each such file by name. The files of a VRT
# would be shared by all that is open of them, so that two threads could read one at once.
_GDAL_SETTINGS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "VRT_SHARED_SOURCE": "0",
}
_LARGEST_BLOCK = 1 << 30  # bytes: GDAL takes as much at once, however little of it is asked for

NO_GEOREFERENCE = NotGeoreferencedWarning
_Key = tuple[Any, ...]  # the path as text first, since comparing `Path`s takes seven times as long


class RasterioRaster(Raster):
    """A raster file that rasterio opens, or one page of a TIFF. A palette image is read as indexes, alpha as a band.

    Raises InputError when the file is missing, not a raster, truncated, or holds complex numbers.
    """

    def __init__(self, path: Path, page: int | None = None) -> None:
        self.path = str(path)
        self._file = path
        self._name = str(path) if page is None else f"GTIFF_DIR:{page}:{path}"
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from None
        # a file that was written anew is another file: its old handles must not serve it
        self.key: _Key = (str(path), page, status.st_mtime_ns, status.st_size)
        with self.dataset() as dataset:
            if dataset.count == 0 or any(name.startswith("complex") for name in dataset.dtypes):
                kind = "complex numbers" if dataset.count else "no raster of its own, only subdatasets"
                raise InputError(f"{path}: holds {kind}; convert it to a GeoTIFF of real numbers (gdal_translate)")
            if math.prod(dataset.block_shapes[0]) * np.dtype(dataset.dtypes[0]).itemsize > _LARGEST_BLOCK:
                side = "x".join(map(str, dataset.block_shapes[0]))
                raise InputError(f"{path}: its blocks of {side} pixels are too large to read; tile it in smaller ones")
            self.pages = max(1, len(dataset.subdatasets)) if dataset.driver == "GTiff" and page is None else 1
            self.shape: tuple[int, int] = (dataset.height, dataset.width)
            self.dtype = np.result_type(*dataset.dtypes)
            self.band_names: tuple[str | None, ...] = tuple(name or None for name in dataset.descriptions)
            self.wavelengths_nm = _wavelengths(dataset)
            self.georeference = _georeference(dataset)
            self.scaling = _scaling(dataset)
            self.alpha = _alpha_of(dataset)
            # whether a nodata value or a mask, other than alpha, leaves out pixels of a band
            self.masked = [not {MaskFlags.all_valid, MaskFlags.alpha} & {*flags} for flags in dataset.mask_flag_enums]
            # 8-bit images use all their values: as GDAL's dataset mask, one has no data where all bands have the value
            self._together = self.dtype.itemsize == 1 and dataset.count > 1 and dataset.nodata is not None
            self.control_points = control_points_of(dataset)
            if self.control_points:
                self.remarks = (
                    f"is placed by {self.control_points} alone: GeoTIFF maps keep them, areas and polygons are in "
                    "pixels; warp it for a CRS (gdalwarp)",
                )
            if self.alpha is None and ColorInterp.alpha in colors_of(dataset):
                self.remarks = (*self.remarks, ALPHA_AS_DATA)
            self._shadows = dataset.nodata is not None and ColorInterp.alpha in colors_of(dataset)
            self.nodata_values = frozenset(value for value in dataset.nodatavals if value is not None)
            self.lossy = _lossy(dataset)
            self.nodata_source = _nodata_source(dataset, self.alpha)

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)). Raises InputError when the file turns out to be damaged."""
        require_inside(window, self.shape, self.path)
        with self.dataset() as dataset:
            pixels = dataset.read(_one_based(bands), window=of_rasterio(window), out_dtype=self.dtype)
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where nodata or a mask leaves out the pixel in any of `bands`.

        Alpha counts as a mask unless its band is one of `bands`, and so is data. In 8-bit files a nodata value counts
        where all bands of the file have it.
        """
        require_inside(window, self.shape, self.path)
        masked = [band for band in bands if self.masked[band]]
        alpha = self.alpha if self.alpha not in bands else None
        valid = np.ones(window.shape, bool)
        if not masked and alpha is None:
            return valid
        place = of_rasterio(window)
        # rasterio warns that nodata comes before alpha, which counts as well here
        quiet = without_warnings(NodataShadowWarning) if self._shadows else nullcontext()
        with self.dataset() as dataset, quiet:
            if masked and self._together:
                colors = [band for band in range(len(self.band_names)) if band != self.alpha]
                valid = dataset.read_masks(_one_based(colors), window=place).any(axis=0)
            elif masked:
                valid = dataset.read_masks(_one_based(masked), window=place).all(axis=0)
            if alpha is not None:
                valid &= dataset.read(alpha + 1, window=place) != 0
        return valid

    def dataset(self) -> AbstractContextManager[Any]:
        """rasterio's dataset of the file, this thread's alone; GDAL's errors become InputError naming the file."""
        return HANDLES.borrow(self.key, self._open)

    def _open(self) -> Any:
        try:
            return open_quietly(self._name)
        except (RasterioError, OSError) as error:
            raise InputError(f"{self.path}: {_unreadable(self._file, error)}") from None


def open_quietly(file: Path | str, mode: str = "r", **profile: Any) -> Any:
    """rasterio's `open`, without its warning where a file has no georeference."""
    with without_warnings(NotGeoreferencedWarning):
        return rasterio.open(file, mode, **profile)


@contextmanager
def without_warnings(category: type[Warning]) -> Iterator[None]:
    """Keeps libraries from printing warnings of `category`."""
    # the warning filters belong to the process, so only one thread may change them at a time
    with _FILTERING, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def close_idle(file: Path) -> None:
    """Close what is kept open of `file` between two reads, so that deleting it frees its space."""
    HANDLES.close_idle(file)


class Handles:
    """Datasets kept open between two reads, at most `limit`: a process may not keep thousands of files open.

    A dataset serves one thread at a time, so threads that read the same file at once each borrow their own.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: list[tuple[_Key, Any]] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, key: _Key, opening: Callable[[], Any]) -> Iterator[Any]:
        """An open dataset for `key`; GDAL's errors while it is borrowed become InputError naming the file."""
        with rasterio.Env(**_GDAL_SETTINGS):
            with self._lock:
                place = next((i for i in reversed(range(len(self._idle))) if self._idle[i][0] == key), None)
                dataset = self._idle.pop(place)[1] if place is not None else None
            if dataset is None:
                dataset = opening()
            try:
                yield dataset
            except BaseException as error:
                _close(dataset)
                if isinstance(error, RasterioError):
                    raise InputError(f"{key[0]}: {_unreadable(Path(key[0]), error)}") from None
                raise
            with self._lock:
                self._idle.append((key, dataset))
                surplus = self._idle.pop(0)[1] if len(self._idle) > self._limit else None
            if surplus is not None:
                _close(surplus)

    def close_idle(self, file: Path) -> None:
        """Close the idle datasets of `file`."""
        with self._lock:
            closing = [dataset for key, dataset in self._idle if key[0] == str(file)]
            self._idle = [(key, dataset) for key, dataset in self._idle if key[0] != str(file)]
        for dataset in closing:
            _close(dataset)


# One limit has to hold for all rasters of the process, because the number of open files does (256 on macOS).
HANDLES = Handles(192)
_FILTERING = threading.Lock()


def _close(dataset: Any) -> None:
    dataset.close()
    if isinstance(dataset, WarpedVRT):
        dataset.src_dataset.close()


def _georeference(dataset: Any) -> Georeference | None:
    if dataset.crs is None and dataset.transform.is_identity:
        return None
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(dataset.transform)[:6])


def _wavelengths(dataset: Any) -> tuple[float | None, ...]:
    """The centre wavelength in nm that the file states of each band, as ENVI headers do; empty where it states none."""
    found = []
    for band in dataset.indexes:
        tags, imagery = dataset.tags(band), dataset.tags(band, ns="IMAGERY")
        stated = next((tags[key] for key in ("wavelength", "WAVELENGTH", "Wavelength") if key in tags), None)
        unit = tags.get("wavelength_units") or tags.get("WAVELENGTH_UNITS")
        if stated is None:
            stated, unit = imagery.get("CENTRAL_WAVELENGTH_UM"), "um"
        try:
            found.append(in_nanometres(float(stated), unit) if stated is not None else None)
        except ValueError:
            found.append(None)
    return tuple(found) if any(found) else ()


def _scaling(dataset: Any) -> tuple[Scaling, ...]:
    """The scale, offset and unit that the file states of each band; empty where it states neither scale nor offset."""
    factor = dataset.tags(ns="ENVI").get("reflectance_scale_factor")
    try:
        scale = 1 / float(factor) if factor else 1.0
    except (ValueError, ZeroDivisionError):
        scale = 1.0
    stated = zip(dataset.scales, dataset.offsets, dataset.units, strict=True)
    found = tuple(Scaling(own if own != 1 else scale, offset, known_unit(unit)) for own, offset, unit in stated)
    return found if any((entry.scale, entry.offset) != (1, 0) for entry in found) else ()


def _alpha_of(dataset: Any) -> int | None:
    """The band that is alpha by its colour interpretation.

    GDAL calls the fourth band of 8-bit files alpha unless its creator says otherwise, also where it is near infrared.
    There its values decide, in samples of the image.
    """
    colors = colors_of(dataset)
    if ColorInterp.alpha not in colors or dataset.count == 1:
        return None
    band = colors.index(ColorInterp.alpha)
    if dataset.count == 4 and dataset.dtypes[band] == "uint8":
        values = np.concatenate([dataset.read(band + 1, window=place).ravel() for place in _samples(dataset)])
        if not looks_like_alpha(values):
            return None
    return band


ALPHA_AS_DATA = "band 4 is alpha by its colour interpretation, but has many values: it is read as data"


def colors_of(dataset: Any) -> tuple[ColorInterp, ...]:
    """The colour interpretation of each band."""
    with suppress(CPLE_BaseError):  # rasterio raises here an earlier error of GDAL, of whatever file, once
        return dataset.colorinterp
    return dataset.colorinterp


def looks_like_alpha(values: np.ndarray) -> bool:
    """Whether most of the uint8 values that are not 0 are one value, as 255: measurements are not."""
    counts = np.bincount(values.ravel(), minlength=256)[1:]
    return bool(2 * counts.max() >= counts.sum())


def _samples(dataset: Any) -> Iterator[rasterio_windows.Window]:
    """Five windows of an image: in its middle and in the middle of its quarters."""
    for row, col in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
        top, left = dataset.height * row // 4, dataset.width * col // 4
        yield rasterio_windows.Window(left, top, min(64, dataset.width - left), min(64, dataset.height - top))


def _lossy(dataset: Any) -> bool:
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    return (
        dataset.driver == "JPEG"
        or "JPEG" in structure.get("COMPRESSION", "")
        or structure.get("COMPRESSION_REVERSIBILITY") == "LOSSY"
        or float(structure.get("MAX_Z_ERROR", 0)) > 0
    )


def _nodata_source(dataset: Any, alpha: int | None) -> str:
    values = dict.fromkeys(value for value in dataset.nodatavals if value is not None)
    sources = [f"nodata {', '.join(f'{value:g}' for value in values)}"] if values else []
    flags = {flag for flags in dataset.mask_flag_enums for flag in flags}
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        sources.append("mask")
    if alpha is not None:
        sources.append(f"alpha (band {alpha + 1})")
    return " and ".join(sources)


def _unreadable(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "is a folder; name a file in it"
    if path.stat().st_size == 0:
        return "is empty; write or copy it again"
    reason = str(error).replace(f"'{path}' ", "").replace(f"{path}: ", "").removesuffix(".")
    cause = f"{error.__cause__}".removesuffix(".") if error.__cause__ else ""
    return f"cannot be read as a raster ({cause or reason}); check that it is complete and of a format GDAL knows"


def _one_based(bands: Sequence[int]) -> list[int]:
    return [band + 1 for band in bands]


def of_rasterio(window: Window) -> rasterio_windows.Window:
    """`window` in rasterio's type."""
    return rasterio_windows.Window(window.col, window.row, window.width, window.height)
