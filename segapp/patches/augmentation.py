"""How patches are changed: label-safe augmentation, a pure function of the patch and its random numbers."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from segapp.configuration import Strict
from segapp.data.statistics import BandStatistics


class Augmentation(Strict):
    """Which changes are made; 0 or false switches one off.

    `scale` zooms by a factor between 1/(1+scale) and 1+scale. `gain` multiplies each band by 1 +- gain, `brightness`
    all bands together; `offset` and `noise` are in shares of a band's standard deviation (offset one number a patch
    and band, noise one a pixel and band). `band_dropout` is the probability that one band of a patch is missing.
    """

    flips: bool = True
    quarter_turns: bool = True
    scale: float = Field(default=0.0, ge=0, le=1)
    gain: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    offset: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    band_dropout: float = Field(default=0.0, ge=0, lt=1)

    def source_size(self, size: int, rng: np.random.Generator) -> int:
        """The side in pixels of the square to cut, so that `apply` zooms it to `size`."""
        if not self.scale:
            return size
        return max(1, round(size * (1 + self.scale) ** rng.uniform(-1, 1)))

    def apply(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        size: int,
        statistics: BandStatistics,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change one patch, pixels (s, s, C) float32 and labels (s, s) uint8, and bring it to `size` x `size`.

        NaN (invalid) stays NaN; labels are only moved, never mixed.
        """
        if len(pixels) != size:
            pixels, labels = resize(pixels, labels, size)
        vertical, horizontal = rng.integers(2, size=2) if self.flips else (0, 0)
        turns = int(rng.integers(4)) if self.quarter_turns else 0
        pixels, labels = _turn(pixels, vertical, horizontal, turns), _turn(labels, vertical, horizontal, turns)
        bands = pixels.shape[-1]
        factor = np.ones(bands)
        shift = np.zeros(bands)
        if self.gain:
            factor *= 1 + rng.uniform(-self.gain, self.gain, bands)
        if self.brightness:
            factor *= 1 + rng.uniform(-self.brightness, self.brightness)
        if self.offset:
            shift += rng.uniform(-self.offset, self.offset, bands) * statistics.std
        if self.band_dropout and rng.random() < self.band_dropout:
            band = int(rng.integers(bands))
            factor[band], shift[band] = 0, statistics.mean[band]
        rows = pixels.reshape(size, -1)
        if (factor != 1).any():
            rows = rows * _along_a_row(factor, size)
        if shift.any():
            rows = rows + _along_a_row(shift, size)
        if self.noise:
            noise = rng.standard_normal(rows.shape, np.float32)
            rows = rows + noise * _along_a_row(self.noise * statistics.std, size)
        return rows.reshape(pixels.shape), labels


def _turn(pixels: np.ndarray, vertical: int, horizontal: int, turns: int) -> np.ndarray:
    """Flip a patch (s, s) or (s, s, C) along its rows, its columns, and turn it by quarters; contiguous in memory."""
    whole_pixels = pixels
    if pixels.ndim == 3:  # moved as a whole each, which is faster than number by number
        if pixels.strides[-1] != pixels.itemsize:
            pixels = np.ascontiguousarray(pixels)
        whole_pixels = pixels.view(np.dtype((np.void, pixels[0, 0].nbytes)))[..., 0]
    turned = np.rot90(whole_pixels[:: 1 - 2 * vertical, :: 1 - 2 * horizontal], turns)
    return np.ascontiguousarray(turned).view(pixels.dtype).reshape(pixels.shape)


def _along_a_row(values: np.ndarray, size: int) -> np.ndarray:
    """(C,) numbers as (size * C,) float32 for a row of pixels: NumPy is slow over a short last axis."""
    return np.tile(values.astype(np.float32), size)


def resize(pixels: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample a square patch to `size`: pixels (s, s, C) bilinearly, labels (s, s) by nearest neighbour.

    Pixel centres are aligned; a result that touches an invalid (NaN) pixel is invalid.
    """
    source, bands = len(pixels), pixels.shape[-1]
    centre = (np.arange(size) + 0.5) * source / size - 0.5
    low = np.clip(np.floor(centre).astype(int), 0, source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = np.clip(centre - low, 0, 1).astype(np.float32)
    columns = _blend(pixels[low], pixels[high], weight[:, None, None])
    # np.take copies whole pixels where indexing goes number by number
    left, right = (np.take(columns, index, axis=1).reshape(size, -1) for index in (low, high))
    nearest = np.minimum((np.arange(size) + 0.5) * source / size, source - 1).astype(int)
    return _blend(left, right, np.repeat(weight, bands)).reshape(size, size, bands), labels[np.ix_(nearest, nearest)]


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``first + weight * (second - first)``, in the memory of the two."""
    second -= first
    second *= weight
    first += second
    return first
