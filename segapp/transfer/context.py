"""The context branch of a transfer: a pixel classifier on multi-scale filters, fitted beside the network and joined.

A network that is tuned on few labels and a small classifier on hand-made filters go wrong in different places; the mean
of their logits is better than either (Hansen and Salamon 1990, doi 10.1109/34.58871). Its members are trained on
bootstrap samples (Breiman 1996, doi 10.1007/BF00058655).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from segapp.model.model_spec import ModelSpec
from segapp.nets.context import HIDDEN
from segapp.patches.sampling import ClassPositions
from segapp.scenes.scene import Scene
from segapp.transfer.features import sample_features
from segapp.transfer.network import set_head

CONTEXT_PIXELS = 40_000
"""Pixels that a branch is fitted on."""
_MEMBERS = 4
_STEPS, _BATCH, _RATE, _WARMUP, _DECAY = 1200, 512, 3e-3, 50, 0.03


class ContextWeights(NamedTuple):
    """The hidden layer (D, U) and (U,), and the head on it (U, K) and (K,), all float32."""

    kernel: np.ndarray
    hidden_bias: np.ndarray
    head: np.ndarray
    bias: np.ndarray


def fit_context(
    spec: ModelSpec, units: int, scenes: Sequence[Scene], positions: ClassPositions, balance: float, seed: int
) -> ContextWeights:
    """Fit a branch of `units` to labelled pixels of `scenes`, sampled by `sample_features` and normalised by `spec`.

    Raises InputError if no labelled pixel is valid.
    """
    network = spec.model_copy(update={"context": units}).build()
    features, labels = sample_features(network, HIDDEN, scenes, positions, CONTEXT_PIXELS, balance, seed)
    return fit_members(features, labels, units, len(spec.classes), seed)


def fit_members(features: np.ndarray, labels: np.ndarray, units: int, classes: int, seed: int) -> ContextWeights:
    """Fit four perceptrons that share `units` to features (n, D) and network indexes (n,); their mean logits count.

    Each minimises cross entropy on a bootstrap sample by AdamW, in 1,200 steps.
    """
    mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((features.shape[1],))
    dense = layers.Dense(units, "relu", kernel_initializer="he_normal", dtype="float32")
    logits = layers.EinsumDense("bmh,mhk->bmk", (_MEMBERS, classes), bias_axes="mk", dtype="float32")
    members = keras.Model(inputs, logits(layers.Reshape((_MEMBERS, units // _MEMBERS))(dense(inputs))))
    logits.set_weights([np.zeros_like(weight) for weight in logits.get_weights()])
    rate = keras.optimizers.schedules.CosineDecay(0.0, _STEPS - _WARMUP, warmup_target=_RATE, warmup_steps=_WARMUP)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=_DECAY, beta_2=0.99)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    members.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    members.fit(
        ((features - mean) / std).astype(np.float32),
        np.repeat(labels[:, np.newaxis], _MEMBERS, axis=1),
        sample_weight=np.random.default_rng(seed).poisson(1, (len(labels), _MEMBERS)).astype(np.float32),
        batch_size=_BATCH,
        epochs=-(-_STEPS // -(-len(labels) // _BATCH)),
        verbose=0,
    )
    kernel, hidden_bias = (np.asarray(weight, np.float64) for weight in dense.get_weights())
    head, bias = logits.get_weights()
    kernel = kernel / std[:, np.newaxis]
    return ContextWeights(
        kernel.astype(np.float32),
        (hidden_bias - mean @ kernel).astype(np.float32),
        head.reshape(-1, classes) / np.float32(_MEMBERS),
        bias.mean(0),
    )


def join_context(model: keras.Model, spec: ModelSpec, fitted: ContextWeights) -> tuple[keras.Model, ModelSpec]:
    """The network `model` of `spec` with the branch: its logits are the mean of the network's and the branch's.

    Where it has a branch already, that keeps its part in the network's logits.
    """
    joined_spec = spec.model_copy(update={"context": spec.context + len(fitted.hidden_bias)})
    joined = joined_spec.build()
    for layer in model.layers:
        if layer.weights and layer.name not in ("input_normalization", HIDDEN, spec.head):
            joined.get_layer(layer.name).set_weights(layer.get_weights())
    kernel, bias = fitted.kernel, fitted.hidden_bias
    if spec.context:
        before, bias_before = model.get_layer(HIDDEN).get_weights()
        kernel, bias = np.hstack([before[0, 0], kernel]), np.hstack([bias_before, bias])
    joined.get_layer(HIDDEN).set_weights([kernel[np.newaxis, np.newaxis], bias])
    head, head_bias = model.get_layer(spec.head).get_weights()
    set_head(joined, spec.head, np.vstack([head[0, 0], fitted.head]) / 2, (head_bias + fitted.bias) / 2)
    return joined, joined_spec
