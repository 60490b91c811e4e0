"""Rasters whose pixels are an array: given as one, or decoded from a file that cannot be read by window."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from segapp.errors import InputError
from segapp.scenes.raster import Georeference, Raster
from segapp.windows import Window

LARGEST_DECODED = 4 << 30
"""Bytes of the largest array that is decoded as a whole."""

_LARGEST_OF_A_FEW = 512 << 20
_MOST_TIMES = 100
"""Numbers of a scene shrink to a third, labels of large areas to a fiftieth."""


def require_no_bomb(path: str, size: int, stored: int) -> None:
    """Raises InputError where `stored` bytes of a file become so many more in memory that only a trap does so."""
    if size > _LARGEST_OF_A_FEW and size > _MOST_TIMES * stored:
        raise InputError(
            f"{path}: {stored:,} bytes of the file would take {size >> 20:,} MiB of memory at once; if they are real, "
            "save them as a tiled GeoTIFF, or HDF5 in small chunks"
        )


def require_inside(window: Window, shape: tuple[int, int], path: str) -> None:
    """Raises ValueError when `window` is empty or reaches over the edges of a raster of `shape` (H, W)."""
    if window.empty or window.row < 0 or window.col < 0 or window.row_stop > shape[0] or window.col_stop > shape[1]:
        raise ValueError(f"{window} is not inside {path} of {shape[0]}x{shape[1]} pixels")


class ArrayRaster(Raster):
    """A raster in memory, or in memory-mapped pages.

    `array` is (H, W), one band, or (H, W, C); it is not copied. Pixels equal to `nodata` (NaN matches NaN) are invalid.
    """

    def __init__(
        self,
        path: str,
        array: np.ndarray,
        band_names: Sequence[str | None] | None = None,
        georeference: Georeference | None = None,
        nodata: float | None = None,
    ) -> None:
        if array.ndim not in (2, 3):
            raise ValueError(f"{path}: an array raster has 2 or 3 axes, not {array.ndim}")
        self._array = array if array.ndim == 3 else array[..., np.newaxis]
        self._nodata = nodata
        height, width, count = self._array.shape
        self.path = path
        self.shape = (height, width)
        self.dtype = array.dtype.newbyteorder("=")
        self.band_names: tuple[str | None, ...] = (None,) * count if band_names is None else tuple(band_names)
        self.georeference = georeference
        if len(self.band_names) != count:
            raise ValueError(f"{path}: {len(self.band_names)} band names for {count} bands")

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)), a copy."""
        require_inside(window, self.shape, self.path)
        return take_bands(self._array[window.slices], bands, self.dtype)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where any of `bands` holds the nodata value."""
        if self._nodata is None:
            require_inside(window, self.shape, self.path)
            return np.ones(window.shape, bool)
        pixels = self.read(window, bands)
        missing = np.isnan(pixels) if np.isnan(self._nodata) else pixels == self._nodata
        return ~missing.any(axis=-1)


class DecodedRaster(Raster):
    """A raster of a file format that can only be decoded as a whole, which happens at the first read.

    `decode` returns (H, W) or (H, W, C), of `dtype` or a type that can be cast to it, and raises InputError when it
    cannot. Decoded pixels are kept while there is room (see `DecodedPixels`). With `alpha`, the last band is a mask
    (0: no data). Raises InputError where the pixels would take more than `LARGEST_DECODED`.
    """

    def __init__(
        self,
        path: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        decode: Callable[[], np.ndarray],
        *,
        alpha: bool = False,
    ) -> None:
        if math.prod(shape) * dtype.itemsize > LARGEST_DECODED:
            raise self._too_large(path, shape)
        self.path = path
        self.shape = (shape[0], shape[1])
        self.dtype = dtype.newbyteorder("=")
        self.band_names: tuple[str | None, ...] = (None,) * (shape[2] if len(shape) == 3 else 1)
        self._decode = decode
        self.alpha = len(self.band_names) - 1 if alpha else None
        self._decoding = threading.Lock()

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)). Raises InputError when the file cannot be decoded."""
        require_inside(window, self.shape, self.path)
        return take_bands(self._pixels()[window.slices], bands, self.dtype)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where the alpha band, if there is one that is none of `bands`, is 0."""
        require_inside(window, self.shape, self.path)
        if self.alpha is None or self.alpha in bands:
            return np.ones(window.shape, bool)
        return self._pixels()[window.slices][..., self.alpha] != 0

    def _pixels(self) -> np.ndarray:
        with self._decoding:  # so that two threads do not decode the same file
            pixels = _DECODED.get(self)
            if pixels is None:
                try:
                    pixels = self._decode()
                except MemoryError:
                    raise self._too_large(self.path, self.shape) from None
                pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
                if pixels.shape != (*self.shape, len(self.band_names)):
                    raise InputError(f"{self.path}: changed while it was in use; run again")
                _DECODED.put(self, pixels)
            return pixels

    @staticmethod
    def _too_large(path: str, shape: tuple[int, ...]) -> InputError:
        return InputError(
            f"{path}: holds {'x'.join(map(str, shape))} numbers, too many to be decoded as a whole; save it as a tiled "
            "GeoTIFF, NPY or HDF5 file, which are read piece by piece"
        )


class DecodedPixels:
    """The decoded pixels of many rasters, at most `limit` bytes together: the least recently read are dropped first.

    The newest always stay, so that one huge raster is not decoded again for every window.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._arrays: OrderedDict[weakref.ref[DecodedRaster], np.ndarray] = OrderedDict()
        self._lock = threading.RLock()  # a raster may be collected, and its pixels dropped, while this thread has it

    def get(self, owner: DecodedRaster) -> np.ndarray | None:
        """The pixels put in for `owner`, or None when they were dropped."""
        with self._lock:
            key = weakref.ref(owner)
            if key not in self._arrays:
                return None
            self._arrays.move_to_end(key)
            return self._arrays[key]

    def put(self, owner: DecodedRaster, pixels: np.ndarray) -> None:
        """Keep `pixels` until room is needed or `owner` is no longer used."""
        with self._lock:
            self._arrays[weakref.ref(owner, self._drop)] = pixels
            self._held += pixels.nbytes
            while self._held > self._limit and len(self._arrays) > 1:
                self._drop(next(iter(self._arrays)))

    def _drop(self, key: weakref.ref[DecodedRaster]) -> None:
        with self._lock:
            dropped = self._arrays.pop(key, None)
            self._held -= dropped.nbytes if dropped is not None else 0


# One limit has to hold for all rasters of the process. Two gibibytes hold the two scenes of a training run of RIT-18.
_DECODED = DecodedPixels(2 << 30)


def take_bands(pixels: np.ndarray, bands: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """`bands` of (h, w, C) `pixels` as a new (h, w, len(bands)) array of `dtype` in memory."""
    return np.take(pixels, list(bands), axis=-1).astype(dtype, copy=False)
