"""How bands go together over the training pixels: what predicts one from others, and what is common to many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.model_spec import Normalization
from segapp.nets.blocks import input_normalization
from segapp.patches.statistics import spread_tiles
from segapp.scenes.scene import Scene

_LEAST = 1e-6
"""The share of the first component's size below which another is rounding, and left out."""


def band_products(normalization: Normalization, scenes: Sequence[Scene]) -> np.ndarray:
    """Mean products (C, C) float64 of each two bands, as a network standardises them, over the scenes' valid pixels.

    Taken over the tiles that band statistics are taken over. Zero is a band's centre, so these are its covariances
    where the network standardises values, and about that where it standardises logarithms.
    """
    mean, std = np.array(normalization.mean), np.array(normalization.std)
    number, products = 0, np.zeros((len(mean), len(mean)))
    for scene in scenes:
        for tile in spread_tiles(scene.shape):
            pixels = scene.read(tile)
            pixels = pixels[~np.isnan(pixels[..., 0])]
            pixels = np.asarray(input_normalization(pixels, mean, std, normalization.logarithm), np.float64)
            number += len(pixels)
            products += pixels.T @ pixels
    return products / max(number, 1)


def principal_components(products: np.ndarray, count: int) -> np.ndarray:
    """Weights (C, count) float64 that make standardised bands with these `products` (C, C) principal components.

    They are uncorrelated, each of size 1, the one that holds most of the bands first (Hotelling 1933); zero where the
    bands hold fewer than `count`. The sign is such that a pixel bright in all bands is positive.
    """
    sizes, axes = np.linalg.eigh(products)  # in rising order
    sizes, axes = sizes[::-1], axes[:, ::-1]
    axes = axes * np.where(axes.sum(axis=0) < 0, -1.0, 1.0)
    weights = np.zeros((len(products), count))
    for index in range(min(weights.shape)):
        if sizes[index] > _LEAST * sizes[0] > 0:
            weights[:, index] = axes[:, index] / np.sqrt(sizes[index])
    return weights
