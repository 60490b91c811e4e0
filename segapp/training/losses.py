"""Losses for segmentation with ignored pixels, exact over any number of replicas.

Each term is a mean over the labelled pixels of the *global* batch. A replica sees its share only, so sums are taken
with `global_sum`, whose value is the sum over all replicas and whose gradient is the replica's own: gradients summed
over the replicas are then those of one device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.training.recipe import LossConfig

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Logits and labels to one number."""
Distillation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Images, labels and logits to one number: what must not be forgotten where the labels do not speak."""

_IMPOSSIBLE = -1e9
"""A logit that leaves no probability and takes no gradient."""


def global_sum(value: tf.Tensor) -> tf.Tensor:
    """The sum of `value` over all replicas; differentiating it gives this replica's gradient alone."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return value + tf.stop_gradient(replica.all_reduce(tf.distribute.ReduceOp.SUM, value) - value)


def class_weights(config: LossConfig, share: np.ndarray) -> np.ndarray:
    """(K,) float32 weights from the classes' shares of the labelled pixels, (K,); absent classes weigh nothing.

    "inverse" is 1 / share, "median" is median(share) / share; both are scaled so that the mean pixel weighs 1.
    """
    present = share > 0
    if config.class_weights == "none":
        return np.ones(len(share), np.float32)
    typical = np.median(share[present]) if config.class_weights == "median" else 1.0
    weights = np.divide(typical, share, out=np.zeros(len(share)), where=present) ** config.class_weight_power
    return (weights / (weights * share).sum()).astype(np.float32)


def make_loss(config: LossConfig, weights: np.ndarray, decided: np.ndarray | None = None) -> Loss:
    """The loss as a function of logits (N, H, W, K) float32 and network indexes (N, H, W) uint8, to one number.

    Cross entropy and focal loss (Lin et al. 2017, arXiv 1708.02002) are means weighted by `weights`, (K,) float32;
    dice is 1 minus the mean soft Dice score (Milletari et al. 2016, arXiv 1606.04797) of the classes that the batch
    holds. Pixels of `IGNORED_INDEX` do not count. Labels decide among the classes of `decided`, (K,) bool, and say
    nothing of the others; left out, among all.
    """
    terms = [(w, f) for w, f in ((config.cross_entropy, _cross_entropy), (config.focal, _focal)) if w > 0]
    if not terms and not config.dice:
        raise InputError("the loss has no term; set cross_entropy, dice or focal above 0 in the recipe's [loss]")
    class_count = len(weights)

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        if decided is not None:
            logits = tf.where(tf.constant(decided), logits, _IMPOSSIBLE)
        labelled = tf.not_equal(labels, IGNORED_INDEX)
        mask = tf.cast(labelled, tf.float32)
        indexes = tf.where(labelled, tf.cast(labels, tf.int32), 0)
        total = tf.zeros(())
        if terms:
            nll = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=indexes, logits=logits)
            pixel_weights = mask * tf.gather(tf.constant(weights), indexes)
            weight_sum = tf.maximum(tf.stop_gradient(global_sum(tf.reduce_sum(pixel_weights))), 1e-6)
            for factor, term in terms:
                total += factor * global_sum(tf.reduce_sum(pixel_weights * term(nll, config))) / weight_sum
        if config.dice:
            total += config.dice * _dice(logits, indexes, mask, class_count)
        return total

    return loss


def _cross_entropy(nll: tf.Tensor, config: LossConfig) -> tf.Tensor:
    return nll


def _focal(nll: tf.Tensor, config: LossConfig) -> tf.Tensor:
    return (1 - tf.exp(-nll)) ** config.focal_gamma * nll


def _dice(logits: tf.Tensor, indexes: tf.Tensor, mask: tf.Tensor, class_count: int) -> tf.Tensor:
    probability = tf.nn.softmax(logits) * mask[..., tf.newaxis]
    reference = tf.one_hot(indexes, class_count) * mask[..., tf.newaxis]
    axes = (0, 1, 2)
    overlap = global_sum(tf.reduce_sum(probability * reference, axes))
    size = tf.stop_gradient(global_sum(tf.reduce_sum(reference, axes)))
    predicted = global_sum(tf.reduce_sum(probability, axes))
    present = tf.cast(size > 0, tf.float32)
    score = 2 * overlap / tf.maximum(predicted + size, 1e-6)
    return 1 - tf.reduce_sum(score * present) / tf.maximum(tf.reduce_sum(present), 1)
