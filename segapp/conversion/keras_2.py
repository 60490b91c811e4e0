"""What Keras 2 wrote of a network, in the words of Keras 3."""

from __future__ import annotations

import inspect
from typing import Any

_PARTS = ("layers", "initializers", "regularizers", "constraints")
_MODELS = ("Functional", "Model", "Sequential")
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_NO_MATTER = {"noise_shape", "seed", "implementation", "fused", "dynamic", "momentum", "batch_input_shape", "trainable"}
"""Keys that Keras 3 may not take and that change no prediction."""
_JOINS = {"add": "Add", "multiply": "Multiply", "subtract": "Subtract", "maximum": "Maximum", "minimum": "Minimum"}
_ACTIVATIONS = {"relu", "relu6", "sigmoid", "tanh", "softplus", "softsign", "elu", "selu", "silu", "swish", "gelu"}


def modernised(config: Any) -> Any:
    """A copy of what Keras 2 wrote of a network without what Keras 3 refuses, and with what it calls otherwise.

    Raises ValueError, with the layer's name, where what Keras 3 has not changes what the layer computes.
    """
    new = _layer(config)
    return _renamed(new, _new_names(new))


def is_of_keras_2(config: Any) -> bool:
    """Whether tf_keras wrote a ``.keras`` file's description of a network."""
    return isinstance(config, dict) and str(config.get("module", "")).startswith("tf_keras")


def with_modules(value: Any) -> Any:
    """A copy of a configuration that names the module of each class, which Keras 2 left out or calls otherwise."""
    import keras

    if isinstance(value, list):
        return [with_modules(item) for item in value]
    if not isinstance(value, dict):
        return value
    new = {key: with_modules(item) for key, item in value.items()}
    kind, module = value.get("class_name"), value.get("module")
    if not isinstance(kind, str) or not (module is None or str(module).startswith("tf_keras")):
        return new
    if kind in _MODELS:
        place = "sequential" if kind == "Sequential" else "functional"
        return {**new, "module": f"keras.src.models.{place}", "class_name": kind, "registered_name": kind}
    own = next((part for part in _PARTS if isinstance(getattr(getattr(keras, part), kind, None), type)), None)
    new["module"] = f"keras.{own}" if own else "unknown"
    if own == "layers" and isinstance(value.get("config"), dict):
        new.setdefault("name", value["config"].get("name"))
    return new


def _layer(value: Any) -> Any:
    if isinstance(value, list):
        return [_layer(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "Policy" and isinstance(config, dict):  # of half precision, say: weights are float32
        return "float32"
    new = {key: _layer(item) for key, item in value.items()}
    config = new.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        return new
    if kind == "TFOpLambda":
        return _operation(new)
    if kind == "ThresholdedReLU":
        new["class_name"], config["threshold"] = "ReLU", config.pop("theta", 1.0)
    if kind == "BatchNormalization" and isinstance(axis := config.get("axis"), list) and len(axis) == 1:
        config["axis"] = axis[0]
    new["config"] = _accepted(new["class_name"], config)
    return new


def _accepted(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The keys of a layer that Keras 3 takes."""
    import keras

    layer = getattr(keras.layers, kind, None)
    if not isinstance(layer, type) or kind == "InputLayer":
        return config
    taken = {"alpha"} if kind == "LeakyReLU" else set()
    for one in layer.__mro__:
        parameters = inspect.signature(one.__init__).parameters  # type: ignore[misc]
        taken |= parameters.keys()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    kept = {}
    for key, value in config.items():
        if key in taken:
            kept[key] = value
        elif key == "groups" and value == 1:
            continue
        elif value and key not in _NO_MATTER and not key.endswith(_TRAINING):
            raise ValueError(f"layer '{config.get('name')}' ({kind}) has {key}={value!r}; Keras 3 has no such layer")
    return kept


def _operation(layer: dict[str, Any]) -> dict[str, Any]:
    """The layer that does what a function of TensorFlow does, which was called on maps as if it were a layer."""
    name, function = layer["config"]["name"], str(layer["config"].get("function"))
    last = function.rpartition(".")[2].strip("_").replace("truediv", "divide").replace("mul", "multiply")
    last = {"sub": "subtract", "multiplytiply": "multiply"}.get(last, last)
    nodes = layer["inbound_nodes"]
    other = nodes[0][3].get("y") if len(nodes) == 1 and len(nodes[0]) == 4 else None
    kind, config, inbound = "", {"name": name}, [[[*nodes[0][:3], {}]]]
    if nodes[0][0] == "_CONSTANT_VALUE":
        last = ""
    if last in ("add", "multiply", "subtract", "divide") and isinstance(other, int | float):
        scale = {"multiply": other, "divide": 1 / other if other else 0}.get(last, 1)
        offset = {"add": other, "subtract": -other}.get(last, 0)
        kind, config = "Rescaling", {**config, "scale": scale, "offset": offset}
    elif last in _JOINS and isinstance(other, list):
        kind, inbound = _JOINS[last], [[[*nodes[0][:3], {}], [*other, {}]]]
    elif last in ("relu", "relu6"):
        kind, config = "ReLU", {**config, "max_value": 6.0 if last == "relu6" else None}
    elif last in _ACTIVATIONS:
        kind, config = "Activation", {**config, "activation": last}
    else:
        raise ValueError(f"layer '{name}' calls TensorFlow's {function}; replace it by a layer of Keras and save again")
    made = {"class_name": kind, "config": config, "name": name, "inbound_nodes": inbound}
    return {**made, "module": "keras.layers", "registered_name": None} if "module" in layer else made


def _new_names(config: Any) -> dict[str, str]:
    """New names for layers whose names Keras 3 does not allow."""
    names, waiting = set(), [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            inner = value.get("config")
            if isinstance(inner, dict) and "class_name" in value:
                names |= {name for name in (value.get("name"), inner.get("name")) if isinstance(name, str)}
    new: dict[str, str] = {}
    for name in sorted(name for name in names if "/" in name):
        wanted = name.replace("/", "_")
        while wanted in names or wanted in new.values():
            wanted += "_"
        new[name] = wanted
    return new


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return names.get(value, value) if isinstance(value, str) else value
