"""What exporters make several nodes of; each takes the graph in the making and a map, and gives a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.conversion.onnx_builder import HEIGHT, WIDTH, Builder, Kind, f, i


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
