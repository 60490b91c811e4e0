"""How patches are changed: label-safe augmentation, a pure function of the patch and its random numbers."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from segapp.configuration import Strict
from segapp.patches.statistics import BandStatistics


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
        if self.flips:
            vertical, horizontal = rng.integers(2, size=2)
            pixels, labels = (a[:: 1 - 2 * vertical, :: 1 - 2 * horizontal] for a in (pixels, labels))
        if self.quarter_turns:
            turns = int(rng.integers(4))
            pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
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
        if (factor != 1).any() or shift.any():
            pixels = pixels * factor.astype(np.float32) + shift.astype(np.float32)
        if self.noise:
            pixels = pixels + rng.standard_normal(pixels.shape, np.float32) * (self.noise * statistics.std).astype(
                np.float32
            )
        return np.ascontiguousarray(pixels), np.ascontiguousarray(labels)


def resize(pixels: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample a square patch to `size`: pixels (s, s, C) bilinearly, labels (s, s) by nearest neighbour.

    Pixel centres are aligned; a result that touches an invalid (NaN) pixel is invalid.
    """
    source = len(pixels)
    centre = (np.arange(size) + 0.5) * source / size - 0.5
    low = np.clip(np.floor(centre).astype(int), 0, source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = np.clip(centre - low, 0, 1).astype(np.float32)[:, None, None]
    pixels = pixels[low] * (1 - weight) + pixels[high] * weight
    pixels = pixels[:, low] * (1 - weight[:, 0]) + pixels[:, high] * weight[:, 0]
    nearest = np.minimum((np.arange(size) + 0.5) * source / size, source - 1).astype(int)
    return pixels, labels[np.ix_(nearest, nearest)]
