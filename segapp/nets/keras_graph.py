"""The body of any functional Keras network, cut out of it as data and built again, layer by layer."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import keras
from keras import KerasTensor

from segapp.errors import InputError
from segapp.nets import resampling
from segapp.nets.config import (
    MODEL_MODULES,
    OPERATION_MODULES,
    OWN_MODULE,
    PLAIN_OBJECTS,
    KerasGraph,
    serialized_objects,
)

KERAS_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, RuntimeError, OSError)
"""What Keras raises for configurations and files that do not fit."""

_EXPORTED: dict[str, tuple[Any, type]] = {
    "keras": (keras, keras.DTypePolicy),
    "keras.constraints": (keras.constraints, keras.constraints.Constraint),
    "keras.dtype_policies": (keras.dtype_policies, keras.DTypePolicy),
    "keras.initializers": (keras.initializers, keras.Initializer),
    "keras.layers": (keras.layers, keras.Layer),
    "keras.random": (keras.random, keras.random.SeedGenerator),
    "keras.regularizers": (keras.regularizers, keras.Regularizer),
    OWN_MODULE: (resampling, keras.Layer),
    **{name: (sys.modules[name], keras.Operation) for name in OPERATION_MODULES},
}
_OWN_NAMES = re.compile(r"image|input_normalization|softmax|nan_to_num(_\d+)?")
_Key = tuple[str, int, int]  # layer, which of its calls, which of the call's outputs


def cut_before(model: keras.Model, head: str) -> KerasGraph:
    """The layers of the functional `model` from its one input to the input of its layer `head`, for any size of image.

    What a `Normalization` has learnt stands in its configuration: among the weights it would go unheeded by
    `set_weights`, since the layer computes with what it derives from them.

    Raises ValueError when something in it is not Keras' own.
    """
    body = keras.Model(model.inputs, model.get_layer(head).input, name="body")
    config = _without_shapes(json.loads(json.dumps(body.get_config())))
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"][1:3] = None, None
        elif layer["class_name"] == "Normalization" and layer["config"]["mean"] is None:
            mean, variance, _ = body.get_layer(layer["name"]).get_weights()
            layer["config"].update(mean=mean.tolist(), variance=variance.tolist())
    return KerasGraph(keras=config)


def graph_features(x: KerasTensor, graph: KerasGraph, head: str = "final_conv") -> KerasTensor:
    """Build the layers of `graph` on `x`: (N, H, W, C) to the last feature map, (N, H', W', F).

    The layers stand in the new network under their names in `graph`, or those that `layer_names` gives, have fresh
    weights, and are shared where `graph` shares them. C need not be the number of bands that the graph was cut from.
    Raises InputError naming the layer that cannot be built.
    """
    try:
        check_exported(graph.keras)
    except ValueError as error:
        raise InputError(str(error)) from None
    names = layer_names(graph, head)
    operations: dict[str, keras.Operation] = {}
    tensors: dict[_Key, KerasTensor] = {}
    waiting: list[tuple[dict[str, Any], int]] = []
    for layer in graph.layers:
        if layer["class_name"] == "InputLayer":
            tensors[layer["name"], 0, 0] = x
        else:
            operations[layer["name"]] = _operation(layer, names[layer["name"]])
            waiting += [(layer, number) for number in range(len(layer["inbound_nodes"]))]
    while waiting:
        later = []
        for layer, number in waiting:
            with _naming(layer):
                call = layer["inbound_nodes"][number]
                if all(key in tensors for key in _inputs(call)):
                    args, keywords = _revived(call["args"], tensors), _revived(call["kwargs"], tensors)
                    outputs = operations[layer["name"]](*args, **keywords)
                    for index, output in enumerate(keras.tree.flatten(outputs)):
                        tensors[layer["name"], number, index] = output
                else:
                    later.append((layer, number))
        if len(later) == len(waiting):
            raise InputError(f"layer '{later[0][0]['name']}': its input is missing from the network; save it again")
        waiting = later
    features = tensors.get(graph.output)
    if features is None or len(features.shape) != 4:
        raise InputError("the network does not end in a feature map of four axes; cut it before another head")
    return features


def layer_names(graph: KerasGraph, head: str) -> dict[str, str]:
    """What each layer of `graph` but the input is called in a network with the head `head`.

    That is its own name, but "_body" is appended to a name that segapp's input or head need.
    """
    names = {layer["name"] for layer in graph.layers if layer["class_name"] != "InputLayer"}
    result = {}
    for name in names:
        new = name
        while new == head or _OWN_NAMES.fullmatch(new) or (new != name and new in names):
            new += "_body"
        result[name] = new
    return result


def check_exported(data: Any) -> None:
    """Check that Keras has each class that it serialized into `data`; raises ValueError naming the layer."""
    for layer, item in serialized_objects(data):
        kind = item["class_name"]
        if item.get("module") in MODEL_MODULES and kind in ("Functional", "Model", "Sequential"):
            continue
        namespace, base = _EXPORTED.get(item.get("module", ""), (None, object))
        found = getattr(namespace, kind, None)
        if kind not in PLAIN_OBJECTS and not (isinstance(found, type) and issubclass(found, base)):
            raise ValueError(f"layer '{layer}': this Keras has no {item.get('module')}.{kind}; update Keras")


@contextlib.contextmanager
def _naming(layer: dict[str, Any]) -> Iterator[None]:
    """Turns what Keras raises about `layer` into an InputError that names it."""
    try:
        yield
    except KERAS_ERRORS as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:60]
        raise InputError(
            f"layer '{layer['name'][-40:]}' ({layer['class_name']}) cannot be built ({reason}); "
            "replace it in the network that it comes from"
        ) from None


def _operation(layer: dict[str, Any], name: str) -> keras.Operation:
    with _naming(layer):
        operation = keras.saving.deserialize_keras_object(_without_shapes(layer), safe_mode=True)
        operation.name = name
        return operation


def _without_shapes(value: Any) -> Any:
    """`value` without the shapes for which layers were built: they build themselves for those that they are given."""
    if isinstance(value, dict):
        return {key: _without_shapes(item) for key, item in value.items() if key != "build_config"}
    return [_without_shapes(item) for item in value] if isinstance(value, list) else value


def _inputs(call: Any) -> list[_Key]:
    """The tensors that a call of a layer takes."""
    return [_key(item) for _, item in serialized_objects(call) if item["class_name"] == "__keras_tensor__"]


def _key(item: dict[str, Any]) -> _Key:
    name, call, output = item["config"]["keras_history"]
    return name, call, output


def _revived(value: Any, tensors: dict[_Key, KerasTensor]) -> Any:
    """Arguments of a call, with the tensors in the place of their descriptions."""
    if isinstance(value, list):
        return [_revived(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__keras_tensor__":
        return tensors[_key(value)]
    if "class_name" in value:
        return keras.saving.deserialize_keras_object(value, safe_mode=True)
    return {key: _revived(item, tensors) for key, item in value.items()}
