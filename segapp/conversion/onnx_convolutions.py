"""ONNX operators that weigh channels: convolutions, dense layers, normalisations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from keras import layers

from segapp.conversion.head import neighbours, transposed_neighbours
from segapp.conversion.onnx_node import CHANNELS, NCHW, Head, Map, Node, Operator
from segapp.conversion.onnx_padding import Pads, read_pads


def _weighted(node: Node, layer: layers.Layer, x: Map, weights: list[np.ndarray | None]) -> Map:
    made = layer(x.tensor)
    layer.set_weights([values for values in weights if values is not None])
    return x.with_tensor(made)


def _convolution(node: Node) -> Map:
    kernel, bias = node.numbers(1), node.numbers(2)
    if kernel is None or kernel.ndim != 4:
        raise ValueError("it is not a convolution of images")
    x = node.map()
    if x.axes != NCHW or (x.spread is not None and kernel.shape[2:] != (1, 1)):
        raise ValueError("its input is not (N, C, H, W)")
    groups, channels = node.settings.get("group", 1), x.tensor.shape[CHANNELS]
    if channels != groups * kernel.shape[1]:
        raise ValueError(f"its kernel {kernel.shape} does not fit {channels} channels")
    strides, dilations = tuple(node.settings.get("strides", (1, 1))), tuple(node.settings.get("dilations", (1, 1)))
    if set(strides) != {1} and set(dilations) != {1}:  # which Keras has not
        kernel, dilations = _inflated(kernel, dilations), (1, 1)
    extent = [(side - 1) * dilation + 1 for side, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    pads = read_pads(node.settings, extent, strides, x.tensor.shape[1:3])
    side = kernel.shape[2]
    same = pads is None and set(strides) == set(dilations) == {1} and side == kernel.shape[3] and side % 2
    alone = extent == [1, 1] and set(strides) == {1} and not any(pads or ())
    if node.is_head and groups == 1 and (same or alone):
        bias = np.zeros(len(kernel), np.float32) if bias is None else bias
        name = node.names.new(node.name)
        tensor, weights = neighbours(x.tensor, kernel.transpose(2, 3, 1, 0), f"{name}_neighbours")
        return replace(x, tensor=tensor, head=Head(weights, bias, name), positive=False)
    x = padded(node, x, pads or Pads())
    padding = "same" if pads is None else "valid"
    settings: dict[str, Any] = {
        "strides": strides,
        "dilation_rate": dilations,
        "padding": padding,
        "use_bias": bias is not None,
    }
    if 1 < groups == channels and len(set(strides)) == 1:
        multiplier = len(kernel) // groups  # channel c gives the channels c * multiplier and following
        layer = node.layer(
            layers.DepthwiseConv2D, kernel_size=kernel.shape[2:], depth_multiplier=multiplier, **settings
        )
        by_channel = kernel[:, 0].reshape(groups, multiplier, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        return _weighted(node, layer, x, [by_channel, bias])
    layer = node.layer(layers.Conv2D, filters=len(kernel), kernel_size=kernel.shape[2:], groups=groups, **settings)
    return _weighted(node, layer, x, [kernel.transpose(2, 3, 1, 0), bias])


def _inflated(kernel: np.ndarray, dilations: tuple[int, ...]) -> np.ndarray:
    """A dilated kernel (..., h, w) with its zeros written out."""
    sides = [(side - 1) * dilation + 1 for side, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    whole = np.zeros((*kernel.shape[:2], *sides), kernel.dtype)
    whole[:, :, :: dilations[0], :: dilations[1]] = kernel
    return whole


def padded(node: Node, x: Map, pads: Pads) -> Map:
    """`x` with so many zeros around the image, or so many pixels cut off where `pads` are negative."""
    if max(pads) > 0:
        sides = Pads(*(max(side, 0) for side in pads)).sides
        x = x.with_tensor(node.layer(layers.ZeroPadding2D, "_padding", padding=sides)(x.tensor), x.positive)
    if min(pads) < 0:
        sides = Pads(*(max(-side, 0) for side in pads)).sides
        x = x.with_tensor(node.layer(layers.Cropping2D, "_cropping", cropping=sides)(x.tensor), x.positive)
    return x


def _transposed_convolution(node: Node) -> Map:
    x, kernel, bias = node.image(), node.numbers(1), node.numbers(2)
    if kernel is None or kernel.ndim != 4:
        raise ValueError("it is not a convolution of images")
    strides, dilations = tuple(node.settings.get("strides", (1, 1))), tuple(node.settings.get("dilations", (1, 1)))
    kernel = _inflated(kernel, dilations)
    more = tuple(node.settings.get("output_padding", (0, 0)))
    pads = _transposed_pads(node, kernel.shape[2:], strides, more, x.tensor.shape[1:3])
    if (groups := node.settings.get("group", 1)) > 1:  # a kernel of all channels, with zeros between the groups
        per_group = kernel.shape[0] // groups, kernel.shape[1]
        whole = np.zeros((kernel.shape[0], groups * kernel.shape[1], *kernel.shape[2:]), kernel.dtype)
        for group in range(groups):
            inside = slice(group * per_group[0], (group + 1) * per_group[0])
            whole[inside, group * per_group[1] : (group + 1) * per_group[1]] = kernel[inside]
        kernel = whole
    # What is wanted beyond the last pixel that the kernel reaches: zeros at the kernel's end reach so far.
    beyond = [max(after, 0) for after in (more[0] - pads.bottom, more[1] - pads.right)]
    beyond = [max(b, stride - side) for b, stride, side in zip(beyond, strides, kernel.shape[2:], strict=True)]
    kernel = np.pad(kernel, ((0, 0), (0, 0), (0, beyond[0]), (0, beyond[1])))
    cut = Pads(pads.top, pads.left, pads.bottom - more[0] + beyond[0], pads.right - more[1] + beyond[1])
    if node.is_head and groups == 1:
        bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias
        name = node.names.new(node.name)
        tensor, weights = transposed_neighbours(
            x.tensor, kernel.transpose(2, 3, 0, 1), strides, "valid", f"{name}_neighbours"
        )
        made = replace(x, tensor=tensor, head=Head(weights, bias, name), positive=False)
        return padded(node, made, Pads(*(-side for side in cut)))
    layer = node.layer(
        layers.Conv2DTranspose,
        filters=kernel.shape[1],
        kernel_size=kernel.shape[2:],
        strides=strides,
        use_bias=bias is not None,
    )
    made = _weighted(node, layer, x, [kernel.transpose(2, 3, 1, 0), bias])
    return padded(node, made, Pads(*(-side for side in cut)))


def _transposed_pads(
    node: Node, kernel: tuple[int, ...], strides: tuple[int, ...], more: tuple[int, ...], sizes: tuple[int, ...]
) -> Pads:
    automatic = node.settings.get("auto_pad", b"NOTSET").decode()
    wanted = node.settings.get("output_shape")
    if wanted is None and automatic in ("NOTSET", "VALID"):
        return Pads() if automatic == "VALID" else Pads(*node.settings.get("pads", Pads()))
    wanted = wanted[-2:] if wanted else [size * stride for size, stride in zip(sizes, strides, strict=True)]
    totals = [
        (size - 1) * stride + add + side - out
        for size, stride, add, side, out in zip(sizes, strides, more, kernel, wanted, strict=True)
    ]
    halves = [total // 2 if automatic == "SAME_UPPER" else total - total // 2 for total in totals]
    return Pads(halves[0], halves[1], totals[0] - halves[0], totals[1] - halves[1])


def select_channels(node: Node, x: Map, mixing: np.ndarray, suffix: str = "_channels") -> Map:
    """A map whose channels are those that `mixing` (C, K) makes of the channels of `x`."""
    layer = node.layer(layers.Conv2D, suffix, filters=mixing.shape[1], kernel_size=1, use_bias=False)
    return replace(_weighted(node, layer, x, [mixing[np.newaxis, np.newaxis].astype(np.float32)]), positive=x.positive)


def _dense(node: Node) -> Map:
    """MatMul and Gemm by constant weights, along the channels."""
    x, weights = node.map(0), node.numbers(1)
    if weights is None or weights.ndim != 2 or x.axes[-1] != CHANNELS:
        raise ValueError("it multiplies other things than channels by constant weights")
    bias = node.numbers(2)
    if node.kind == "Gemm":
        if node.settings.get("transA"):
            raise ValueError("it transposes its input")
        weights = weights.T if node.settings.get("transB") else weights
        weights = weights * np.float32(node.settings.get("alpha", 1))
        bias = None if bias is None else bias * np.float32(node.settings.get("beta", 1))
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), weights.shape[1:])
    if node.is_head:
        bias = np.zeros(weights.shape[1], np.float32) if bias is None else bias
        return replace(x, head=Head(weights[np.newaxis, np.newaxis], bias, node.names.new(node.name)), positive=False)
    layer = node.layer(layers.Conv2D, filters=weights.shape[1], kernel_size=1, use_bias=bias is not None)
    return _weighted(node, layer, x, [weights[np.newaxis, np.newaxis], bias])


def _batch_norm(node: Node) -> Map:
    x = node.map()
    if node.settings.get("training_mode"):
        raise ValueError("it is exported for training; export it for inference")
    if len(x.axes) < 2 or x.axes[1] != CHANNELS:
        raise ValueError("its channels are not on axis 1")
    layer = node.layer(layers.BatchNormalization, epsilon=node.settings.get("epsilon", 1e-5))
    return _weighted(node, layer, x, [node.numbers(position) for position in range(1, 5)])


def _layer_norm(node: Node) -> Map:
    x, scale, offset = node.map(), node.numbers(1), node.numbers(2)
    if scale is None or x.axes[node.axis(len(x.axes), -1) :] != (CHANNELS,):
        raise ValueError("it normalises along more than the channels")
    layer = node.layer(layers.LayerNormalization, epsilon=node.settings.get("epsilon", 1e-5), center=offset is not None)
    return _weighted(node, layer, x, [scale.reshape(-1), None if offset is None else offset.reshape(-1)])


def _group_norm(node: Node) -> Map:
    """GroupNormalization, and InstanceNormalization of a map or of one whose channels are reshaped into groups."""
    x, scale, offset = node.inputs[0], node.numbers(1), node.numbers(2)
    if not isinstance(x, Map) or x.axes != NCHW or scale is None or offset is None:
        raise ValueError("it normalises other things than maps (N, C, H, W)")
    x = x.called()
    channels = x.tensor.shape[CHANNELS]
    groups = channels
    if node.kind == "GroupNormalization":
        groups = node.settings["num_groups"]
    elif x.view is not None:
        shape, order = x.view
        groups = shape[1]
        if (
            order != tuple(range(len(shape)))
            or channels % groups
            or math.prod(shape[2:]) * groups != math.prod(x.tensor.shape[1:])
        ):
            raise ValueError("it works on a map that is reshaped")
    if len(scale) == groups:
        scale, offset = np.repeat(scale, channels // groups), np.repeat(offset, channels // groups)
    layer = node.layer(layers.GroupNormalization, groups=groups, epsilon=node.settings.get("epsilon", 1e-5))
    return _weighted(node, layer, x, [scale, offset])


OPERATORS: dict[str, Operator] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MatMul": _dense,
    "Gemm": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _group_norm,
    "GroupNormalization": _group_norm,
}
