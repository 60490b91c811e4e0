"""Mean, spread and range of each band over the valid pixels of scenes of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.errors import InputError
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_TILE = 512
_TILES_PER_SCENE = 64


class RunningStatistics:
    """Statistics of (n, bands) pixels that come in parts.

    Parts are merged as in Chan, Golub and LeVeque (1983), which stays exact where sums of squares do not.
    """

    def __init__(self, bands: int) -> None:
        self.pixels = 0
        self.minimum = np.full(bands, np.inf)
        self.maximum = np.full(bands, -np.inf)
        self.mean = np.zeros(bands)
        self._squares = np.zeros(bands)  # sum of squared distances from the mean

    def add(self, pixels: np.ndarray) -> None:
        """Take in the valid ones of (..., bands) float pixels; those with NaN in the first band are left out."""
        pixels = pixels[~np.isnan(pixels[..., 0])].astype(np.float64)
        if not len(pixels):
            return
        mean = pixels.mean(axis=0)
        total = self.pixels + len(pixels)
        distance = mean - self.mean
        self._squares += ((pixels - mean) ** 2).sum(axis=0) + distance**2 * self.pixels * len(pixels) / total
        self.mean = self.mean + distance * len(pixels) / total
        self.minimum = np.minimum(self.minimum, pixels.min(axis=0))
        self.maximum = np.maximum(self.maximum, pixels.max(axis=0))
        self.pixels = total

    def merge(self, other: RunningStatistics) -> None:
        """Take in all pixels that `other` took in."""
        if not other.pixels:
            return
        total, distance = self.pixels + other.pixels, other.mean - self.mean
        self._squares += other._squares + distance**2 * self.pixels * other.pixels / total
        self.mean = self.mean + distance * other.pixels / total
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.pixels = total

    @property
    def std(self) -> np.ndarray:
        """(bands,) standard deviation; 0 before any pixel came in."""
        return np.sqrt(self._squares / max(1, self.pixels))


@dataclass(frozen=True)
class BandStatistics:
    """(C,) float64 mean and standard deviation of each band in its own units, over `pixels` valid pixels."""

    mean: np.ndarray
    std: np.ndarray
    pixels: int


def band_statistics(scenes: Sequence[Scene]) -> BandStatistics:
    """Stream over the scenes by tiles; of a scene with more than 64 tiles of 512 pixels, 64 evenly spread ones count.

    A constant band has the standard deviation 1, so that it can be divided by. Raises InputError if no pixel is valid.
    """
    running = RunningStatistics(len(scenes[0].bands))
    for scene in scenes:
        for tile in spread_tiles(scene.shape):
            running.add(scene.read(tile))
    if not running.pixels:
        raise InputError(
            f"{scenes[0].path}: no valid pixel in any training scene; check nodata, mask and quality rules"
        )
    return BandStatistics(running.mean, np.where(running.std > 0, running.std, 1.0), running.pixels)


def spread_tiles(shape: tuple[int, int]) -> list[Window]:
    """The tiles of 512 pixels of a scene (H, W); of more than 64, 64 evenly spread ones."""
    tiles = list(grid(whole(shape), _TILE, _TILE))
    if len(tiles) <= _TILES_PER_SCENE:
        return tiles
    return [tiles[i] for i in np.linspace(0, len(tiles) - 1, _TILES_PER_SCENE).astype(int)]
