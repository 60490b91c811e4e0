"""ONNX operators that move numbers: transposing, reshaping, joining and cutting of axes."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
from keras import KerasTensor, layers

from segapp.conversion.onnx_convolutions import padded, select_channels
from segapp.conversion.onnx_node import CHANNELS, Map, Node, Operator
from segapp.conversion.onnx_padding import Pads

_FLOATS = (1, 10, 11, 16)  # float32, float16, float64, bfloat16


def _raw(node: Node) -> Map:
    """The first input, which may be reshaped, or have a head that waits."""
    x = node.inputs[0]
    if not isinstance(x, Map):
        raise ValueError("its first input is constant")
    return x


def _unchanged(node: Node) -> Map:
    return _raw(node)


def _cast(node: Node) -> Map:
    if node.settings.get("to", 1) not in _FLOATS:  # the layers compute in float32
        raise ValueError("it makes whole numbers of a map")
    return _raw(node)


def _transposed(node: Node) -> Map:
    x = _raw(node)
    order = tuple(node.settings.get("perm") or reversed(range(len(x.shape))))
    if x.view is not None:
        shape, before = x.view
        return replace(x, view=(shape, tuple(before[place] for place in order)))
    return replace(x, axes=tuple(x.axes[place] for place in order))


def _squeezed(node: Node) -> Map:
    x = _raw(node)
    axes, rank = node.numbers(1, "axes"), len(x.shape)
    gone = {int(axis) % rank for axis in axes} if axes is not None else {i for i, n in enumerate(x.shape) if n == 1}
    if x.view is not None or any(x.shape[axis] != 1 for axis in gone):
        raise ValueError("it leaves out an axis of more than one element")
    return replace(x, axes=tuple(axis for place, axis in enumerate(x.axes) if place not in gone))


def _unsqueezed(node: Node) -> Map:
    x, axes = _raw(node), node.numbers(1, "axes")
    if axes is None or x.view is not None:
        raise ValueError("its axes are not constant")
    rank = len(x.axes) + len(axes)
    new = {int(axis) % rank for axis in axes}
    free = [axis for axis in range(4) if axis not in x.axes]
    if len(new) > len(free):
        raise ValueError(f"it makes {rank} axes")
    rest = iter(x.axes)
    return replace(x, axes=tuple(free.pop(0) if place in new else next(rest) for place in range(rank)))


def _concatenated(node: Node) -> Map:
    # timm's encoders give a map of no channels where they have none.
    full = [place for place, one in enumerate(node.inputs) if not isinstance(one, np.ndarray) or one.size]
    maps = [node.map(place) for place in full]
    if len(maps) == 1:
        return maps[0]
    axes = maps[0].axes
    if any(one.axes != axes for one in maps) or axes[node.axis(len(axes))] != CHANNELS:
        raise ValueError("it joins other things than maps along their channels")
    whole = next((one for one in maps if not one.is_summary), None)
    if whole is not None:
        maps = [_spread_out(node, one, whole.tensor) if one.is_summary else one for one in maps]
    made = node.layer(layers.Concatenate)([one.tensor for one in maps])
    return replace(maps[0], tensor=made, positive=all(one.positive for one in maps))


def _spread_out(node: Node, x: Map, beside: KerasTensor) -> Map:
    """A map of the size of `beside` whose pixels all are `x`."""
    nothing = node.call(keras.ops.zeros_like, node.call(keras.ops.mean, beside, axis=-1, keepdims=True))
    return replace(x, tensor=node.layer(layers.Add, "_spread")([nothing, x.tensor]), spread=None)


def _expanded(node: Node) -> Map:
    """A summary spread over an image; what joins it with a map does that by itself."""
    x, shape = node.map(), node.numbers(1)
    if shape is None:
        raise ValueError("its shape is not constant")
    wanted = np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))
    sizes = dict(zip(x.axes, wanted, strict=True)) if len(wanted) == len(x.axes) else {}
    if wanted == x.shape:
        return x
    if not x.is_summary or (sizes.get(0, 1), sizes.get(CHANNELS)) != (1, x.tensor.shape[CHANNELS]):
        raise ValueError(f"it makes {list(wanted)} of {list(x.shape)}")
    return replace(x, spread=(sizes.get(1, 1), sizes.get(2, 1)))


def _cut(node: Node, x: Map, axis: int, start: int, stop: int | None, step: int, suffix: str = "") -> Map:
    """`x` from `start` to before `stop` by `step` along the Keras axis `axis`."""
    size = x.tensor.shape[axis] if x.spread is None or axis == CHANNELS else x.spread[axis - 1]
    picked = range(*slice(start, stop, step).indices(size))
    start, stop, step = picked.start, picked.stop, picked.step
    if (start, stop, step) == (0, size, 1):
        return x
    if axis == 0 or x.spread is not None or (axis != CHANNELS and step < 1):
        raise ValueError("it cuts other things than channels, rows and columns")
    if axis == CHANNELS:
        return select_channels(node, x.called(), np.eye(size)[:, list(picked)], suffix or "_channels")
    steps = len(picked)
    after = size - (start + (steps - 1) * step + 1 if step == 1 else size)
    before = Pads(-start, 0, -after, 0) if axis == 1 else Pads(0, -start, 0, -after)
    x = padded(node, x, before)
    if step > 1:
        if steps * step + start < size:
            raise ValueError("it takes some of the pixels only")
        strides = (step, 1) if axis == 1 else (1, step)
        x = replace(x, tensor=node.layer(layers.MaxPooling2D, pool_size=1, strides=strides)(x.tensor))
    return x


def _sliced(node: Node) -> Map:
    x = node.map()
    starts, ends = node.numbers(1, "starts"), node.numbers(2, "ends")
    axes, steps = node.numbers(3, "axes"), node.numbers(4)
    if starts is None or ends is None:
        raise ValueError("its bounds are not constant")
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), int) if steps is None else steps
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[int(axis)]
        stop = int(stop) if int(step) > 0 or int(stop) >= -size else None  # backwards, up to the first
        x = _cut(node, x, x.axes[int(axis)], int(start), stop, int(step))
    return x


def _split(node: Node) -> list[Map]:
    x = node.map()
    place = node.axis(len(x.axes), 0)
    axis, size = x.axes[place], x.shape[place]
    sizes = node.numbers(1, "split")
    if sizes is None:
        each = -(-size // node.outputs)
        sizes = np.minimum(each, size - each * np.arange(node.outputs))
    ends = np.cumsum(sizes)
    return [
        _cut(node, x, axis, int(end - length), int(end), 1, f"_part_{number}")
        for number, (end, length) in enumerate(zip(ends, sizes, strict=True), start=1)
    ]


def _gathered(node: Node) -> Map:
    x, indices = node.map(), node.numbers(1)
    place = node.axis(len(x.axes), 0)
    if indices is None or indices.ndim > 1 or x.axes[place] != CHANNELS:
        raise ValueError("it picks other things than channels")
    places = np.ravel(indices).astype(int)
    made = select_channels(node, x, np.eye(x.tensor.shape[CHANNELS])[:, places])
    if indices.ndim:
        return made
    return replace(made, axes=tuple(axis for number, axis in enumerate(x.axes) if number != place))


OPERATORS: dict[str, Operator] = {
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Concat": _concatenated,
    "Expand": _expanded,
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
    "Cast": _cast,
    "CastLike": _unchanged,
    "Identity": _unchanged,
    "Dropout": _unchanged,
}
