"""Recognising segapp's own U-Net in a network whose layers have other names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
from keras import layers
from pydantic import ValidationError

from segapp.nets.config import UNetConfig
from segapp.nets.graph import calls
from segapp.nets.unet import unet
from segapp.nets.weights_file import build_within

_HEAD = "final_conv"
_SETTINGS = ("filters", "kernel_size", "strides", "dilation_rate", "groups", "pool_size", "data_format")
_TRANSPARENT = {"Dropout", "SpatialDropout2D", "Identity", "NanToNum"}


class UNetWeights(NamedTuple):
    """A U-Net of segapp's: what shapes it, and the weights of each of its layers."""

    config: UNetConfig
    weights: dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class _Step:
    """What makes a tensor, of those layers that change anything; a convolution and its own ReLU are two steps."""

    kind: str
    layer: keras.Operation
    inputs: tuple[int, ...]


def as_unet(model: keras.Model, head: str) -> UNetWeights | None:
    """The U-Net that computes what `model` does, whose classifier is the layer `head`; None where there is no such.

    The layers of `model` may have any names, its skips may be joined before or behind what comes from below, and its
    convolutions may have biases ahead of a batch normalisation.
    """
    found = [call.operation for call in calls(model)]
    convolutions = [layer for layer in found if type(layer) is layers.Conv2D]
    try:
        config = UNetConfig(
            depth=sum(isinstance(layer, layers.Conv2DTranspose) for layer in found),
            filters=convolutions[0].filters,
            batch_norm=any(isinstance(layer, layers.BatchNormalization) for layer in found),
            dropout=next((layer.rate for layer in found if isinstance(layer, layers.Dropout)), 0.5),
        )
    except (ValidationError, IndexError):
        return None
    held = sum(weight.nbytes for weight in model.get_weights())
    own = build_within(lambda: unet(model.input_shape[-1], model.output_shape[-1], config), held)
    if own is None:
        return None
    pairs = _match(_steps(own), own.get_layer(_HEAD), _steps(model), model.get_layer(head))
    return None if pairs is None else UNetWeights(config, _weights(pairs))


def _steps(model: keras.Model) -> dict[int, _Step]:
    """Each tensor's step, by the tensor's number; a negative number is a convolution's result before its ReLU."""
    steps: dict[int, _Step] = {}
    for call in calls(model):
        layer, inputs = call.operation, call.inputs
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if call.kind in _TRANSPARENT or _does_nothing(layer):
            steps[call.output] = steps[inputs[0]]
        elif call.kind == "ReLU" and (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0):
            steps[call.output] = _Step("relu", layer, inputs)
        elif call.kind == "Activation":
            steps[call.output] = _Step(activation, layer, inputs)
        elif call.kind in ("Conv2D", "Conv2DTranspose") and activation == "relu":
            steps[-call.output] = _Step(call.kind, layer, inputs)
            steps[call.output] = _Step("relu", layer, (-call.output,))
        else:
            steps[call.output] = _Step(call.kind if activation == "linear" else "activated", layer, inputs)
    return steps


def _does_nothing(layer: keras.Operation) -> bool:
    if isinstance(layer, layers.Normalization):
        return not layer.invert and not np.any(layer.mean) and bool(np.all(np.equal(layer.variance, 1)))
    return isinstance(layer, layers.Activation) and layer.activation is keras.activations.linear


def _match(
    own: dict[int, _Step], own_head: keras.Layer, other: dict[int, _Step], other_head: keras.Layer
) -> list[tuple[_Step, _Step, bool]] | None:
    """Each step of `own` with that of `other` that does the same, and whether its inputs are joined the other way.

    Both graphs are walked from their heads to the image; None where they part.
    """
    waiting = [(_of_layer(own, own_head), _of_layer(other, other_head))]
    seen: dict[int, tuple[_Step, _Step, bool]] = {}
    while waiting:
        a, b = waiting.pop()
        if id(a) in seen:
            if seen[id(a)][1] is not b:
                return None
            continue
        if a.kind != b.kind or len(a.inputs) != len(b.inputs) or not _same_settings(a, b):
            return None
        inputs = [other[tensor] for tensor in b.inputs]
        swapped = a.kind == "Concatenate" and _rises(other, inputs[1]) and not _rises(other, inputs[0])
        seen[id(a)] = a, b, swapped
        waiting += zip([own[tensor] for tensor in a.inputs], inputs[::-1] if swapped else inputs, strict=True)
    return list(seen.values())


def _of_layer(steps: dict[int, _Step], layer: keras.Layer) -> _Step:
    return next(step for step in steps.values() if step.layer is layer)


def _rises(steps: dict[int, _Step], step: _Step) -> bool:
    """Whether a map comes straight from a transposed convolution and its ReLU."""
    return step.kind == "relu" and steps[step.inputs[0]].kind == "Conv2DTranspose"


def _same_settings(a: _Step, b: _Step) -> bool:
    if a.kind == "relu":
        return True
    if any(getattr(a.layer, name, None) != getattr(b.layer, name, None) for name in _SETTINGS):
        return False
    if a.kind == "Conv2D" and a.layer.kernel_size != (1, 1):
        return a.layer.padding == b.layer.padding
    if a.kind == "Conv2DTranspose" and b.layer.output_padding is not None:
        return False
    return getattr(b.layer, "axis", -1) in (-1, 3)


def _weights(pairs: list[tuple[_Step, _Step, bool]]) -> dict[str, list[np.ndarray]]:
    """What the layers of segapp's U-Net are given: see `as_unet`."""
    turned = {a.layer.name for a, _, swapped in pairs if swapped}
    weights: dict[str, list[np.ndarray]] = {}
    left_over: dict[str, np.ndarray] = {}  # biases that the batch normalisation behind has to take
    for a, b, _ in pairs:
        if a.kind in ("Conv2D", "Conv2DTranspose"):
            kernel, *rest = b.layer.get_weights()
            if a.layer.name.replace("_conv_1", "_concat") in turned:
                kernel = np.roll(kernel, kernel.shape[2] // 2, axis=2)
            bias = rest[0] if rest else np.zeros(a.layer.filters, np.float32)
            weights[a.layer.name] = [kernel, bias] if a.layer.use_bias else [kernel]
            left_over[a.layer.name.replace("_conv_", "_bn_")] = bias
    for a, b, _ in pairs:
        if a.kind == "BatchNormalization":
            layer = b.layer
            mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
            gamma = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
            beta = layer.beta.numpy() if layer.center else np.zeros_like(mean)
            gamma = gamma * np.sqrt((variance + a.layer.epsilon) / (variance + layer.epsilon))
            weights[a.layer.name] = [gamma, beta, mean - left_over[a.layer.name], variance]
    return weights
