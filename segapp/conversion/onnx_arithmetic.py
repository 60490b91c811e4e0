"""ONNX operators that work number by number: activations, arithmetic, softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from keras import KerasTensor, layers, ops

from segapp.conversion.onnx_node import CHANNELS, Map, Node, Operator

_LAYERS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish"}
_LAYERS |= {"HardSwish": "hard_silu", "Selu": "selu"}
_OPERATIONS: dict[str, Callable[..., KerasTensor]] = {
    "Exp": ops.exp,
    "Log": ops.log,
    "Sqrt": ops.sqrt,
    "Neg": ops.negative,
    "Abs": ops.absolute,
    "Erf": ops.erf,
    "Reciprocal": ops.reciprocal,
}
_SELU = {"alpha": 1.67326, "gamma": 1.0507}
_NO_CHANGE = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0, "Pow": 1.0}
_JOINS: dict[str, Callable[..., KerasTensor]] = {
    "Sub": ops.subtract,
    "Div": ops.true_divide,
    "Pow": ops.power,
    "Max": ops.maximum,
    "Min": ops.minimum,
}


def _activation(node: Node) -> Map:
    x, kind, settings = node.map(), node.kind, node.settings
    if kind == "Relu":
        layer = node.layer(layers.ReLU)
    elif kind == "LeakyRelu":
        layer = node.layer(layers.LeakyReLU, negative_slope=settings.get("alpha", 0.01))
    elif kind == "Elu":
        layer = node.layer(layers.ELU, alpha=settings.get("alpha", 1.0))
    elif kind == "Gelu":
        exact = settings.get("approximate", b"none") == b"none"
        return x.with_tensor(node.call(ops.gelu, x.tensor, approximate=not exact))
    else:
        if kind == "Selu" and any(abs(settings.get(name, value) - value) > 1e-4 for name, value in _SELU.items()):
            raise ValueError("it has coefficients of its own")
        layer = node.layer(layers.Activation, activation=_LAYERS[kind])
    return x.with_tensor(layer(x.tensor), kind in ("Relu", "Sigmoid", "Softplus"))


def _operation(node: Node) -> Map:
    x = node.map()
    return x.with_tensor(node.call(_OPERATIONS[node.kind], x.tensor), node.kind in ("Exp", "Sqrt", "Abs"))


def _swish(node: Node) -> Map:
    x = node.map()
    gate = _scaled(node, x.tensor, node.settings.get("alpha", 1.0), 0.0)
    gate = node.layer(layers.Activation, "_gate", activation="sigmoid")(gate)
    return x.with_tensor(node.layer(layers.Multiply)([x.tensor, gate]))


def _hard_sigmoid(node: Node) -> Map:
    x = node.map()
    line = _scaled(node, x.tensor, node.settings.get("alpha", 0.2), node.settings.get("beta", 0.5))
    return x.with_tensor(node.call(ops.clip, line, 0.0, 1.0), positive=True)


def _clip(node: Node) -> Map:
    x, least, most = node.map(), *(_one(node.numbers(place, name)) for place, name in ((1, "min"), (2, "max")))
    if least == 0:
        return x.with_tensor(node.layer(layers.ReLU, max_value=most)(x.tensor), positive=True)
    made = x.tensor if least is None else node.call(ops.maximum, x.tensor, least)
    return x.with_tensor(made if most is None else node.call(ops.minimum, made, most))


def _one(value: np.ndarray | None) -> float | None:
    return None if value is None or not np.size(value) else float(np.ravel(value)[0])


def _prelu(node: Node) -> Map:
    x, slope = node.map(), node.numbers(1)
    if slope is None:
        raise ValueError("its slope is not constant")
    channels = x.tensor.shape[CHANNELS]
    values = np.broadcast_to(np.asarray(_by_channel(x, slope), np.float32), (channels,))
    layer = node.layer(layers.PReLU, shared_axes=[1, 2])
    made = layer(x.tensor)
    layer.set_weights([values.reshape(1, 1, channels)])
    return x.with_tensor(made)


def _scaled(node: Node, x: KerasTensor, scale: float | list[float], offset: float | list[float]) -> KerasTensor:
    """``x * scale + offset``, each a number or one a channel."""
    if scale == 1 and offset == 0:
        return x
    return node.layer(layers.Rescaling, scale=scale, offset=offset)(x)


def _by_channel(x: Map, values: np.ndarray) -> float | list[float]:
    """One number, or one a channel, of a constant that ONNX broadcasts against `x`."""
    values = np.asarray(values, np.float64)
    if values.size == 1:
        return float(values.ravel()[0])
    whole = values.reshape((1,) * (len(x.axes) - values.ndim) + values.shape)
    if whole.ndim != len(x.axes) or CHANNELS not in x.axes:
        raise ValueError(f"its constant of shape {values.shape} does not fit the map")
    rows = np.moveaxis(whole, x.axes.index(CHANNELS), -1).reshape(-1, whole.shape[x.axes.index(CHANNELS)])
    if not (rows == rows[:1]).all():
        raise ValueError("its constant differs from pixel to pixel")
    if rows.shape[1] not in (1, x.tensor.shape[CHANNELS]):
        raise ValueError(f"its constant of shape {values.shape} does not fit the map")
    return [float(value) for value in rows[0]] if rows.shape[1] > 1 else float(rows[0, 0])


def _arithmetic(node: Node) -> Map:
    """Add, Sub, Mul, Div, Pow, Max and Min of two maps, or of a map and a number or one a channel."""
    maps = [place for place, value in enumerate(node.inputs) if isinstance(value, Map)]
    if len(maps) == len(node.inputs) and len(maps) != 1:
        return _joined(node)
    if len(node.inputs) > 2:
        raise ValueError("it joins maps and constants")
    (place,) = maps or (0,)
    x = node.map(place)
    constant = node.numbers(1 - place) if len(node.inputs) == 2 else None
    if constant is None:
        return x
    value, kind = _by_channel(x, constant), node.kind
    numbers = np.asarray(value)
    if place == 0 and np.all(numbers == _NO_CHANGE.get(kind)):
        return x

    def plain(values: np.ndarray) -> float | list[float]:
        return values.tolist()

    if kind == "Add":
        made = _scaled(node, x.tensor, 1.0, value)
    elif kind == "Mul":
        made = _scaled(node, x.tensor, value, 0.0)
    elif kind == "Sub":
        made = _scaled(node, x.tensor, *((1.0, plain(-numbers)) if place == 0 else (-1.0, value)))
    elif kind == "Div" and place == 0:
        if np.any(numbers == 0):
            raise ValueError("it divides by 0")
        made = _scaled(node, x.tensor, plain(1 / numbers), 0.0)
    elif isinstance(value, list):
        raise ValueError("it takes one number a channel")
    elif kind == "Pow" and place == 0 and value == 2:
        made = node.call(ops.square, x.tensor)
    else:
        made = node.call(_JOINS[kind], *((x.tensor, value) if place == 0 else (value, x.tensor)))
    positive = {"Add": x.positive and np.all(numbers >= 0), "Mul": x.positive and np.all(numbers >= 0)}
    return x.with_tensor(made, bool(positive.get(kind, False)))


def _joined(node: Node) -> Map:
    maps = [node.map(place) for place in range(len(node.inputs))]
    whole = max(maps, key=lambda one: (not one.is_summary, len(one.axes)))
    if any(one.axes != whole.axes for one in maps):
        raise ValueError("it joins maps whose axes lie in another order")
    if whole.is_summary and (spread := next((one.spread for one in maps if one.spread), None)):
        whole = replace(whole, spread=spread)
    tensors = [one.tensor for one in maps]
    if node.kind in ("Add", "Sum"):
        made = node.layer(layers.Add)(tensors)
    elif node.kind == "Mul":
        made = node.layer(layers.Multiply)(tensors)
    elif node.kind == "Mean":
        made = node.layer(layers.Average)(tensors)
    elif len(tensors) == 2:
        made = node.call(_JOINS[node.kind], *tensors)
    else:
        made = node.layer({"Max": layers.Maximum, "Min": layers.Minimum}[node.kind])(tensors)
    return whole.with_tensor(made, all(one.positive for one in maps) and node.kind in ("Add", "Mul", "Max", "Sum"))


def _softmax(node: Node) -> Map:
    x = node.map()
    axis = node.axis(len(x.axes), -1 if node.opset >= 13 else 1)
    alone = node.opset >= 13 or axis == len(x.axes) - 1 or x.is_summary
    if x.axes[axis] != CHANNELS or not alone:  # before version 13 the axis and all behind it make one distribution
        raise ValueError("its axis is not alone: use 'OpsetVersion', 13")
    return x.with_tensor(node.layer(layers.Softmax)(x.tensor), positive=True)


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "Elu", "Gelu", *_LAYERS), _activation),
    **dict.fromkeys(_OPERATIONS, _operation),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean"), _arithmetic),
    "Swish": _swish,
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "PRelu": _prelu,
    "Softmax": _softmax,
}
