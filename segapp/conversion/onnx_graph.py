"""ONNX graphs made simpler before they are read: in float32, with sizes worked out, and without what is not needed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_OF_SHAPES = {"Shape", "Size", "ConstantOfShape"}


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


def fold_shapes(file: onnx.ModelProto) -> onnx.ModelProto:
    """`file` with constants in the place of nodes that compute with the image's size, if ONNX Runtime is installed.

    PyTorch writes such nodes around paddings. A file without them is given back as it is.
    """
    if not _OF_SHAPES & {node.op_type for node in file.graph.node} or len(file.graph.input) != 1:
        return file
    try:
        import onnxruntime
    except ImportError:
        return file
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(file)
    dimensions = single.graph.input[0].type.tensor_type.shape.dim
    if dimensions and not dimensions[0].dim_value:
        dimensions[0].dim_value = 1
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="segapp-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(single.SerializeToString(), options, providers=["CPUExecutionProvider"])
            folded = onnx.load(options.optimized_model_filepath)
        except Exception:  # ONNX Runtime's exceptions have no base class; the nodes are then refused by name
            return file
    leave_out_unneeded(folded.graph)
    return folded


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
