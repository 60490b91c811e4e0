"""The head fitted on the frozen network's features of this transfer's labelled pixels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from segapp.patches.sampling import ClassPositions, find_class_positions
from segapp.scenes.scene import Scene
from segapp.transfer.features import sample_features
from segapp.transfer.head import FittedHead, Teacher, choose_penalty, fit_head
from segapp.transfer.scenes import Split
from segapp.transfer.transfer import Transfer

HEAD_PIXELS = 20_000
"""Pixels that a head is fitted on."""


def fit_on_features(
    transfer: Transfer,
    split: Split,
    network: keras.Model,
    start: tuple[np.ndarray, np.ndarray],
    uncertainty: np.ndarray,
    seed: int,
    penalty: float | None = None,
) -> FittedHead:
    """Fit the head of `network` from the weights (D, K) and biases (K,) `start`.

    Validation pixels of the split choose the penalty where it is not given. `uncertainty` (K,) are the weights of
    `segapp.transfer.distillation.uncertainty_weights`.
    """
    classes, head = transfer.classes, transfer.spec.head

    def sample(scenes: Sequence[Scene], positions: ClassPositions) -> tuple[np.ndarray, np.ndarray]:
        balance = transfer.strategy.sampling.balance
        return sample_features(network, head, scenes, positions, HEAD_PIXELS, balance, seed)

    features, labels = sample(split.train, split.positions)
    weights, bias = start
    teacher = None
    if transfer.distils:
        known = np.flatnonzero(classes.shared)
        weight = transfer.strategy.distillation
        logits = (features @ weights + bias)[:, known]
        absent = (classes.shared & ~classes.present).any()
        teacher = Teacher(logits, known, weight if absent else 0.0, weight * uncertainty[known])
    if penalty is not None:
        return FittedHead(*fit_head(features, labels, weights, bias, penalty, teacher), penalty, ())
    val_positions = find_class_positions(split.val, len(transfer.dataset.classes), seed)
    return choose_penalty(features, labels, weights, bias, *sample(split.val, val_positions), teacher)
