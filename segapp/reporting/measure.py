"""One pass over labelled scenes that measures scores, calibration, areas, and the scores of patches."""

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
"""The largest side of a patch, in pixels."""


@dataclass(frozen=True)
class Patch:
    """A window of the scene with this number, its scored `pixels`, and its scores."""

    scene: int
    window: Window
    pixels: int
    accuracy: float
    mean_iou: float


@dataclass(frozen=True, eq=False)
class Measurement:
    """The scores of a network on labelled scenes.

    `hectares` (2, K) is the area of each class over the scored pixels, by reference and by prediction; None where the
    pixel size of a scene is unknown.
    """

    scores: Scores
    reliability: Reliability
    hectares: np.ndarray | None
    patches: tuple[Patch, ...]


def measure(
    predictor: Predictor,
    scenes: Sequence[Scene],
    classes: ClassTable,
    remap: np.ndarray | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Measurement:
    """Predict each scene once and compare it with its labels; the scores equal those of `segapp evaluate`.

    `remap` (256,) uint8 maps the indexes of a network with other classes to those of `classes`. `advance` is called
    after each scene. Memory: 2 bytes per pixel of one scene.
    """
    evaluation, calibration = Evaluation(classes, compute_precision=predictor.precision), Calibration()
    patches: list[Patch] = []
    hectares: np.ndarray | None = np.zeros((2, len(classes)))
    for number, scene in enumerate(scenes):
        reference = scene.read_labels(whole(scene.shape))
        prediction = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        for window, probabilities in predictor.probabilities(scene):
            indexes = predicted_indexes(probabilities, remap)
            prediction[window.slices] = indexes
            labels = reference[window.slices]
            scored = (labels != IGNORED_INDEX) & (indexes != IGNORED_INDEX)
            calibration.add(probabilities.max(axis=-1)[scored], indexes[scored] == labels[scored])
        evaluation.add(reference, prediction)
        by_row = hectares_by_row(scene.georeference, scene.shape)
        if hectares is not None:
            hectares = None if by_row is None else hectares + _areas(reference, prediction, by_row, len(classes))
        patches += _patches(number, classes, reference, prediction)
        advance()
    return Measurement(evaluation.scores(), calibration.reliability(), hectares, tuple(patches))


def _areas(reference: np.ndarray, prediction: np.ndarray, by_row: np.ndarray, classes: int) -> np.ndarray:
    """The area of each class over the scored pixels, by reference and by prediction: (2, K) in hectares."""
    scored = (reference != IGNORED_INDEX) & (prediction != IGNORED_INDEX)
    weights = np.broadcast_to(by_row[:, np.newaxis], scored.shape)[scored]
    return np.array([np.bincount(found[scored], weights, minlength=classes) for found in (reference, prediction)])


def predicted_indexes(probabilities: np.ndarray, remap: np.ndarray | None) -> np.ndarray:
    """The most probable classes (h, w) uint8 of probabilities (h, w, K), converted by `remap` (256,) if given."""
    indexes = most_probable(probabilities)
    return indexes if remap is None else remap[indexes]


def _patches(scene: int, classes: ClassTable, reference: np.ndarray, prediction: np.ndarray) -> Iterator[Patch]:
    """The patches of a scene with at least one scored pixel."""
    for window in split_evenly((reference.shape[0], reference.shape[1]), PATCH):
        matrix = ConfusionMatrix.of(classes, reference[window.slices], prediction[window.slices])
        pixels = int(matrix.counts.sum())
        if pixels:
            yield Patch(scene, window, pixels, matrix.global_accuracy, matrix.mean_iou)


def split_evenly(shape: tuple[int, int], most: int) -> Iterator[Window]:
    """Windows of nearly equal size, at most `most` pixels a side, that tile a scene of `shape` (H, W)."""
    rows, cols = (np.linspace(0, size, -(-size // most) + 1).astype(int).tolist() for size in shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            yield Window(top, left, bottom - top, right - left)
