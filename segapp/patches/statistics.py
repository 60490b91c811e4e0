"""Mean and standard deviation of each band over the valid pixels of scenes of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.errors import InputError
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_TILE = 512
_TILES_PER_SCENE = 64


@dataclass(frozen=True)
class BandStatistics:
    """(C,) float64 mean and standard deviation of each band in its own units, over `pixels` valid pixels."""

    mean: np.ndarray
    std: np.ndarray
    pixels: int


def band_statistics(scenes: Sequence[Scene]) -> BandStatistics:
    """Stream over the scenes by tiles; of a scene with more than 64 tiles of 512 pixels, 64 evenly spread ones count.

    Partial results are merged as in Chan, Golub and LeVeque (1983), which stays exact where sums of squares do not.
    Raises InputError if no valid pixel is found.
    """
    count, mean, moment = 0, np.zeros(1), np.zeros(1)
    for scene in scenes:
        for window in _spread(list(grid(whole(scene.shape), _TILE, _TILE))):
            pixels = scene.read(window)
            pixels = pixels[np.isfinite(pixels[..., 0])].astype(np.float64)
            if not len(pixels):
                continue
            tile_mean = pixels.mean(0)
            delta = tile_mean - mean
            total = count + len(pixels)
            moment = moment + ((pixels - tile_mean) ** 2).sum(0) + delta**2 * count * len(pixels) / total
            mean = mean + delta * len(pixels) / total
            count = total
    if not count:
        raise InputError(
            f"{scenes[0].path}: no valid pixel in any training scene; check nodata, mask and quality rules"
        )
    std = np.sqrt(moment / count)
    return BandStatistics(mean, np.where(std > 0, std, 1.0), count)


def _spread(tiles: list[Window]) -> list[Window]:
    """At most 64 of `tiles`, evenly spread over the list."""
    if len(tiles) <= _TILES_PER_SCENE:
        return tiles
    return [tiles[i] for i in np.linspace(0, len(tiles) - 1, _TILES_PER_SCENE).astype(int)]
