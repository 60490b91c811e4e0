"""What the base knew is kept: distillation where the new labels do not speak, and where they are few."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.training.losses import Distillation, global_sum

_PATCH = 64 * 64
"""Labelled pixels that count as one independent sample: neighbours say much the same."""
_TRUSTED = 20
"""Samples of a class whose labels together weigh as much as the base's prediction of it."""


def uncertainty_weights(labelled_pixels: np.ndarray) -> np.ndarray:
    """How much the base's predictions of each class weigh beside labels of so many pixels of it, (K,).

    As a prior beside its data: the less the more there are; 1 at 20 patches of 64 x 64. A class without labels is not
    uncertain but distilled: 0.
    """
    present = labelled_pixels > 0
    return np.where(present, _TRUSTED * _PATCH / np.maximum(labelled_pixels, 1), 0)


def distil(
    teacher: keras.Model, shared: np.ndarray, present: np.ndarray, weight: float, uncertainty: np.ndarray
) -> Distillation:
    """The divergence of the network's classes from the base's (Li and Hoiem 2016, arXiv 1606.09282), over the classes
    that carry over.

    `teacher` is the base with a head for the new classes; `shared` and `present`, (K,) bool, say which of them it knows
    and which the labels show. A label decides among the classes that labels show, so at labelled pixels the base is
    asked with `weight` only how probable these are together and each of the others by itself; at unlabelled pixels it
    is asked for every class. Everywhere it is asked with ``weight * uncertainty[k]``, (K,), whether
    it is class k or not:
    labels that show a class rarely are no reason to forget it.
    """
    logits_of = keras.Model(teacher.inputs, teacher.get_layer("softmax").input)
    known = np.flatnonzero(shared)
    unseen = tf.constant((shared & ~present)[known], tf.float32)
    uncertain = tf.constant(uncertainty[known], tf.float32)

    def distillation(images: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        expected = tf.nn.softmax(tf.gather(tf.stop_gradient(logits_of(images, training=False)), known, axis=-1))
        log_found = tf.nn.log_softmax(tf.gather(logits, known, axis=-1))
        found = tf.exp(log_found)
        by_class = expected * (_log(expected) - log_found)
        seen = tf.reduce_sum(expected * (1 - unseen), -1)
        together = seen * (_log(seen) - _log(tf.reduce_sum(found * (1 - unseen), -1)))
        part = together + tf.reduce_sum(by_class * unseen, -1)
        divergence = tf.where(labels != IGNORED_INDEX, part, tf.reduce_sum(by_class, -1))
        yes_or_no = by_class + (1 - expected) * (_log(1 - expected) - _log(1 - found))
        divergence += tf.reduce_sum(uncertain * yes_or_no, -1)
        valid = tf.cast(tf.math.is_finite(images[..., 0]), tf.float32)
        pixels = tf.maximum(tf.stop_gradient(global_sum(tf.reduce_sum(valid))), 1.0)
        return weight * global_sum(tf.reduce_sum(tf.where(valid > 0, divergence, 0.0))) / pixels

    return distillation


def _log(probability: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(probability, 1e-7))
