"""Losses are means over the labelled pixels, weighted as their papers say."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.training.losses import class_weights, make_loss
from segapp.training.recipe import LossConfig

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 5, 6, 4)).astype(np.float32)
LABELS = RNG.integers(3, size=(2, 5, 6)).astype(np.uint8)  # class 3 is absent
LABELS[0, :2] = IGNORED_INDEX
KNOWN = LABELS != IGNORED_INDEX
NLL = -np.take_along_axis(log_softmax(LOGITS[KNOWN].astype(np.float64), -1), LABELS[KNOWN][:, None].astype(int), -1)[
    :, 0
]
ONES = np.ones(4, np.float32)


def _loss(config: LossConfig, weights: np.ndarray = ONES, labels: np.ndarray = LABELS) -> float:
    return float(make_loss(config, weights)(tf.constant(LOGITS), tf.constant(labels)))


def test_cross_entropy_is_the_mean_over_labelled_pixels() -> None:
    assert _loss(LossConfig()) == pytest.approx(NLL.mean(), rel=1e-5)


def test_class_weights_weigh_the_mean() -> None:
    weights = np.array([1, 2, 5, 0], np.float32)
    per_pixel = weights[LABELS[KNOWN]]
    assert _loss(LossConfig(), weights) == pytest.approx((per_pixel * NLL).sum() / per_pixel.sum(), rel=1e-5)


def test_focal_loss_plays_down_easy_pixels() -> None:
    expected = ((1 - np.exp(-NLL)) ** 2 * NLL).mean()
    assert _loss(LossConfig(cross_entropy=0, focal=1, focal_gamma=2)) == pytest.approx(expected, rel=1e-5)


def test_dice_is_the_mean_over_the_classes_of_the_batch() -> None:
    probability = softmax(LOGITS[KNOWN], -1)
    reference = np.eye(4)[LABELS[KNOWN]]
    score = 2 * (probability * reference).sum(0) / (probability.sum(0) + reference.sum(0))
    assert _loss(LossConfig(cross_entropy=0, dice=1)) == pytest.approx(1 - score[:3].mean(), rel=1e-5)


def test_terms_add_up() -> None:
    parts = [_loss(LossConfig(cross_entropy=0, dice=1)), _loss(LossConfig(cross_entropy=0, focal=1)), NLL.mean()]
    assert _loss(LossConfig(cross_entropy=2, dice=3, focal=0.5)) == pytest.approx(
        3 * parts[0] + 0.5 * parts[1] + 2 * parts[2], rel=1e-5
    )


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(cross_entropy=0, dice=1)])
def test_ignored_pixels_send_no_gradient(config: LossConfig) -> None:
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss = make_loss(config, ONES)(logits, tf.constant(LABELS))
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[~KNOWN].any() and gradient[KNOWN].any()


def test_a_batch_without_any_label_costs_nothing() -> None:
    nothing = np.full_like(LABELS, IGNORED_INDEX)
    assert _loss(LossConfig(dice=1), labels=nothing) == pytest.approx(1.0)


DECIDED = np.array([True, False, True, True])
"""Labels say nothing of class 1."""


def _labels_without_class_1() -> np.ndarray:
    return np.where(LABELS == 1, IGNORED_INDEX, LABELS).astype(np.uint8)


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(cross_entropy=0, dice=1), LossConfig(focal=0.5)])
def test_labels_decide_among_the_classes_they_can_show_as_if_there_were_no_other(config: LossConfig) -> None:
    labels = _labels_without_class_1()
    found = make_loss(config, ONES, DECIDED)(tf.constant(LOGITS), tf.constant(labels))
    renumbered = np.array([0, 255, 1, 2], np.uint8)[np.minimum(labels, 3)]
    alone = np.where(labels == IGNORED_INDEX, np.uint8(IGNORED_INDEX), renumbered)
    expected = make_loss(config, ONES[:3])(tf.constant(LOGITS[..., DECIDED]), tf.constant(alone))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(found) != pytest.approx(_loss(config, labels=labels), rel=1e-2)


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(cross_entropy=0, dice=1)])
def test_classes_that_labels_cannot_show_get_no_gradient(config: LossConfig) -> None:
    logits = tf.Variable(LOGITS)
    labels = _labels_without_class_1()
    with tf.GradientTape() as tape:
        loss = make_loss(config, ONES, DECIDED)(logits, tf.constant(labels))
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[..., 1].any() and gradient[labels != IGNORED_INDEX][:, [0, 2, 3]].all()


def test_a_loss_without_terms_is_refused() -> None:
    with pytest.raises(InputError, match="cross_entropy, dice or focal"):
        make_loss(LossConfig(cross_entropy=0), ONES)


def test_inverse_and_median_frequency_weights() -> None:
    share = np.array([0.5, 0.3, 0.2, 0.0])
    inverse = class_weights(LossConfig(class_weights="inverse"), share)
    median = class_weights(LossConfig(class_weights="median"), share)
    np.testing.assert_allclose(inverse[:3] * share[:3], inverse[0] * share[0], rtol=1e-5)
    np.testing.assert_allclose(inverse, median, rtol=1e-5)
    assert inverse[3] == 0
    assert (inverse * share).sum() == pytest.approx(1)
    gentle = class_weights(LossConfig(class_weights="inverse", class_weight_power=0.5), share)
    np.testing.assert_allclose(gentle[0] / gentle[2], np.sqrt(inverse[0] / inverse[2]), rtol=1e-5)
