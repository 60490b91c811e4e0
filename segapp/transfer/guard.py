"""The guard: candidates are scored on validation pixels, and a better one replaces the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.inference.predictor import Predictor
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_TILE = 64
_RESAMPLES = 500


class PseudoLabelledScene:
    """A scene whose labels, where it has none, are what the base says, as far as that is one of `classes`.

    Judged on it, a network that forgets classes which the new labels do not show loses agreement with the base.
    """

    def __init__(self, scene: Scene, base: Predictor, classes: np.ndarray) -> None:
        """`classes` (n,) are network indexes of `base`'s own output."""
        self.name, self.path, self.shape, self.georeference = scene.name, scene.path, scene.shape, scene.georeference
        self.bands, self.labelled = scene.bands, True
        self.read, self.valid, self.read_label_ids = scene.read, scene.valid, scene.read_label_ids
        labels = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        if scene.labelled:
            labels = scene.read_labels(whole(scene.shape)).copy()
        if (labels == IGNORED_INDEX).any():
            said = base.class_map(scene)
            labels = np.where((labels == IGNORED_INDEX) & np.isin(said, classes), said, labels)
        self._labels = labels

    def read_labels(self, window: Window) -> np.ndarray:
        """(h, w) uint8 network indexes."""
        return self._labels[window.slices]


def tile_counts(predictor: Predictor, scenes: Sequence[Scene], classes: ClassTable) -> np.ndarray:
    """(T, K, K) int64 confusion counts of tiles of 64 pixels; tiles without a scored pixel are left out."""
    counts = [np.empty((0, len(classes), len(classes)), np.int64)]
    for scene in scenes:
        found = predictor.class_map(scene)
        for tile in grid(whole(scene.shape), _TILE, _TILE):
            matrix = ConfusionMatrix.of(classes, scene.read_labels(tile), found[tile.slices]).counts
            if matrix.any():
                counts.append(matrix[np.newaxis])
    return np.concatenate(counts)


@dataclass(frozen=True)
class Candidate:
    """A model that may be written: the name of its phase and its tiles' confusion counts (T, K, K)."""

    name: str
    counts: np.ndarray

    def scores(self, classes: ClassTable) -> ConfusionMatrix:
        """The confusion matrix of all tiles."""
        return ConfusionMatrix(classes, self.counts.sum(axis=0))


def is_significantly_better(
    candidate: Candidate, best: Candidate, sure: float, gain: float = 0.0, seed: int = 0
) -> bool:
    """Whether the candidate's accuracy plus mean IoU is higher by `gain` in the share `sure` of bootstrap resamples.

    Tiles are resampled in pairs (Efron and Tibshirani 1993): with few tiles, or a gain made in one place only, the
    best stays where much is required. One that gives no class where the other does, since its training diverged, loses.
    """
    judged, scored_of_best = candidate.counts.sum(), best.counts.sum()
    if judged != scored_of_best:
        return bool(judged > scored_of_best)
    if not len(best.counts):
        return False
    rng = np.random.default_rng(seed)
    tiles = len(best.counts)
    wins = 0
    for _ in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(tiles, size=tiles), minlength=tiles)
        ours, theirs = (np.tensordot(drawn, c.counts, 1) for c in (candidate, best))
        wins += _score(ours) > _score(theirs) + gain
    return wins >= sure * _RESAMPLES


def _score(counts: np.ndarray) -> float:
    """Global accuracy plus mean IoU of confusion counts (K, K)."""
    hits, reference, predicted = np.diagonal(counts), counts.sum(1), counts.sum(0)
    present = reference > 0
    iou = hits[present] / (reference + predicted - hits)[present]
    return float(hits.sum() / counts.sum() + iou.mean())
