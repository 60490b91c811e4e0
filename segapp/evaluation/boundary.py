"""Boundary F1: whether the outlines of the predicted classes lie where the reference has them."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from segapp.evaluation.confusion import scored_pixels
from segapp.windows import grid, whole

_TOLERANCE_SHARE = 0.0075  # of the image diagonal, as in MATLAB's bfscore


def boundary_f1(
    reference: np.ndarray, prediction: np.ndarray, classes: int, *, tolerance: float | None = None, tile: int = 1024
) -> np.ndarray:
    """The boundary F1 of each class in one image, (K,) float64 for K = `classes`.

    Both maps are (H, W) uint8 network indexes. A class's boundary is made of its pixels that touch, by an edge, a
    pixel of another class; the edge of the image and pixels without a score (`IGNORED_INDEX` in either map) make no
    boundary. Precision is the share of the predicted boundary that lies within `tolerance` pixels of the reference
    boundary, recall the reverse; `tolerance` is 0.75 % of the image diagonal unless given. A class is NaN when it is
    absent from the reference or has a boundary in neither map, and 0 when it has one in only one of them.

    Csurka, Larlus, Perronnin and Meylan, "What is a good evaluation measure for semantic segmentation?", BMVC 2013;
    MATLAB's ``bfscore``. Memory beyond the two maps is bounded: the work is done in tiles of `tile` pixels, with
    margins that make the result the same as without tiles.
    """
    scored = scored_pixels(reference, prediction)
    if tolerance is None:
        tolerance = _TOLERANCE_SHARE * math.hypot(*reference.shape)
    margin = math.floor(tolerance) + 1  # one more: whether a pixel is boundary depends on its neighbours
    extent = whole((reference.shape[0], reference.shape[1]))
    lengths = np.zeros((2, classes), np.int64)
    matches = np.zeros((2, classes), np.int64)
    present = np.zeros(classes, bool)
    for core in grid(extent, tile, tile):
        around = core.grow(margin).intersect(extent)
        inside = core.relative_to(around).slices
        scored_here, maps = scored[around.slices], (reference[around.slices], prediction[around.slices])
        present |= _classes_in(maps[0][inside][scored_here[inside]], classes)
        held = [_classes_in(values[scored_here], classes) for values in maps]
        for index in np.flatnonzero(held[0] | held[1]):
            outlines = [_outline(values == index, scored_here) for values in maps]
            for side, (own, other) in enumerate((outlines, outlines[::-1])):
                own_core = own[inside]
                lengths[side, index] += own_core.sum()
                if own_core.any() and other.any():
                    near = ndimage.distance_transform_edt(~other)[inside] <= tolerance
                    matches[side, index] += (own_core & near).sum()
    # F1 = 2 P R / (P + R) with P, R = matches / lengths, written so that a missing boundary gives 0.
    recall, precision = matches / np.maximum(lengths, 1)
    total = recall + precision
    score = np.divide(2 * recall * precision, total, out=np.zeros(classes), where=total > 0)
    score[~present | (lengths.sum(axis=0) == 0)] = np.nan
    return score


def _classes_in(indexes: np.ndarray, classes: int) -> np.ndarray:
    """(K,) bool: which classes occur among `indexes`."""
    return np.bincount(indexes.ravel(), minlength=classes)[:classes] > 0


def _outline(inside: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """(h, w) bool: scored pixels `inside` a class with a scored pixel outside it above, below, left or right."""
    return inside & scored & ndimage.binary_dilation(scored & ~inside)
