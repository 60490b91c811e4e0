"""GeoTIFF, JPEG 2000 and whatever else rasterio opens, read by window, as it is or on another grid."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import windows as rasterio_windows
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine, array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from segapp.errors import InputError
from segapp.scenes.memory import require_inside
from segapp.scenes.raster import Georeference
from segapp.windows import Window

CACHE_BYTES = 128 << 20
"""What GDAL keeps of the blocks it has decoded, for all files together."""
# GDAL's default block cache is 5 % of the machine's memory; a damaged JPEG would otherwise be padded with grey. A VRT
# file may hold Python, which some set up GDAL to run. To find what belongs to a file GDAL lists its whole folder, at
# every opening; asked not to, it looks for each such file by name.
_GDAL_SETTINGS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
_LARGEST_BLOCK = 1 << 30  # bytes: GDAL takes as much at once, however little of it is asked for

# rasters with a transform but no CRS can be resampled onto each other; GDAL only wants to be told some CRS
_ANY_CRS = 'LOCAL_CS["unknown",UNIT["metre",1]]'


@dataclass(frozen=True)
class _Grid:
    """What a raster is resampled to: `shape` (H, W) pixels that lie where `georeference` says."""

    georeference: Georeference
    shape: tuple[int, int]
    resampling: str


_Key = tuple[str, int, int, _Grid | None]  # the path as text, since comparing `Path`s takes seven times as long


class RasterioRaster:
    """A raster file that rasterio opens. Palette images are read as indexes, an alpha band counts as a band.

    Raises InputError when the file is missing, not a raster, truncated, or holds complex numbers.
    """

    def __init__(self, path: Path, grid: _Grid | None = None) -> None:
        self.path = str(path)
        self._file = path
        self._grid = grid
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from None
        # a file that was written anew is another file: its old handles must not serve it
        self._key = (str(path), status.st_mtime_ns, status.st_size, grid)
        with self.dataset() as dataset:
            if dataset.count == 0 or any(name.startswith("complex") for name in dataset.dtypes):
                kind = "complex numbers" if dataset.count else "no raster of its own, only subdatasets"
                raise InputError(f"{path}: holds {kind}; convert it to a GeoTIFF of real numbers (gdal_translate)")
            if math.prod(dataset.block_shapes[0]) * np.dtype(dataset.dtypes[0]).itemsize > _LARGEST_BLOCK:
                side = "x".join(map(str, dataset.block_shapes[0]))
                raise InputError(f"{path}: its blocks of {side} pixels are too large to read; tile it in smaller ones")
            # a warped file may carry one more band that says where there is data
            count = dataset.src_dataset.count if isinstance(dataset, WarpedVRT) else dataset.count
            self.shape: tuple[int, int] = (dataset.height, dataset.width)
            self.dtype = np.result_type(*dataset.dtypes[:count])
            self.band_names: tuple[str | None, ...] = tuple(name or None for name in dataset.descriptions[:count])
            self.georeference = grid.georeference if grid else _georeference(dataset)
            self._all_valid = [MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums[:count]]

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)). Raises InputError when the file turns out to be damaged."""
        require_inside(window, self.shape, self.path)
        with self.dataset() as dataset:
            pixels = dataset.read(_one_based(bands), window=_of_rasterio(window), out_dtype=self.dtype)
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where nodata, a mask or an alpha band leaves out the pixel in any of `bands`."""
        require_inside(window, self.shape, self.path)
        masked = [band for band in bands if not self._all_valid[band]]
        if not masked:
            return np.ones(window.shape, bool)
        with self.dataset() as dataset:
            masks = dataset.read_masks(_one_based(masked), window=_of_rasterio(window))
        return np.all(masks != 0, axis=0)

    def on_grid(self, georeference: Georeference, shape: tuple[int, int], resampling: str) -> RasterioRaster:
        """This raster brought to `shape` (H, W) pixels that lie where `georeference` says, resampled as it is read.

        `resampling` is one of rasterio's names ("nearest", "bilinear", "cubic", "average", "mode", ...). Pixels that
        the file does not cover are invalid. Raises InputError when the two do not overlap.
        """
        return RasterioRaster(self._file, _Grid(georeference, shape, resampling))

    def dataset(self) -> AbstractContextManager[Any]:
        """rasterio's dataset of the file, this thread's alone; GDAL's errors become InputError naming the file."""
        return _HANDLES.borrow(self._key, self._open)

    def _open(self) -> Any:
        try:
            dataset = open_quietly(self._file)
        except (RasterioError, OSError) as error:
            raise InputError(f"{self.path}: {_unreadable(self._file, error)}") from None
        return _warped(dataset, self._grid, self.path) if self._grid else dataset


def open_quietly(file: Path, mode: str = "r", **profile: Any) -> Any:
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
    _HANDLES.close_idle(file)


class _Handles:
    """Open datasets between two reads, at most `limit` of them: a process may not keep thousands of chips open.

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
_HANDLES = _Handles(192)
_FILTERING = threading.Lock()


def _close(dataset: Any) -> None:
    dataset.close()
    if isinstance(dataset, WarpedVRT):
        dataset.src_dataset.close()


def _warped(dataset: Any, grid: _Grid, path: str) -> WarpedVRT:
    """`dataset` as a virtual file on `grid`."""
    source_crs = dataset.crs or CRS.from_wkt(_ANY_CRS)
    crs = CRS.from_wkt(grid.georeference.crs) if grid.georeference.crs else source_crs
    target = Affine(*grid.georeference.transform)
    height, width = grid.shape
    # where the grid's centre and the pixels right of and below it lie, in pixels of the file
    columns, rows = np.array([width / 2, width / 2 + 1, width / 2]), np.array([height / 2, height / 2, height / 2 + 1])
    try:
        x, y = transform_points(crs, source_crs, *(target * (columns, rows)))
        left, bottom, right, top = transform_bounds(source_crs, crs, *dataset.bounds)
    except (RasterioError, ValueError) as error:
        dataset.close()
        raise InputError(f"{path}: cannot be brought to another grid ({error}); reproject it first") from None
    west, south, east, north = array_bounds(height, width, target)
    if left >= east or right <= west or bottom >= north or top <= south:
        dataset.close()
        raise InputError(f"{path}: does not overlap the grid it is to be brought to; give files of one place")
    columns, rows = ~dataset.transform * (np.array(x), np.array(y))
    # Left to itself GDAL derives the scale from each chunk it warps, and pixels would depend on the window.
    scale = [1 / max(float(np.ptp(columns[[0, i]])), float(np.ptp(rows[[0, i]])), 1e-9) for i in (1, 2)]
    masked_otherwise = dataset.nodata is not None or any(MaskFlags.alpha in flags for flags in dataset.mask_flag_enums)
    return WarpedVRT(
        dataset,
        src_crs=source_crs,
        crs=crs,
        transform=target,
        height=height,
        width=width,
        resampling=Resampling[grid.resampling],
        tolerance=1e-6,  # source pixels; an approximation would depend on the window, and 0 is refused
        add_alpha=not masked_otherwise,
        XSCALE=scale[0],
        YSCALE=scale[1],
    )


def _georeference(dataset: Any) -> Georeference | None:
    if dataset.crs is None and dataset.transform.is_identity:
        return None
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(dataset.transform)[:6])


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


def _of_rasterio(window: Window) -> rasterio_windows.Window:
    return rasterio_windows.Window(window.col, window.row, window.width, window.height)
