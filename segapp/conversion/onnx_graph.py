"""ONNX graphs made simpler before they are read: in float32, with probabilities or logits as their output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def compute_in_float32(graph: onnx.GraphProto) -> None:
    """Make a graph that computes in float16 one of float32, as the network that is made of it computes.

    Weights keep their values. In float16 the original rounds after each node: its probabilities are then up to 1e-3 off
    what its own weights say.
    """
    import onnx

    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for tensor in graph.initializer:
        tensor.CopyFrom(_widened(tensor))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.CopyFrom(_widened(attribute.t))
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = single
            elif attribute.type == onnx.AttributeProto.GRAPH:
                compute_in_float32(attribute.g)


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    import onnx

    if tensor.data_type != onnx.TensorProto.FLOAT16:
        return tensor
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def leave_out_unneeded(graph: onnx.GraphProto) -> None:
    """Take out the nodes on which the output does not depend: ONNX Runtime would run them, whatever they take."""
    needed = {one.name for one in graph.output}
    kept = []
    for node in reversed(graph.node):  # the checker has seen to it that each comes before those that use it
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def leave_out_argmax(graph: onnx.GraphProto) -> None:
    """Make the output what an ArgMax, or a LogSoftmax, at the end is taken of: probabilities or logits.

    Logarithms of probabilities are logits of them.
    """
    makers = {name: node for node in graph.node for name in node.output}
    if len(graph.output) != 1:
        return
    name = graph.output[0].name
    while name in makers and makers[name].op_type in ("ArgMax", "LogSoftmax", "Cast", "Squeeze", "Unsqueeze"):
        node = makers[name]
        name = node.input[0]
        if node.op_type in ("ArgMax", "LogSoftmax"):
            graph.output[0].name = name
            graph.output[0].type.tensor_type.elem_type = 1  # float32
            graph.output[0].type.tensor_type.ClearField("shape")
