"""ONNX operators that move numbers: transposing, reshaping, joining and cutting of axes."""

from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
from keras import KerasTensor, layers

from segapp.conversion.onnx_convolutions import padded, select_channels
from segapp.conversion.onnx_node import CHANNELS, NCHW, Map, Node, Operator
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


def _reshaped(node: Node) -> Map:
    x = _raw(node)
    before = x.shape
    if node.kind == "Flatten":
        axis = node.settings.get("axis", 1) % (len(before) + 1)
        wanted = [math.prod(before[:axis]), math.prod(before[axis:])]
    else:
        numbers = node.numbers(1, "shape")
        if numbers is None:
            raise ValueError("its shape is not constant")
        copies = not node.settings.get("allowzero", 0)
        wanted = [before[i] if size == 0 and copies else int(size) for i, size in enumerate(numbers)]
        rest = math.prod(size for size in wanted if size != -1)
        wanted = [math.prod(before) // max(rest, 1) if size == -1 else size for size in wanted]
    if math.prod(wanted) != math.prod(before):
        raise ValueError(f"it makes {wanted} of {list(before)}")
    return _viewed(node, x, tuple(wanted))


def _viewed(node: Node, x: Map, wanted: tuple[int, ...]) -> Map:
    if wanted == x.shape:
        return x
    if x.view is not None:
        return _put_together(node, x, wanted)
    if x.is_summary and x.spread is None:
        x = x.called()
        channels = x.tensor.shape[CHANNELS]
        place = next((i for i, size in enumerate(wanted) if i and size == channels), None)
        if place is not None and len(wanted) <= 4:
            others = iter((1, 2))
            axes = [0, *(CHANNELS if i == place else next(others) for i in range(1, len(wanted)))]
            return replace(x, axes=tuple(axes))
    elif [size for size in wanted if size != 1] == [size for size in x.shape if size != 1]:
        return _with_ones(x, wanted)
    if x.axes != NCHW or x.spread is not None or wanted[0] != 1:
        raise ValueError(f"it makes {list(wanted)} of {list(x.shape)}")
    return replace(x.called(), view=(wanted, tuple(range(len(wanted)))))


def _with_ones(x: Map, wanted: tuple[int, ...]) -> Map:
    """A map reshaped by leaving out axes of one element, or putting some in."""
    sizes = dict(zip(x.axes, x.shape, strict=True))
    there = [axis for axis in x.axes if sizes[axis] != 1]
    ones = [axis for axis in (*x.axes, *(a for a in range(4) if a not in x.axes)) if sizes.get(axis, 1) == 1]
    axes = [ones.pop(0) if size == 1 else there.pop(0) for size in wanted]
    return replace(x, axes=tuple(axes))


def _put_together(node: Node, x: Map, wanted: tuple[int, ...]) -> Map:
    """The map that two reshapes with a transposition between them make: known patterns only."""
    assert x.view is not None
    shape, order = x.view
    _, channels, height, width = replace(x, view=None).shape
    whole = (1, channels, height, width)
    if order == tuple(range(len(shape))):
        return _viewed(node, replace(x, view=None), wanted)
    if len(shape) in (4, 5) and math.prod(shape[3:]) == height * width and wanted == whole:
        groups = shape[1]
        if order[:3] == (0, 2, 1) and order[3:] == tuple(range(3, len(shape))) and groups * shape[2] == channels:
            places = np.arange(channels).reshape(groups, -1).T.ravel()  # ShuffleNet's shuffle of channels
            return select_channels(node, replace(x, view=None), np.eye(channels)[:, places])
    if len(shape) == 6 and shape[-2:] == (height, width) and wanted[2] % height == 0 and wanted[3] % width == 0:
        block = wanted[2] // height
        modes = {(0, 3, 4, 1, 5, 2): "DCR", (0, 1, 4, 2, 5, 3): "CRD"}
        if order in modes and wanted[3] == block * width:
            return _depth_to_space_of(node, replace(x, view=None), block, modes[order])
    if len(shape) == 6 and order in ((0, 3, 5, 1, 2, 4), (0, 1, 3, 5, 2, 4)) and shape[1] == channels:
        block = shape[3]
        if shape == (1, channels, height // block, block, width // block, block):
            return _space_to_depth_of(node, replace(x, view=None), block, blocks_first=order[1] == 3)
    raise ValueError(f"it makes {list(wanted)} of a reshaped map")


def _depth_to_space(node: Node) -> Map:
    return _depth_to_space_of(
        node, node.image(), node.settings["blocksize"], node.settings.get("mode", b"DCR").decode()
    )


def _depth_to_space_of(node: Node, x: Map, block: int, mode: str) -> Map:
    channels = x.tensor.shape[CHANNELS]
    filters = channels // block**2
    kernel = np.zeros((block, block, filters, channels), np.float32)
    for row, column, one in np.ndindex(block, block, filters):
        inside = row * block + column
        kernel[row, column, one, inside * filters + one if mode == "DCR" else one * block**2 + inside] = 1
    layer = node.layer(layers.Conv2DTranspose, filters=filters, kernel_size=block, strides=block, use_bias=False)
    return _fixed(layer, x, kernel)


def _space_to_depth(node: Node) -> Map:
    return _space_to_depth_of(node, node.image(), node.settings["blocksize"])


def _space_to_depth_of(node: Node, x: Map, block: int, blocks_first: bool = True) -> Map:
    channels = x.tensor.shape[CHANNELS]
    kernel = np.zeros((block, block, channels, channels * block**2), np.float32)
    for row, column, one in np.ndindex(block, block, channels):
        inside = row * block + column
        kernel[row, column, one, inside * channels + one if blocks_first else one * block**2 + inside] = 1
    layer = node.layer(layers.Conv2D, filters=channels * block**2, kernel_size=block, strides=block, use_bias=False)
    return _fixed(layer, x, kernel)


def _fixed(layer: layers.Layer, x: Map, kernel: np.ndarray) -> Map:
    made = layer(x.tensor)
    layer.set_weights([kernel])
    return x.with_tensor(made, x.positive)


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
    maps = [node.map(place) for place in range(len(node.inputs))]
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
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
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
