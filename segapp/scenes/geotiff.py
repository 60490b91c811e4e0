"""GeoTIFF, JPEG 2000 and whatever else rasterio opens, read by window."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import windows as rasterio_windows
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from segapp.errors import InputError
from segapp.scenes.control_points import control_points_of
from segapp.scenes.memory import require_inside
from segapp.scenes.raster import Raster
from segapp.scenes.raster_metadata import (
    ALPHA_AS_DATA,
    alpha_of,
    colors_of,
    georeference_of,
    is_lossy,
    nodata_source_of,
    scaling_of,
    wavelengths_of,
)
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
            self.wavelengths_nm = wavelengths_of(dataset)
            self.georeference = georeference_of(dataset)
            self.scaling = scaling_of(dataset)
            self.alpha = alpha_of(dataset)
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
            self.lossy = is_lossy(dataset)
            self.nodata_source = nodata_source_of(dataset, self.alpha)

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


def _most_open() -> int:
    """How many datasets may stay open: a part of the files that the process may open, which batch systems make few."""
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return 192
    most = getrlimit(RLIMIT_NOFILE)[0]
    return 192 if most < 0 else min(192, most // 4)


# One limit has to hold for all rasters of the process, because the number of open files does (256 on macOS).
HANDLES = Handles(_most_open())
_FILTERING = threading.Lock()


def _close(dataset: Any) -> None:
    dataset.close()
    if isinstance(dataset, WarpedVRT):
        dataset.src_dataset.close()


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
