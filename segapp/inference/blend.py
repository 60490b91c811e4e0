"""Overlapping windows joined without seams: for networks that see the whole image, or more than a tile can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from segapp.windows import Window

_SPREAD = 1 / 8
_LEAST = 1e-3
"""A window's corner counts at least so much beside its centre."""


def blend(pieces: Iterable[tuple[Window, np.ndarray]], wanted: Window) -> Iterator[tuple[Window, np.ndarray]]:
    """The weighted mean of overlapping windows and their class probabilities, (h, w, K) with NaN where there is none.

    The windows come row by row and cover `wanted`; they may reach beyond it. A window's middle counts most: the weight
    is a Gaussian whose standard deviation is an eighth of the window's side, as in nnU-Net (Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z). Yields windows as wide as `wanted`, from top to bottom, as soon as no later piece
    reaches them: only a strip as high as a window is held.
    """
    top = wanted.row
    total = weights = None
    for window, probabilities in pieces:
        if total is None or weights is None:
            total = np.zeros((window.height, wanted.width, probabilities.shape[-1]), np.float32)
            weights = np.zeros(total.shape[:2], np.float32)
        if window.row > top:
            rows = window.row - top
            yield Window(top, wanted.col, rows, wanted.width), _mean(total[:rows], weights[:rows])
            _roll(total, rows)
            _roll(weights, rows)
            top = window.row
        part = window.intersect(wanted)
        place, source = part.shift(-top, -wanted.col).slices, part.relative_to(window).slices
        weight = _gaussian(window.shape)[source]
        known = ~np.isnan(probabilities[source][..., 0])
        weights[place] += np.where(known, weight, 0)
        total[place] += np.where(known[..., None], weight[..., None] * probabilities[source], 0)
    if total is not None and weights is not None:
        rest = wanted.row_stop - top
        yield Window(top, wanted.col, rest, wanted.width), _mean(total[:rest], weights[:rest], out=total[:rest])


def _mean(total: np.ndarray, weights: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.divide(total, weights[..., None], out=out)


def _roll(strip: np.ndarray, rows: int) -> None:
    """Move a strip up by `rows`; what comes in below is 0."""
    flat = strip.reshape(-1)  # a view; NumPy moves overlapping parts of a single axis without a copy
    moved = rows * strip[0].size
    flat[:-moved] = flat[moved:]
    flat[-moved:] = 0


def _gaussian(shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32, 1 in the middle."""
    along = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n * _SPREAD)) ** 2) for n in shape]
    return np.maximum(np.outer(*along), _LEAST).astype(np.float32)
