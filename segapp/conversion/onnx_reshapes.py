"""ONNX operators that reshape: what a Keras map, which keeps its four axes, can follow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from keras import layers

from segapp.conversion.onnx_convolutions import select_channels
from segapp.conversion.onnx_node import CHANNELS, NCHW, Map, Node, Operator


def _reshaped(node: Node) -> Map:
    x = node.inputs[0]
    if not isinstance(x, Map):
        raise ValueError("its first input is constant")
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


OPERATORS: dict[str, Operator] = {
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
