"""Small ONNX graphs of the kinds that exporters write: each between a convolution and a classifier.

A kind takes the graph in the making and a map of 6 channels, (1, 6, 32, 48), and gives one of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, HEIGHT, WIDTH = 6, 32, 48


class Builder:
    """A graph in the making: `op` adds a node, whose inputs are tensors' names or arrays, and returns its output."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.numbers: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: Any, outputs: int = 1, domain: str = "", **settings: Any) -> Any:
        number = len(self.nodes)
        names = [self.constant(one) if not isinstance(one, str) else one for one in inputs]
        made = [f"{kind}_{number}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=f"/net/{kind}_{number}", domain=domain, **settings))
        return made[0] if outputs == 1 else made

    def constant(self, values: Any) -> str:
        name = f"number_{len(self.numbers)}"
        self.numbers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int, scale: float = 0.4) -> np.ndarray:
        return (scale * self.rng.normal(size=shape)).astype(np.float32)

    def conv(self, x: str, channels: int, filters: int, side: int = 3, **settings: Any) -> str:
        groups = settings.get("group", 1)
        kernel = self.random(filters, channels // groups, side, side)
        if not {"pads", "auto_pad"} & settings.keys():
            settings["pads"] = [side // 2] * 4
        return self.op("Conv", x, kernel, self.random(filters), **settings)

    def size(self, x: str) -> tuple[str, str]:
        """The height and width as PyTorch's exporter computes them where they are open."""
        shape = self.op("Shape", x)
        return tuple(self.op("Gather", shape, np.array(axis, np.int64), axis=0) for axis in (2, 3))


Kind = Callable[[Builder, str], str]


def f(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def half(g: Builder, x: str) -> str:
    return g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])


def resized(mode: str, factors: tuple[float, float] = (2, 2), **settings: Any) -> Kind:
    """To half the size, or so that `factors` give the whole size, and back by Resize."""

    def build(g: Builder, x: str) -> str:
        down = [round(factor) if factor >= 1 else 1 for factor in factors]
        x = g.op("MaxPool", x, kernel_shape=down, strides=down)
        return g.op("Resize", x, "", f(1, 1, *factors), mode=mode, **settings)

    return build


def by_sizes(g: Builder, x: str) -> str:
    """To the size of another map, as PyTorch's `F.interpolate(x, size=skip.shape[-2:])` is written."""
    sizes = [g.op("Unsqueeze", side, i(0)) for side in g.size(x)]
    small = half(g, x)
    start = g.op("Slice", g.op("Shape", small), i(0), i(2), i(0))
    whole = g.op("Concat", start, g.op("Cast", g.op("Concat", *sizes, axis=0), to=TensorProto.INT64), axis=0)
    return g.op("Resize", small, "", "", whole, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


def squeeze_excite(g: Builder, x: str) -> str:
    gate = g.op("GlobalAveragePool", x)
    gate = g.op("Relu", g.conv(gate, 6, 3, 1))
    return g.op("Mul", x, g.op("HardSigmoid", g.conv(gate, 3, 6, 1), alpha=1 / 6, beta=0.5))


def squeeze_excite_dense(g: Builder, x: str) -> str:
    """Keras' and timm's: a mean without its axes, dense layers, and a reshape."""
    gate = g.op("ReduceMean", x, i(2, 3), keepdims=0)
    gate = g.op("Relu", g.op("Gemm", gate, g.random(3, 6), g.random(3), transB=1))
    gate = g.op("Add", g.op("MatMul", gate, g.random(3, 6)), g.random(6))
    return g.op("Mul", x, g.op("Reshape", g.op("Sigmoid", gate), i(-1, 6, 1, 1)))


def flattened(g: Builder, x: str) -> str:
    gate = g.op("Flatten", g.op("GlobalMaxPool", x), axis=1)
    gate = g.op("Unsqueeze", g.op("Gemm", gate, g.random(6, 6), g.random(6), alpha=0.5, beta=2.0), i(2, 3))
    return g.op("Mul", x, g.op("Expand", g.op("Sigmoid", gate), g.op("Shape", x)))


def between(forth: list[int], back: list[int], inner: Kind) -> Kind:
    """`inner` between two transpositions."""
    return lambda g, x: g.op("Transpose", inner(g, g.op("Transpose", x, perm=forth)), perm=back)


def in_nhwc(inner: Kind) -> Kind:
    return between([0, 2, 3, 1], [0, 3, 1, 2], inner)


def group_norm_by_reshapes(g: Builder, x: str) -> str:
    """PyTorch's nn.GroupNorm(3, 6) before opset 18."""
    y = g.op("Reshape", x, i(0, 3, -1))
    y = g.op("InstanceNormalization", y, np.ones(3, np.float32), np.zeros(3, np.float32), epsilon=1e-5)
    y = g.op("Reshape", y, g.op("Shape", x))
    return g.op("Add", g.op("Mul", y, g.random(6, 1, 1)), g.random(6, 1, 1))


def layer_norm_by_arithmetic(g: Builder, x: str) -> str:
    """PyTorch's nn.LayerNorm before opset 17, on (N, H, W, C)."""
    centred = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1]))
    variance = g.op("ReduceMean", g.op("Pow", centred, f(2)), axes=[-1])
    y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, f(1e-6))))
    return g.op("Add", g.op("Mul", y, g.random(6)), g.random(6))


def batch_norm(g: Builder, x: str, epsilon: float = 1e-5) -> str:
    mean, variance = g.random(6), g.rng.uniform(0.001, 1, 6).astype(np.float32)
    return g.op("BatchNormalization", x, g.random(6), g.random(6), mean, variance, epsilon=epsilon)


def shuffled(g: Builder, x: str) -> str:
    """ShuffleNet's shuffle of channels."""
    y = g.op("Reshape", x, i(0, 2, 3, HEIGHT, WIDTH))
    return g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3, 4]), i(0, 6, HEIGHT, WIDTH))


def pixel_shuffled(g: Builder, x: str) -> str:
    """PyTorch's nn.PixelShuffle where an exporter writes it as reshapes."""
    x = g.conv(x, 6, 24, 2, strides=[2, 2], pads=[0] * 4)
    y = g.op("Transpose", g.op("Reshape", x, i(1, 6, 2, 2, 16, 24)), perm=[0, 1, 4, 2, 5, 3])
    return g.op("Reshape", y, i(1, 6, HEIGHT, WIDTH))


def depth_and_space(mode: str) -> Kind:
    return lambda g, x: g.op("DepthToSpace", g.op("SpaceToDepth", x, blocksize=2), blocksize=2, mode=mode)


def focus(g: Builder, x: str) -> str:
    """Every second pixel, four times, joined along the channels (YOLO's Focus, Swin's patch merging)."""
    parts = [g.op("Slice", x, i(r, c), i(2**31, 2**31), i(2, 3), i(2, 2)) for r in (0, 1) for c in (0, 1)]
    return g.op("DepthToSpace", g.conv(g.op("Concat", *parts, axis=1), 24, 24, 1), blocksize=2)


def split(g: Builder, x: str) -> str:
    a, b = g.op("Split", x, i(2, 4), outputs=2, axis=1)
    return g.op("Concat", b, g.op("Relu", a), axis=1)


def split_evenly(g: Builder, x: str) -> str:
    parts = g.op("Split", x, outputs=3, axis=1, num_outputs=3)
    return g.op("Concat", *reversed(parts), axis=1)


def sliced_channels(g: Builder, x: str) -> str:
    first, rest = g.op("Slice", x, i(0), i(2), i(1)), g.op("Slice", x, i(-4), i(2**63 - 1), i(1))
    return g.op("Concat", rest, g.op("Neg", first), axis=1)


def cropped(g: Builder, x: str) -> str:
    """Valid convolution of a padded image, cut back; and a skip that is cut, as the first U-Net has it."""
    x = g.op("Pad", x, i(0, 0, 3, 3, 0, 0, 2, 2))
    cut = g.op("Slice", x, i(3, 3), i(-2, -2), i(2, 3))
    wide = g.conv(x, 6, 6, 3, pads=[0] * 4)
    return g.op("Add", cut, g.op("Slice", wide, i(2, 2), i(2 + HEIGHT, 2 + WIDTH), i(2, 3)))


def torch_pads(g: Builder, x: str) -> str:
    """Pads as PyTorch's F.pad is written: reversed, and filled with zeros computed from the rank."""
    given = g.op("Cast", i(1, 1, 1, 1), to=TensorProto.INT64)
    missing = g.op("Sub", g.op("Mul", g.op("Size", g.op("Shape", x)), i(2)), i(4))
    more = g.op("ConstantOfShape", g.op("Reshape", missing, i(-1)), value=numpy_helper.from_array(i(0)))
    pads = g.op("Reshape", g.op("Concat", given, more, axis=0), i(-1, 2))
    backwards = g.op("Transpose", g.op("Slice", pads, i(-1), i(-(2**63) + 1), i(0), i(-1)), perm=[1, 0])
    return g.conv(g.op("Pad", x, g.op("Reshape", backwards, i(-1)), f(0).reshape(())), 6, 6, pads=[0] * 4)


def pad(mode: str, value: float = 0) -> Kind:
    def build(g: Builder, x: str) -> str:
        wide = g.op("Pad", x, i(0, 0, 2, 1, 0, 0, 2, 3), f(value).reshape(()), mode=mode)
        return g.conv(wide, 6, 6, 5, pads=[0] * 4)

    return build


def pooled(kind: str, side: int, **settings: Any) -> Kind:
    """A pooling of stride 2 and back."""
    return lambda g, x: up(g, g.op(kind, x, kernel_shape=[side, side], strides=[2, 2], **settings))


def up(g: Builder, x: str) -> str:
    return g.op("Resize", x, "", f(1, 1, 2, 2), mode="nearest")


def transposed(side: int, channels: int = 6, filters: int = 6, **settings: Any) -> Kind:
    groups = settings.get("group", 1)
    settings = {"strides": [2, 2], **settings}
    return lambda g, x: g.op(
        "ConvTranspose", half(g, x), g.random(channels, filters // groups, side, side), g.random(filters), **settings
    )


def strided(g: Builder, x: str, **settings: Any) -> str:
    return up(g, g.conv(x, 6, 6, strides=[2, 2], **settings))


def image_pooling(g: Builder, x: str) -> str:
    """ASPP's: the mean of the image, a convolution, and resizing to the map that it is joined with."""
    mean = g.op("Relu", g.conv(g.op("GlobalAveragePool", x), 6, 3, 1))
    sizes = g.op("Concat", i(1, 3), *(g.op("Unsqueeze", side, i(0)) for side in g.size(x)), axis=0)
    wide = g.op("Resize", mean, "", "", sizes, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    parts = [g.conv(x, 6, 4, 3, dilations=[rate] * 2, pads=[rate] * 4) for rate in (2, 4)]
    return g.conv(g.op("Concat", wide, *parts, axis=1), 11, 6, 1)


def broadcast(g: Builder, x: str) -> str:
    y = g.op("Add", g.op("Mul", x, g.random(6, 1, 1)), g.random(1, 6, 1, 1))
    y = g.op("Sub", f(1).reshape(()), g.op("Div", y, f(2, 3, 4, 5, 6, 7).reshape(6, 1, 1)))
    return g.op("Max", y, f(-0.5))


def attention_gate(g: Builder, x: str) -> str:
    """Attention U-Net's, and CBAM's mean and maximum of all channels."""
    parts = [g.op("ReduceMean", x, i(1)), g.op("ReduceMax", x, i(1))]
    gate = g.op("Sigmoid", g.conv(g.op("Concat", *parts, axis=1), 2, 1, 7))
    return g.op("Mul", x, gate)


def gelu_by_erf(g: Builder, x: str) -> str:
    inner = g.op("Add", g.op("Erf", g.op("Div", x, f(2**0.5).reshape(()))), f(1).reshape(()))
    return g.op("Mul", g.op("Mul", x, inner), f(0.5).reshape(()))


def mish_by_softplus(g: Builder, x: str) -> str:
    return g.op("Mul", x, g.op("Tanh", g.op("Softplus", x)))


def hard_swish_by_clip(g: Builder, x: str) -> str:
    clipped = g.op("Clip", g.op("Add", x, f(3).reshape(())), f(0).reshape(()), f(6).reshape(()))
    return g.op("Div", g.op("Mul", x, clipped), f(6).reshape(()))


def half_weights(g: Builder, x: str) -> str:
    kernel = g.op("Cast", g.random(6, 6, 3, 3).astype(np.float16), to=TensorProto.FLOAT)
    return g.op("Conv", x, kernel, pads=[1] * 4)


def quantized_weights(g: Builder, x: str) -> str:
    kernel = g.rng.integers(-127, 127, (6, 6, 3, 3)).astype(np.int8)
    scale, zero = np.full(6, 0.005, np.float32), np.zeros(6, np.int8)
    return g.op("Conv", x, g.op("DequantizeLinear", kernel, scale, zero, axis=0), pads=[1] * 4)


def separable_by_keras(g: Builder, x: str) -> str:
    """tf2onnx writes a depthwise kernel as a reshape of TensorFlow's."""
    kernel = g.op("Reshape", g.op("Transpose", g.random(3, 3, 6, 1), perm=[2, 3, 0, 1]), i(6, 1, 3, 3))
    return g.conv(g.op("Conv", x, kernel, group=6, auto_pad="SAME_UPPER"), 6, 6, 1)


def convolution_then_bias(g: Builder, x: str) -> str:
    """A bias that tf2onnx and MATLAB write as an Add."""
    return g.op("Add", g.op("Conv", x, g.random(6, 6, 3, 3), pads=[1] * 4), g.random(1, 6, 1, 1))


def constant_if(g: Builder, x: str) -> str:
    """PyTorch's scripted squeeze and the like: a condition that the exporter left to the runtime."""
    make, info = helper.make_node, helper.make_tensor_value_info
    branches = [
        helper.make_graph([make(kind, [x], [f"{kind}_out"])], kind, [], [info(f"{kind}_out", TensorProto.FLOAT, None)])
        for kind in ("Relu", "Neg")
    ]
    rank = g.op("Gather", g.op("Shape", g.op("Shape", x)), i(0))
    condition = g.op("Equal", rank, i(4))
    return g.op("If", condition, then_branch=branches[0], else_branch=branches[1])


def dense_block(g: Builder, x: str) -> str:
    maps = [x]
    for _ in range(3):
        joined = g.op("Concat", *maps, axis=-3) if len(maps) > 1 else maps[0]
        maps.append(g.op("Relu", g.conv(joined, 6 + 3 * (len(maps) - 1), 3)))
    return g.conv(g.op("Concat", *maps, axis=1), 15, 6, 1)


def three_halves(g: Builder, x: str) -> str:
    x = g.op("Resize", x, "", f(1, 1, 1.5, 1.5), mode="linear")
    return g.op("Resize", x, "", "", i(1, 6, HEIGHT, WIDTH), mode="nearest")


def unary(kind: str, **settings: Any) -> Kind:
    return lambda g, x: g.op(kind, x, **settings)


KINDS: dict[str, tuple[int, Kind]] = {
    # activations
    "Relu": (13, unary("Relu")),
    "LeakyRelu": (13, unary("LeakyRelu", alpha=0.2)),
    "PRelu": (13, lambda g, x: g.op("PRelu", x, g.random(6, 1, 1))),
    "PRelu with one slope": (13, lambda g, x: g.op("PRelu", x, f(0.3))),
    "Elu": (13, unary("Elu", alpha=0.7)),
    "Selu": (13, unary("Selu")),
    "Softplus": (13, unary("Softplus")),
    "Sigmoid": (13, unary("Sigmoid")),
    "HardSigmoid": (13, unary("HardSigmoid", alpha=0.25, beta=0.4)),
    "HardSwish": (14, unary("HardSwish")),
    "HardSwish by Clip": (13, hard_swish_by_clip),
    "SiLU": (13, lambda g, x: g.op("Mul", x, g.op("Sigmoid", x))),
    "Mish": (18, unary("Mish")),
    "Mish by Softplus": (13, mish_by_softplus),
    "Gelu": (20, unary("Gelu")),
    "Gelu by tanh": (20, unary("Gelu", approximate="tanh")),
    "Gelu by Erf": (13, gelu_by_erf),
    "Clip to 0 and 6": (13, lambda g, x: g.op("Clip", x, f(0).reshape(()), f(6).reshape(()))),
    "Clip to other numbers": (13, lambda g, x: g.op("Clip", x, f(-0.5).reshape(()), f(1).reshape(()))),
    "Clip from above": (13, lambda g, x: g.op("Clip", x, "", f(0.3).reshape(()))),
    "Clip by attributes": (9, unary("Clip", min=-0.2, max=0.9)),
    # convolutions
    "depthwise": (13, lambda g, x: g.conv(x, 6, 6, group=6)),
    "depthwise with multiplier": (13, lambda g, x: g.conv(g.conv(x, 6, 12, group=6), 12, 6, 1)),
    "grouped": (13, lambda g, x: g.conv(x, 6, 6, group=2)),
    "dilated": (13, lambda g, x: g.conv(x, 6, 6, dilations=[2, 2], pads=[2] * 4)),
    "dilated and strided": (13, lambda g, x: up(g, g.conv(x, 6, 6, strides=[2, 2], dilations=[2, 2], pads=[2] * 4))),
    "strided": (13, strided),
    "strided SAME_UPPER": (13, lambda g, x: strided(g, x, auto_pad="SAME_UPPER")),
    "strided SAME_LOWER": (13, lambda g, x: strided(g, x, auto_pad="SAME_LOWER")),
    "separable of Keras": (13, separable_by_keras),
    "kernel of 1 x 5": (13, lambda g, x: g.op("Conv", x, g.random(6, 6, 1, 5), pads=[0, 2, 0, 2])),
    "bias by Add": (13, convolution_then_bias),
    "float16 weights with Cast": (13, half_weights),
    "int8 weights with DequantizeLinear": (13, quantized_weights),
    "ConvTranspose": (13, transposed(2)),
    "ConvTranspose, padded": (13, transposed(4, pads=[1] * 4)),
    "ConvTranspose, output padding": (13, transposed(3, pads=[1] * 4, output_padding=[1, 1])),
    "ConvTranspose, output padding beyond the kernel": (13, transposed(1, output_padding=[1, 1])),
    "ConvTranspose, output shape": (13, transposed(3, output_shape=[HEIGHT, WIDTH])),
    "ConvTranspose, SAME_UPPER": (13, transposed(3, auto_pad="SAME_UPPER")),
    "ConvTranspose, depthwise": (13, transposed(4, pads=[1] * 4, group=6)),
    "ConvTranspose, grouped": (13, transposed(2, group=2)),
    "MatMul in NHWC": (13, in_nhwc(lambda g, x: g.op("Add", g.op("MatMul", x, g.random(6, 6)), g.random(6)))),
    # normalisations
    "BatchNormalization": (15, batch_norm),
    "BatchNormalization, odd epsilon": (15, lambda g, x: batch_norm(g, x, 0.0133)),
    "BatchNormalization as Mul and Add": (13, broadcast),
    "InstanceNormalization": (
        13,
        lambda g, x: g.op("InstanceNormalization", x, g.random(6), g.random(6), epsilon=1e-3),
    ),
    "GroupNormalization": (21, lambda g, x: g.op("GroupNormalization", x, g.random(6), g.random(6), num_groups=3)),
    "GroupNorm by reshapes": (13, group_norm_by_reshapes),
    "LayerNormalization in NHWC": (17, in_nhwc(lambda g, x: g.op("LayerNormalization", x, g.random(6), g.random(6)))),
    "LayerNorm by arithmetic": (13, in_nhwc(layer_norm_by_arithmetic)),
    # pooling and reductions
    "MaxPool 3 x 3, padded": (13, pooled("MaxPool", 3, pads=[1] * 4)),
    "MaxPool, ceil_mode": (13, pooled("MaxPool", 3, ceil_mode=1)),
    "MaxPool, ceil_mode and pads": (13, pooled("MaxPool", 3, ceil_mode=1, pads=[0, 0, 1, 1])),
    "MaxPool SAME_UPPER": (13, pooled("MaxPool", 3, auto_pad="SAME_UPPER")),
    "AveragePool": (13, pooled("AveragePool", 2)),
    "AveragePool, padded": (13, pooled("AveragePool", 3, pads=[1] * 4)),
    "AveragePool, padding counts": (13, pooled("AveragePool", 3, pads=[1] * 4, count_include_pad=1)),
    "AveragePool, ceil_mode": (19, pooled("AveragePool", 3, ceil_mode=1)),
    "AveragePool SAME_UPPER": (13, pooled("AveragePool", 3, auto_pad="SAME_UPPER")),
    "squeeze and excite": (18, squeeze_excite),
    "squeeze and excite, dense": (18, squeeze_excite_dense),
    "Flatten, Gemm, Unsqueeze, Expand": (13, flattened),
    "ReduceMean by attribute": (13, lambda g, x: g.op("Sub", x, g.op("ReduceMean", x, axes=[2, 3], keepdims=1))),
    "means of channels": (18, attention_gate),
    "image pooling": (13, image_pooling),
    # resizing
    "Upsample": (9, lambda g, x: g.op("Upsample", half(g, x), f(1, 1, 2, 2), mode="nearest")),
    "Upsample linear": (9, lambda g, x: g.op("Upsample", half(g, x), f(1, 1, 2, 2), mode="linear")),
    "Resize of opset 10": (10, lambda g, x: g.op("Resize", half(g, x), f(1, 1, 2, 2), mode="linear")),
    "Resize nearest": (13, resized("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
    "Resize nearest, asymmetric, ceil": (
        13,
        resized("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
    ),
    "Resize nearest, asymmetric, default": (
        13,
        resized("nearest", (4, 4), coordinate_transformation_mode="asymmetric"),
    ),
    "Resize nearest, half_pixel": (13, resized("nearest", (4, 3), nearest_mode="round_prefer_ceil")),
    "Resize nearest, align_corners": (13, resized("nearest", coordinate_transformation_mode="align_corners")),
    "Resize nearest, tf_half_pixel_for_nn": (
        13,
        resized("nearest", coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor"),
    ),
    "Resize linear, half_pixel": (13, resized("linear")),
    "Resize linear, half_pixel_symmetric": (
        19,
        resized("linear", coordinate_transformation_mode="half_pixel_symmetric"),
    ),
    "Resize linear, pytorch_half_pixel": (
        13,
        resized("linear", (4, 2), coordinate_transformation_mode="pytorch_half_pixel"),
    ),
    "Resize linear, align_corners": (13, resized("linear", coordinate_transformation_mode="align_corners")),
    "Resize linear, asymmetric": (13, resized("linear", coordinate_transformation_mode="asymmetric")),
    "Resize cubic": (13, resized("cubic")),
    "Resize cubic, align_corners": (13, resized("cubic", coordinate_transformation_mode="align_corners")),
    "Resize to sizes of a map": (13, by_sizes),
    "Resize by 1/2 and 2": (13, lambda g, x: up(g, g.op("Resize", x, "", f(1, 1, 0.5, 0.5), mode="linear"))),
    "Resize by 3/2 and 2/3": (13, three_halves),
    # layouts
    "Transpose to NHWC and back": (13, in_nhwc(unary("Relu"))),
    "Reshape that changes nothing": (13, lambda g, x: g.op("Reshape", x, i(0, 6, HEIGHT, -1))),
    "channel shuffle": (13, shuffled),
    "pixel shuffle by reshapes": (13, pixel_shuffled),
    "DepthToSpace": (13, depth_and_space("DCR")),
    "DepthToSpace CRD": (13, depth_and_space("CRD")),
    "every second pixel": (13, focus),
    "Split": (13, split),
    "Split evenly": (18, split_evenly),
    "Slice of channels": (13, sliced_channels),
    "Slice of the image": (13, cropped),
    "Gather of channels": (13, lambda g, x: g.op("Gather", x, i(5, 0, 1, 2, 3, 4), axis=1)),
    "Pad as PyTorch writes it": (13, torch_pads),
    "Pad with a number": (13, pad("constant", 0.7)),
    "Pad by reflection": (13, pad("reflect")),
    "Pad by the edge": (13, pad("edge")),
    "Concat of more than two": (13, dense_block),
    "Add with broadcasting": (13, lambda g, x: g.op("Add", x, g.op("Add", g.random(6, 1, 1), g.random(1, 1, 1)))),
    "If of a known condition": (13, constant_if),
    "Identity and Dropout": (13, lambda g, x: g.op("Identity", g.op("Dropout", x))),
}


def old_softmax(g: Builder, x: str) -> str:
    """Between transpositions, as PyTorch's exporter writes it before opset 13."""
    x = g.op("Softmax", g.op("Transpose", g.conv(x, 6, 4, 1), perm=[0, 2, 3, 1]), axis=3)
    return g.op("Transpose", x, perm=[0, 3, 1, 2])


def upsampled(side: int, **settings: Any) -> Kind:
    """A classifier at half the size, whose logits are resized: DeepLab's and FPN's."""
    return lambda g, x: g.op("Resize", g.conv(half(g, x), 6, 4, side), "", f(1, 1, 2, 2), mode="linear", **settings)


def dense_softmax(g: Builder, x: str) -> str:
    x = g.op("MatMul", g.op("Transpose", x, perm=[0, 2, 3, 1]), g.random(6, 4))
    return g.op("Softmax", g.op("Add", x, g.random(4)), axis=-1)


TAILS: dict[str, tuple[int, Kind]] = {
    "logits": (13, lambda g, x: g.conv(x, 6, 4, 1)),
    "kernel of 3 x 3": (13, lambda g, x: g.conv(x, 6, 4, 3)),
    "bias by Add": (13, lambda g, x: g.op("Add", g.op("Conv", x, g.random(4, 6, 1, 1)), g.random(4, 1, 1))),
    "Softmax": (13, lambda g, x: g.op("Softmax", g.conv(x, 6, 4, 1), axis=1)),
    "Softmax of opset 11": (11, old_softmax),
    "LogSoftmax": (13, lambda g, x: g.op("LogSoftmax", g.conv(x, 6, 4, 1), axis=1)),
    "ArgMax": (13, lambda g, x: g.op("ArgMax", g.op("Softmax", g.conv(x, 6, 4, 1), axis=1), axis=1, keepdims=0)),
    "upsampled logits": (13, upsampled(3)),
    "ConvTranspose": (13, transposed(4, filters=4, pads=[1] * 4)),
    "upsampled logits, align_corners": (13, upsampled(1, coordinate_transformation_mode="align_corners")),
    "dense layer in NHWC, Softmax": (13, dense_softmax),
}


def write(
    path: Path, kind: Kind, tail: Kind, opset: int, *, sides: tuple[Any, Any] = (HEIGHT, WIDTH), last: bool = False
) -> Path:
    """A convolution, the `kind`, a ReLU and the `tail`; `last` has the image's bands on its last axis."""
    g = Builder()
    x = g.op("Transpose", "image", perm=[0, 3, 1, 2]) if last else "image"
    x = kind(g, g.conv(x, 3, CHANNELS))
    output = tail(g, g.op("Relu", x))
    shape = ["batch", *sides, 3] if last else ["batch", 3, *sides]
    is_index = g.nodes[-1].op_type == "ArgMax"
    kind_of, rank = (TensorProto.INT64, 3) if is_index else (TensorProto.FLOAT, 4)
    made = helper.make_tensor_value_info(output, kind_of, [None] * rank)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(g.nodes, "network", [image], [made], g.numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, path)
    return path
