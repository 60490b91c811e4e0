"""How good a network is on labelled scenes, while it trains and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.inference.predictor import Predictor, most_probable
from segapp.scenes.scene import Scene


@dataclass(frozen=True)
class Validation:
    """The mean cross entropy over labelled pixels, and the confusion matrix that holds all else."""

    loss: float
    matrix: ConfusionMatrix


def validate_on(predictor: Predictor, scenes: Sequence[Scene], classes: ClassTable) -> Validation:
    """Run the network over whole scenes, tile by tile; ignored and invalid pixels do not count."""
    matrix = ConfusionMatrix.empty(classes)
    total = 0.0
    for scene in scenes:
        for window, probabilities in predictor.probabilities(scene):
            labels = scene.read_labels(window)
            matrix += ConfusionMatrix.of(classes, labels, most_probable(probabilities))
            counted = (labels != IGNORED_INDEX) & ~np.isnan(probabilities[..., 0])
            right = np.take_along_axis(probabilities[counted], labels[counted][:, None].astype(int), -1)
            total -= float(np.log(np.maximum(right, 1e-12)).sum(dtype=np.float64))
    return Validation(total / max(1, int(matrix.counts.sum())), matrix)
