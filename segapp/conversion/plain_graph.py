"""A Keras network as one whose layers are called one by one and whose classifier is a 1x1 convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from segapp.conversion.head import classifier, neighbours, transposed_neighbours
from segapp.nets.resampling import Resampling2D

_MOVES_PIXELS = ("UpSampling2D", "Resampling2D", "Cropping2D")
"""What gives the same before the classifier as behind it, since its weights of pixels add up to 1."""
_ENDINGS = ("Activation", "Softmax", "Sigmoid", "Reshape")


def plain_graph(model: keras.Model) -> keras.Model:
    """A functional model that computes what `model` does, from copies of its layers with its weights.

    Models that it calls are called layer by layer. Where its last layer with weights is a convolution of several
    pixels, a transposed one or a dense layer, it becomes a layer that puts pixels side by side and a 1x1 convolution;
    an upsampling behind it goes before it. A reshape of its map to (N, H * W, K) at the end is left out. Bilinear
    upsampling becomes a layer of segapp's, since Keras' own fails on images of a size that is not known beforehand.
    `model` itself is given back where there is nothing to change.

    Raises ValueError where a model within is no graph of layers.
    """
    operations = list(_operations(model))
    weighted = [place for place, one in enumerate(operations) if getattr(one, "weights", ())]
    if not weighted or len(model.outputs[0].shape) not in (3, 4):
        return model
    head = operations[weighted[-1]]
    tail = operations[weighted[-1] + 1 :]
    simple = not isinstance(head, layers.Conv2D) or head.kernel_size != (1, 1)
    moved = any(type(one).__name__ in _MOVES_PIXELS for one in tail)
    within = any(isinstance(layer, keras.Model) for layer in model.layers)
    reshaped = len(model.outputs[0].shape) == 3 and any(isinstance(one, layers.Reshape) for one in tail)
    bilinear = any(map(_is_bilinear, operations))
    if not (within or reshaped or moved or bilinear or (simple and _weights_of_head(head) is not None)):
        return model
    image = keras.Input(model.inputs[0].shape[1:], name="image")
    ends = all(type(one).__name__ in (*_ENDINGS, *_MOVES_PIXELS) for one in tail)
    copies = _Copies(head if operations.count(head) == 1 and ends else None)
    (output,) = copies.call(model, [image])
    return keras.Model(image, _called(output), name=model.name)


def _is_bilinear(operation: keras.Operation) -> bool:
    return isinstance(operation, layers.UpSampling2D) and operation.interpolation == "bilinear"


def _graph(model: keras.Model) -> keras.Function:
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(graph, keras.Function):
        raise ValueError(f"layer '{model.name}' is a model of a class of its own; save a functional keras.Model")
    return graph


def _nodes(model: keras.Model) -> Iterator[Any]:
    """The calls of `model`, each after those that it depends on."""
    graph = _graph(model)
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from (node for node in graph._nodes_by_depth[depth] if not node.is_input)


def _operations(model: keras.Model) -> Iterator[keras.Operation]:
    for node in _nodes(model):
        if isinstance(node.operation, keras.Model):
            yield from _operations(node.operation)
        else:
            yield node.operation


@dataclass(frozen=True)
class _Waiting:
    """A map whose classifier, a 1x1 convolution, has not been called yet."""

    features: KerasTensor
    kernel: np.ndarray
    bias: np.ndarray
    name: str


def _called(value: Any) -> Any:
    return classifier(value.features, value.kernel, value.bias, value.name) if isinstance(value, _Waiting) else value


def _weights_of_head(layer: keras.Operation) -> tuple[np.ndarray, np.ndarray] | None:
    """The kernel (h, w, C, K) and bias of what can become a 1x1 convolution; None for other layers."""
    if isinstance(layer, layers.Dense):
        kernel = layer.get_weights()[0][np.newaxis, np.newaxis]
    elif isinstance(layer, layers.Conv2DTranspose):
        if layer.output_padding is not None or layer.dilation_rate != (1, 1):
            return None
        kernel = layer.get_weights()[0].transpose(0, 1, 3, 2)
    elif type(layer) is layers.Conv2D:
        height, width = layer.kernel_size
        kernel = layer.get_weights()[0]
        plain = (layer.strides, layer.dilation_rate, layer.groups) == ((1, 1), (1, 1), 1)
        if not plain or height != width or height % 2 == 0 or (height > 1 and layer.padding != "same"):
            return None
    else:
        return None
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    return kernel, layer.get_weights()[1] if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)


class _Copies:
    """Calls copies of layers, one of each layer; `head` is the classifier, if it is one."""

    def __init__(self, head: keras.Operation | None) -> None:
        self._head = head if head is not None and _weights_of_head(head) is not None else None
        self._names = {"image"}
        self._copies: dict[int, keras.Operation] = {}
        self._is_tail = False

    def call(self, model: keras.Model, inputs: Sequence[Any]) -> list[Any]:
        """What `model` makes of `inputs`, called layer by layer."""
        graph = _graph(model)
        tensors = {id(tensor): given for tensor, given in zip(graph.inputs, inputs, strict=True)}
        for node in _nodes(model):
            args, keywords = keras.tree.map_structure(
                lambda item: tensors.get(id(item), item), (node.arguments.args, node.arguments.kwargs)
            )
            if isinstance(node.operation, keras.Model):
                made = self.call(node.operation, [_called(one) for one in keras.tree.flatten(args)])
            else:
                made = keras.tree.flatten(self._apply(node.operation, args, keywords))
            tensors.update({id(old): new for old, new in zip(node.outputs, made, strict=True)})
        return [tensors[id(output)] for output in graph.outputs]

    def _apply(self, operation: keras.Operation, args: Any, keywords: Any) -> Any:
        if self._is_tail and isinstance(operation, layers.Reshape):
            return args[0]
        waiting = next((one for one in keras.tree.flatten((args, keywords)) if isinstance(one, _Waiting)), None)
        if waiting is not None and type(operation).__name__ in _MOVES_PIXELS:
            moved = self._copied(operation, [waiting.features], {})
            return _Waiting(moved, waiting.kernel, waiting.bias, waiting.name)
        if operation is self._head:
            self._is_tail = True
            return self._as_head(operation, args[0])
        args, keywords = keras.tree.map_structure(_called, (args, keywords))
        return self._copied(operation, args, keywords)

    def _as_head(self, layer: keras.Operation, x: KerasTensor) -> Any:
        weights = _weights_of_head(layer)
        assert weights is not None
        kernel, bias = weights
        name = self._new(layer.name)
        if isinstance(layer, layers.Conv2DTranspose):
            x, kernel = transposed_neighbours(x, kernel, layer.strides, layer.padding, self._new(f"{name}_neighbours"))
        else:
            x, kernel = neighbours(x, kernel, self._new(f"{name}_neighbours"))
        waiting = _Waiting(x, kernel, bias, name)
        if layer.activation is keras.activations.linear:
            return waiting
        return layers.Activation(layer.activation, name=self._new(f"{name}_activation"))(_called(waiting))

    def _copied(self, operation: keras.Operation, args: Any, keywords: Any) -> Any:
        copy = self._copies.get(id(operation))
        if copy is not None:
            return copy(*args, **keywords)
        config = {**operation.get_config(), "name": self._new(operation.name)}
        if _is_bilinear(operation) and operation.data_format == "channels_last":
            copy = Resampling2D([[factor, 1] for factor in operation.size], name=config["name"])
        else:
            copy = operation.__class__.from_config(config)
        self._copies[id(operation)] = copy
        made = copy(*args, **keywords)
        if isinstance(operation, layers.Layer) and operation.weights:
            copy.set_weights(operation.get_weights())
        return made

    def _new(self, name: str) -> str:
        while name in self._names:
            name += "_inner"
        self._names.add(name)
        return name
