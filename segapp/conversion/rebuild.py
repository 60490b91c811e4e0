"""A Keras network built again as segapp builds networks, and checked to compute the same."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segapp.configuration import validate
from segapp.conversion.classifier import find_head
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import ModelSpec
from segapp.nets.config import KerasGraph

if TYPE_CHECKING:
    import keras

_SIDE = 64  # pixels of the images that networks are compared on, and of a patch


def same_features(a: keras.Model, head_a: str, b: keras.Model, head_b: str) -> bool:
    """Whether the inputs of the layers `head_a` and `head_b` are the same, bit for bit, on a fixed image of noise."""
    image = _noise(a)
    first = _values(a, a.get_layer(head_a).input, image)
    return np.array_equal(first, _values(b, b.get_layer(head_b).input, image), equal_nan=True)


def rebuild(path: Path, original: keras.Model, head_layer: str | None) -> Base:
    """`original` as segapp builds networks, with its weights."""
    from segapp.nets.keras_graph import cut_before, layer_names

    head, activations = find_head(path, original, head_layer)
    graph = cut_before(original, head.name)
    spec = _describe(path, original.input_shape[-1], head, graph)
    try:
        model = spec.build()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if None not in model.output_shape[1:3]:
        fixed = next(layer for layer in model.layers[1:] if None not in layer.output.shape[1:3])
        raise InputError(
            f"{path}: layer '{fixed.name}' makes a map of {fixed.output.shape[1:3]} pixels of an image of any size; "
            "replace it by one that keeps the size open"
        )
    names = layer_names(graph, spec.head)
    for layer in original.layers:
        if layer.name in names and model.get_layer(names[layer.name]).weights:
            model.get_layer(names[layer.name]).set_weights(layer.get_weights())
    weights = [np.asarray(weight, np.float32) for weight in head.get_weights()]
    kernel, bias = weights if head.use_bias else (weights[0], np.zeros(head.filters, np.float32))
    if head.filters == 1:  # softmax of (0, x) is (1 - sigmoid(x), sigmoid(x))
        kernel, bias = np.concatenate([0 * kernel, kernel], -1), np.concatenate([0 * bias, bias])
    model.get_layer(spec.head).set_weights([kernel, bias])
    _check_same(path, original, head, activations, model, spec.head)
    model.spec = spec
    return Base(model, spec, str(path), known_classes=False)


def _describe(path: Path, bands: int, head: keras.layers.Conv2D, graph: KerasGraph) -> ModelSpec:
    """What is known of a network that comes without a description: the base gets values as they are."""
    taken = {"image", "input_normalization", "softmax", *(layer["name"] for layer in graph.layers)}
    new_head = next(name for number in count() if (name := head.name + number * "_head") not in taken)
    data = {
        "schema": 2,
        "name": path.stem,
        "network": graph.model_dump(),
        "bands": [{"name": f"band_{number}"} for number in range(1, bands + 1)],
        "classes": {"classes": [{"id": i, "name": f"class_{i}"} for i in range(1, max(head.filters, 2) + 1)]},
        "normalization": {"mean": [0.0] * bands, "std": [1.0] * bands},
        "head": new_head,
        "patch_size": _SIDE,
        "provenance": {"brought from": path.name},
    }
    return validate(ModelSpec, data, str(path))


def _check_same(
    path: Path,
    original: keras.Model,
    head: keras.layers.Conv2D,
    activations: list[str],
    model: keras.Model,
    new_head: str,
) -> None:
    """Raise InputError unless `model` computes what `original` does, as far as both compute in one precision."""
    import tensorflow as tf

    from segapp.nets.keras_graph import KERAS_ERRORS

    try:
        image = _noise(original)
        expected = _values(original, original.output, image)
        same = same_features(original, head.name, model, new_head)
        if same and head.compute_dtype == "float32" and head.filters > 1:
            features = _values(original, head.input, image)
            same = np.array_equal(_linear(head, features), _values(model, model.get_layer("softmax").input, image))
            if [name for name in activations if name != "linear"] == ["softmax"]:
                same = same and np.array_equal(expected, _values(model, model.output, image))
    except (*KERAS_ERRORS, tf.errors.OpError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: fails on an image of {image.shape[1:]} ({reason}); save it again") from None
    if expected.shape[1:3] != image.shape[1:3]:
        raise InputError(
            f"{path}: layer '{head.name}' makes a map of {expected.shape[1:3]} pixels of an image of "
            f"{image.shape[1:3]}; pad its convolutions with padding='same' and upsample as often as it pools"
        )
    if not same:
        raise InputError(
            f"{path}: what reaches the head '{head.name}' changes when the network is built again; "
            "save it with plain Keras layers"
        )


def _linear(head: keras.layers.Conv2D, features: np.ndarray) -> np.ndarray:
    """The logits of `head`, before its own activation."""
    import keras

    convolution = keras.layers.Conv2D.from_config({**head.get_config(), "activation": "linear"})
    image = keras.Input(features.shape[1:])
    model = keras.Model(image, convolution(image))
    convolution.set_weights(head.get_weights())
    return _values(model, model.output, features)


def _noise(model: keras.Model) -> np.ndarray:
    """(2, H, W, C) float32 from 0 to 1, of the size that `model` takes, else 64 x 64."""
    height, width, bands = model.input_shape[1:]
    return np.random.default_rng(0).random((2, height or _SIDE, width or _SIDE, bands), np.float32)


def _values(model: keras.Model, tensor: keras.KerasTensor, image: np.ndarray) -> np.ndarray:
    """What `tensor` of `model` is for `image`; on the CPU, where one computation always gives one result."""
    import keras

    with keras.device("cpu"):
        return keras.ops.convert_to_numpy(
            keras.ops.cast(keras.Model(model.inputs[0], tensor)(image, training=False), "float32")
        )
