"""The guard: on which pixels a transfer is judged, and which candidate wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.inference.predictor import Predictor
from segapp.scenes.blocks import Block
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_HELD_OUT = 0.2
_WHOLE_PLACES_FROM = 5
_GAP = 8
_TILE = 64
_RESAMPLES = 500


def hold_out(scenes: Sequence[Scene], groups: Mapping[str, str] | None = None) -> tuple[list[Scene], list[Scene]]:
    """Part training scenes into those to train on, and a fifth to validate on that lies apart from them.

    `groups` says of scenes, by name, which place they show; those without stand for themselves. Of five places and
    more, every fifth is held out whole. Of fewer, an end of each scene that has a fifth of its labels, 8 pixels away
    from the rest: the end at which most classes are on both sides, since a guard that sees one class sees nothing.
    """
    places = [(groups or {}).get(scene.name, number) for number, scene in enumerate(scenes)]
    distinct = list(dict.fromkeys(places))
    if len(distinct) >= _WHOLE_PLACES_FROM:
        held = set(distinct[_WHOLE_PLACES_FROM // 2 :: _WHOLE_PLACES_FROM])
        parts: tuple[list[Scene], list[Scene]] = ([], [])
        for scene, place in zip(scenes, places, strict=True):
            parts[place in held].append(scene)
        return parts
    train: list[Scene] = []
    val: list[Scene] = []
    for scene in scenes:
        labels = scene.read_labels(whole(scene.shape))

        def classes_in(window: Window, labels: np.ndarray = labels) -> set[int]:
            return set(np.unique(labels[window.slices]).tolist()) - {IGNORED_INDEX}

        rest, end = max(_ends(labels != IGNORED_INDEX), key=lambda p: len(classes_in(p[0]) & classes_in(p[1])))
        train.append(Block(scene, rest))
        val.append(Block(scene, end))
    return train, val


def _ends(labelled: np.ndarray) -> list[tuple[Window, Window]]:
    """The rest and the end, for each of the four ends of a scene, (H, W) bool, that hold a fifth of its labels.

    Those come first that lie along the way on which the labels reach farther, and the far end before the near one.
    """
    height, width = labelled.shape
    if not labelled.any():
        labelled = np.ones_like(labelled)
    pairs = []
    reach = [np.ptp(np.flatnonzero(labelled.any(axis=1 - axis))) for axis in (0, 1)]
    for axis in (0, 1) if reach[0] >= reach[1] else (1, 0):
        before = np.cumsum(labelled.sum(axis=1 - axis))
        size = labelled.shape[axis]
        far = max(_GAP + 1, int(np.searchsorted(before, (1 - _HELD_OUT) * before[-1])) + 1)
        near = min(size - _GAP - 1, int(np.searchsorted(before, _HELD_OUT * before[-1])))
        for rest, end in (((0, far - _GAP), (far, size)), ((near + _GAP, size), (0, near))):
            spans = [rest, end]
            windows = [Window(a, 0, b - a, width) if axis == 0 else Window(0, a, height, b - a) for a, b in spans]
            if not any(window.empty for window in windows):
                pairs.append((windows[0], windows[1]))
    return pairs


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


def is_significantly_better(candidate: Candidate, best: Candidate, sure: float, seed: int = 0) -> bool:
    """Whether the candidate's gain in accuracy and mean IoU together is more than luck of the draw.

    It must show in the share `sure` of paired bootstrap resamples of the tiles (Efron and Tibshirani 1993): with few
    tiles, or a gain made in one place only, the best stays where much is asked. One that gives no class where the
    other does, since its training diverged, loses.
    """
    judged, scored_of_best = candidate.counts.sum(), best.counts.sum()
    if judged != scored_of_best:
        return bool(judged > scored_of_best)
    if not len(best.counts) or _score(candidate.counts.sum(0)) <= _score(best.counts.sum(0)):
        return False
    rng = np.random.default_rng(seed)
    tiles = len(best.counts)
    wins = 0
    for _ in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(tiles, size=tiles), minlength=tiles)
        ours, theirs = (np.tensordot(drawn, c.counts, 1) for c in (candidate, best))
        wins += _score(ours) > _score(theirs)
    return wins >= sure * _RESAMPLES


def _score(counts: np.ndarray) -> float:
    """Global accuracy plus mean IoU of confusion counts (K, K)."""
    hits, reference, predicted = np.diagonal(counts), counts.sum(1), counts.sum(0)
    present = reference > 0
    iou = hits[present] / (reference + predicted - hits)[present]
    return float(hits.sum() / counts.sum() + iou.mean())
