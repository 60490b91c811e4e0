"""One pass over labelled scenes that gathers all a report tells: scores, calibration, areas, and patches by score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.evaluation.report import Evaluation, Scores
from segapp.inference.predictor import Predictor, most_probable
from segapp.maps.pixel_area import hectares_by_row
from segapp.reporting.calibration import Calibration, Reliability
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole

PATCH = 128
"""Patches are at most so many pixels a side."""


@dataclass(frozen=True)
class Patch:
    """A part of the scene with this number, and how many of its `pixels` with a score are right."""

    scene: int
    window: Window
    pixels: int
    accuracy: float
    mean_iou: float


@dataclass(frozen=True, eq=False)
class Measured:
    """What a network does on labelled scenes.

    `hectares` is (2, K): the area of each class over the scored pixels, by reference and by prediction; None where a
    scene does not tell how large its pixels are.
    """

    scores: Scores
    reliability: Reliability
    hectares: np.ndarray | None
    patches: tuple[Patch, ...]


def measure(
    predictor: Predictor,
    scenes: Sequence[Scene],
    classes: ClassTable,
    renumbered: np.ndarray | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Measured:
    """Map each scene once and compare it with its labels; the scores are those of `segapp evaluate`.

    `renumbered`, (256,) uint8, says which of `classes` each index of another network's is. `advance` is called after
    each scene. Keeps one scene's maps at a time, 2 bytes a pixel, as an evaluation does.
    """
    evaluation, calibration = Evaluation(classes), Calibration()
    patches: list[Patch] = []
    hectares: np.ndarray | None = np.zeros((2, len(classes)))
    for number, scene in enumerate(scenes):
        reference = scene.read_labels(whole(scene.shape))
        prediction = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        for window, probabilities in predictor.probabilities(scene):
            found = classes_in(probabilities, renumbered)
            prediction[window.slices] = found
            labels = reference[window.slices]
            scored = (labels != IGNORED_INDEX) & (found != IGNORED_INDEX)
            calibration.add(probabilities.max(axis=-1)[scored], found[scored] == labels[scored])
        evaluation.add(reference, prediction)
        by_row = hectares_by_row(scene.georeference, scene.shape)
        if hectares is not None:
            hectares = None if by_row is None else hectares + _areas(reference, prediction, by_row, len(classes))
        patches += _patches(number, classes, reference, prediction)
        advance()
    return Measured(evaluation.scores(), calibration.reliability(), hectares, tuple(patches))


def _areas(reference: np.ndarray, prediction: np.ndarray, by_row: np.ndarray, classes: int) -> np.ndarray:
    """(2, K) hectares of each class over the scored pixels, by reference and by prediction."""
    scored = (reference != IGNORED_INDEX) & (prediction != IGNORED_INDEX)
    weights = np.broadcast_to(by_row[:, np.newaxis], scored.shape)[scored]
    return np.array([np.bincount(found[scored], weights, minlength=classes) for found in (reference, prediction)])


def classes_in(probabilities: np.ndarray, renumbered: np.ndarray | None) -> np.ndarray:
    """(h, w, K) probabilities to (h, w) uint8 network indexes, renumbered where another network's are meant."""
    found = most_probable(probabilities)
    return found if renumbered is None else renumbered[found]


def _patches(scene: int, classes: ClassTable, reference: np.ndarray, prediction: np.ndarray) -> Iterator[Patch]:
    """The patches of a scene that hold a pixel with a score."""
    for window in equal_parts((reference.shape[0], reference.shape[1]), PATCH):
        matrix = ConfusionMatrix.of(classes, reference[window.slices], prediction[window.slices])
        pixels = int(matrix.counts.sum())
        if pixels:
            yield Patch(scene, window, pixels, matrix.global_accuracy, matrix.mean_iou)


def equal_parts(shape: tuple[int, int], most: int) -> Iterator[Window]:
    """Windows of nearly equal size, `most` pixels a side at most, that tile a scene of `shape`."""
    rows, cols = (np.linspace(0, size, -(-size // most) + 1).astype(int).tolist() for size in shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            yield Window(top, left, bottom - top, right - left)
