"""Small ONNX graphs of the kinds that exporters write: each between a convolution and a classifier.

A kind takes the graph in the making and a map of 6 channels, (1, 6, 32, 48), and gives one of the same shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.conversion.onnx_builder import CHANNELS, HEIGHT, WIDTH, Builder, Kind, f, i
from tests.conversion.onnx_patterns import (
    attention_gate,
    batch_norm,
    broadcast,
    by_sizes,
    constant_if,
    convolution_then_bias,
    cropped,
    dense_block,
    dense_softmax,
    depth_and_space,
    flattened,
    focus,
    gelu_by_erf,
    group_norm_by_reshapes,
    half,
    half_weights,
    hard_swish_by_clip,
    image_pooling,
    in_nhwc,
    layer_norm_by_arithmetic,
    mish_by_softplus,
    old_softmax,
    pad,
    pixel_shuffled,
    pooled,
    quantized_weights,
    resized,
    separable_by_keras,
    shuffled,
    sliced_channels,
    split,
    split_evenly,
    squeeze_excite,
    squeeze_excite_dense,
    strided,
    three_halves,
    torch_pads,
    transposed,
    unary,
    up,
    upsampled,
)

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
    "Concat with nothing": (13, lambda g, x: g.op("Concat", x, g.random(1, 0, HEIGHT, WIDTH), axis=1)),
    "Add with broadcasting": (13, lambda g, x: g.op("Add", x, g.op("Add", g.random(6, 1, 1), g.random(1, 1, 1)))),
    "If of a known condition": (13, constant_if),
    "Identity and Dropout": (13, lambda g, x: g.op("Identity", g.op("Dropout", x))),
}


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
