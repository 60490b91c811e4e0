"""The confusion matrix, and every score that is read off it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.windows import grid, whole

_TILE = 1024  # pixels a side: pairs of indexes need 8 bytes a pixel, too much for a whole large scene


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts of pixels: `counts[r, p]`, (K, K) int64, have class `r` in the reference and class `p` in the prediction.

    Matrices of several scenes are added with ``+``. Scores follow MATLAB's ``evaluateSemanticSegmentation``; a class
    without a reference pixel is absent: its scores are NaN, and means leave it out. What is predicted as an absent
    class still counts as an error of the class that it should have been.
    """

    classes: ClassTable
    counts: np.ndarray

    @classmethod
    def empty(cls, classes: ClassTable) -> ConfusionMatrix:
        """The matrix of no pixels."""
        return cls(classes, np.zeros((len(classes), len(classes)), np.int64))

    @classmethod
    def of(cls, classes: ClassTable, reference: np.ndarray, prediction: np.ndarray) -> ConfusionMatrix:
        """Count two maps of network indexes, both (H, W) uint8.

        Pixels that are `IGNORED_INDEX` in either map carry no score: no label, or no image data to predict from.
        Raises ValueError when the shapes differ or an index is no class.
        """
        scored = scored_pixels(reference, prediction)
        size = len(classes)
        flat = np.zeros(256 * 256, np.int64)
        for tile in grid(whole((scored.shape[0], scored.shape[1])), _TILE, _TILE):
            here = scored[tile.slices]
            pairs = reference[tile.slices][here] * np.intp(256) + prediction[tile.slices][here]
            flat += np.bincount(pairs, minlength=flat.size)
        counts = flat.reshape(256, 256)
        if counts[size:].any() or counts[:, size:].any():
            raise ValueError(f"the maps hold indexes past the {size} classes")
        return cls(classes, counts[:size, :size])

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if self.classes != other.classes:
            raise ValueError("matrices of different class tables cannot be added")
        return ConfusionMatrix(self.classes, self.counts + other.counts)

    @property
    def pixels(self) -> np.ndarray:
        """(K,) int64: reference pixels of each class."""
        return self.counts.sum(axis=1)

    @property
    def present(self) -> np.ndarray:
        """(K,) bool: whether the reference holds the class."""
        return self.pixels > 0

    @property
    def absent(self) -> list[str]:
        """Names of the classes without a reference pixel."""
        return [name for name, here in zip(self.classes.names, self.present, strict=True) if not here]

    @property
    def accuracy(self) -> np.ndarray:
        """(K,) share of each class's reference pixels that were found: TP / (TP + FN), also called recall."""
        return self._scores(self._hits, self.pixels)

    @property
    def precision(self) -> np.ndarray:
        """(K,) share of the pixels predicted as a class that are right: TP / (TP + FP); NaN if none was predicted."""
        return self._scores(self._hits, self._predicted)

    @property
    def iou(self) -> np.ndarray:
        """(K,) intersection over union: TP / (TP + FP + FN), also called the Jaccard index."""
        return self._scores(self._hits, self.pixels + self._predicted - self._hits)

    @property
    def f1(self) -> np.ndarray:
        """(K,) harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN), also called the Dice score."""
        return self._scores(2 * self._hits, self.pixels + self._predicted)

    @property
    def global_accuracy(self) -> float:
        """Share of all scored pixels that are right."""
        return _ratio(self._hits.sum(), self.counts.sum())

    @property
    def mean_accuracy(self) -> float:
        """Mean of the present classes' accuracy."""
        return mean_of_known(self.accuracy)

    @property
    def mean_iou(self) -> float:
        """Mean of the present classes' intersection over union."""
        return mean_of_known(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean of the present classes' F1."""
        return mean_of_known(self.f1)

    @property
    def weighted_iou(self) -> float:
        """Mean intersection over union, each class weighted by its reference pixels."""
        return _ratio(np.nansum(self.iou * self.pixels), self.counts.sum())

    @property
    def kappa(self) -> float:
        """Cohen's kappa (1960): agreement beyond what the class shares alone would give; NaN if those agree fully."""
        total = float(self.counts.sum())
        by_chance = _ratio((self.pixels.astype(float) * self._predicted).sum(), total**2)
        return _ratio(self.global_accuracy - by_chance, 1 - by_chance)

    @property
    def _hits(self) -> np.ndarray:
        return np.diagonal(self.counts)

    @property
    def _predicted(self) -> np.ndarray:
        return self.counts.sum(axis=0)

    def _scores(self, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
        """(K,) ratios; NaN for absent classes and where nothing was counted."""
        known = self.present & (denominator > 0)
        return np.divide(numerator, denominator, out=np.full(len(self.counts), np.nan), where=known)


def scored_pixels(reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that are `IGNORED_INDEX` in neither map. Raises ValueError when the shapes differ."""
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    return (reference != IGNORED_INDEX) & (prediction != IGNORED_INDEX)


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the entries that are not NaN; NaN when there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")
