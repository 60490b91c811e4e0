"""Calibration: whether the confidence of a network equals its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Pixels by the confidence of their prediction, in `BINS` equal intervals from 0 to 1; each array is (BINS,).

    `confidence` and `accuracy` are the means of each bin, NaN where a bin is empty. Guo, Pleiss, Sun and Weinberger,
    "On Calibration of Modern Neural Networks", ICML 2017.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over the bins, weighted by pixels."""
        return self._weighted_mean(np.abs(self.accuracy - self.confidence))

    @property
    def mean_confidence(self) -> float:
        """The mean confidence of all pixels."""
        return self._weighted_mean(self.confidence)

    def _weighted_mean(self, values: np.ndarray) -> float:
        filled = self.pixels > 0
        return float((values * self.pixels)[filled].sum() / self.pixels.sum()) if filled.any() else float("nan")


class Calibration:
    """Accumulates predictions piece by piece; stores three numbers per bin."""

    def __init__(self) -> None:
        self._pixels, self._correct = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)

    def add(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add pixels, both (N,): the largest probability, 0 to 1, and whether the prediction is correct."""
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        self._pixels += np.bincount(bins, minlength=BINS)
        self._correct += np.bincount(bins[correct], minlength=BINS)
        self._confidence += np.bincount(bins, weights=confidence, minlength=BINS)

    def reliability(self) -> Reliability:
        """The reliability of all pixels added so far."""
        with np.errstate(invalid="ignore"):
            return Reliability(self._pixels.copy(), self._confidence / self._pixels, self._correct / self._pixels)
