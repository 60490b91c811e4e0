"""Second moments of standardized bands over the training pixels, by which one band is estimated from others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.data.statistics import spread_tiles
from segapp.model.model_spec import Normalization
from segapp.nets.blocks import input_normalization
from segapp.scenes.scene import Scene


def band_second_moments(normalization: Normalization, scenes: Sequence[Scene]) -> np.ndarray:
    """Second moments (C, C) float64 of the standardized bands, over the scenes' valid pixels.

    Taken over the tiles that band statistics are taken over. Zero is a band's centre, so these are its covariances
    where the network standardises values, and about that where it standardises logarithms.
    """
    number, second_moments = 0, np.zeros((len(normalization.mean), len(normalization.mean)))
    for scene in scenes:
        for tile in spread_tiles(scene.shape):
            pixels = scene.read(tile)
            pixels = standardized(pixels[~np.isnan(pixels[..., 0])], normalization)
            number += len(pixels)
            second_moments += pixels.T @ pixels
    return second_moments / max(number, 1)


def standardized(pixels: np.ndarray, normalization: Normalization) -> np.ndarray:
    """(n, C) pixels as a network standardises them, float64."""
    mean, std = np.array(normalization.mean), np.array(normalization.std)
    return np.asarray(input_normalization(pixels, mean, std, normalization.logarithm), np.float64)
