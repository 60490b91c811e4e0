"""Surgery: the base's body with its weights, fitted to other bands, under a fresh head."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import ModelSpec
from segapp.nets.adapt import adapt_kernel, first_kernels
from segapp.nets.context import HIDDEN

_NEVER = -20.0
"""The logit's bias of a class that neither the base nor any label knows."""


def fresh_head_name(base: Base) -> str:
    """A name for the new head that no layer of the base has: `final_conv`, `final_conv_2`, ..."""
    taken = {layer.name for layer in base.model.layers}
    names = ["final_conv", *(f"final_conv_{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def build_network(base: Base, spec: ModelSpec, mixing: np.ndarray) -> keras.Model:
    """The network of `spec` with the base's body in it; its head is still what Keras drew.

    `mixing` (C, bands of the base) says what each of the base's bands is made of, as in `adapt_kernel`. Raises
    InputError naming the layer where the body cannot take other bands.
    """
    model = spec.build()
    same = np.array_equal(mixing, np.eye(len(base.spec.bands)))
    left_out = {"input_normalization", base.spec.head, *(() if spec.context else (HIDDEN,))}
    first = set() if same else {layer.name for layer in first_kernels(base.model)}
    for layer in base.model.layers:
        weights = layer.get_weights()
        if not weights or layer.name in left_out:
            continue
        if layer.name in first:
            weights[0] = adapt_kernel(weights[0], mixing)
        target = model.get_layer(layer.name)
        shapes = [tuple(weight.shape) for weight in target.weights]
        if shapes != [weight.shape for weight in weights]:
            raise InputError(
                f"{base.source}: layer '{layer.name}' holds numbers for each of the base's bands; use it with the same "
                f"{len(base.spec.bands)} bands"
            )
        target.set_weights(weights)
    return model


def copied_head(
    base: Base, classes: Sequence[Sequence[int]], present: np.ndarray, channels: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The head that does for classes that carry over what the base's does: weights (D, K) and biases (K,) float32.

    `classes` names for each new class the base classes that it continues: where there are several, their weights are
    averaged; where one base class is continued by several, each gets its share of the probability. A new class starts
    at zero; if no label shows it either, (K,) bool, it is never predicted. `channels` are those that the head still
    sees, where the base's context branch is left out.
    """
    kernel, bias = (np.asarray(w, np.float32) for w in base.model.get_layer(base.spec.head).get_weights())
    kernel = kernel[0, 0, :channels]
    heirs = np.bincount([source for sources in classes for source in sources], minlength=len(bias))
    weights = np.zeros((len(kernel), len(classes)), np.float32)
    biases = np.where(present, 0.0, _NEVER).astype(np.float32)
    for index, sources in enumerate(map(list, classes)):
        if sources:
            weights[:, index] = kernel[:, sources].mean(axis=1)
            biases[index] = np.mean(bias[sources] - np.log(heirs[sources])) + np.log(len(sources))
    return weights, biases


def set_head(model: keras.Model, head: str, weights: np.ndarray, biases: np.ndarray) -> None:
    """Give the 1x1 convolution `head` weights (D, K) and biases (K,)."""
    model.get_layer(head).set_weights([weights[np.newaxis, np.newaxis], biases])
