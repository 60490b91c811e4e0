"""Second moments of the standardised bands over the training pixels, used to estimate one band from others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.data.statistics import spread_tiles
from segapp.model.model_spec import Normalization
from segapp.nets.blocks import input_normalization
from segapp.scenes.scene import Scene


def band_second_moments(normalization: Normalization, scenes: Sequence[Scene]) -> np.ndarray:
    """Second moments (C, C) float64 of the standardised bands, over valid pixels of the tiles of the band statistics.

    These are covariances where the network standardises values, and close to them where it standardises logarithms.
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
    """Pixels (n, C) in the bands' units, standardised as by the network's first layer, float64."""

    mean, std = np.array(normalization.mean), np.array(normalization.std)
    return np.asarray(input_normalization(pixels, mean, std, normalization.logarithm), np.float64)
