"""Linear discriminants of the new bands, for data that shares no band with the base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from segapp.classes import IGNORED_INDEX
from segapp.data.statistics import spread_tiles
from segapp.model.model_spec import Normalization
from segapp.model.second_moments import standardized
from segapp.scenes.scene import Scene

_RIDGE = 1e-3
"""Of the bands' mean size."""
_LEAST = 1e-6
"""What a principal component's size counts beside how far it takes classes apart: enough to put these in order."""


def discriminants(normalization: Normalization, scenes: Sequence[Scene], classes: int, count: int) -> np.ndarray:
    """Weights (C, count) float64 that make standardised bands such mixtures as tell the classes of labels apart.

    Fisher's linear discriminants (Fisher 1936; Rao 1948) of the scenes' labelled, valid pixels, the one first whose
    classes lie farthest apart. There is one less of them than classes; principal components of what they leave follow.
    But for a small ridge all are uncorrelated and of size 1, and zero where the bands hold fewer than `count`.
    """
    bands = len(normalization.mean)
    pixels_of, sums, second_moments = np.zeros(classes), np.zeros((classes, bands)), np.zeros((bands, bands))
    for scene in scenes:
        for tile in spread_tiles(scene.shape):
            pixels, labels = scene.read(tile), scene.read_labels(tile)
            taken = (labels != IGNORED_INDEX) & ~np.isnan(pixels[..., 0])
            pixels = standardized(pixels[taken], normalization)
            second_moments += pixels.T @ pixels
            for index in np.unique(labels[taken]):
                pixels_of[index] += np.count_nonzero(labels[taken] == index)
                sums[index] += pixels[labels[taken] == index].sum(axis=0)
    number = max(pixels_of.sum(), 1)
    centre = sums.sum(axis=0) / number
    total = second_moments / number - np.outer(centre, centre)
    apart = sums / np.maximum(pixels_of, 1)[:, np.newaxis] - centre
    between = (apart.T * pixels_of / number) @ apart
    size = np.trace(total)
    if not size > 0:
        return np.zeros((bands, count))
    # Without a ridge the noise of bands that go together would separate a few labelled pixels.
    ridged = total + _RIDGE * size / bands * np.eye(bands)
    _, axes = eigh(between + _LEAST * total @ total / size, ridged)
    axes = axes[:, ::-1][:, :count]
    axes = axes * np.where(axes.sum(axis=0) < 0, -1.0, 1.0)
    held = ((axes.T @ total) * axes.T).sum(axis=1) > 1 / 2  # of size 1; the rest is the ridge's
    weights = np.zeros((bands, count))
    weights[:, : axes.shape[1]] = axes * held
    return weights


def colouring(second_moments: np.ndarray) -> np.ndarray:
    """Weights (C, C) float64 that give uncorrelated values of variance 1 the `second_moments` (C, C) of other bands.

    The first runs along the bands' principal axis, the next along the second, so that `discriminants` look to a network
    like the bands it was trained on (Sun, Feng and Saenko 2016, arXiv 1511.05547).
    """
    sizes, axes = np.linalg.eigh(second_moments)  # in rising order
    axes = axes * np.where(axes.sum(axis=0) < 0, -1.0, 1.0)
    return (axes * np.sqrt(np.maximum(sizes, 0)))[:, ::-1].T
