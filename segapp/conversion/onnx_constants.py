"""What in an ONNX graph does not depend on the image, computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_FOLDED = {
    *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Pow", "Min", "Max", "Sum"),
    *("Floor", "Ceil", "Round", "Cast", "CastLike", "Not", "And", "Or", "Equal", "Greater", "GreaterOrEqual", "Less"),
    *("LessOrEqual", "Where", "Shape", "Size", "ConstantOfShape", "Range", "Identity", "Concat", "Gather", "Slice"),
    *("Split", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile", "ReduceProd", "ReduceMin"),
    *("ReduceMax", "ReduceSum", "ReduceMean", "DequantizeLinear", "ScatterND", "OneHot", "Dropout", "Softplus"),
    *("Constant", "Sign", "Erf", "Sigmoid", "Tanh", "MatMul", "Pad", "NonZero"),
}
"""Operators of whole numbers and weights that exporters leave for the runtime to compute."""

_LARGEST, _GROWTH = 1 << 20, 4  # elements; a larger result may have so many times those of the inputs


def fold(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """What a node makes of constants, by ONNX' own reference implementation.

    Raises ValueError for an operator that is not computed ahead, and where the result would be far larger than what it
    is made of.
    """
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx"):
        raise ValueError("it works on constants and is not computed ahead")
    given = {name: values for name, values in zip(node.input, inputs, strict=True) if values is not None}
    graph = helper.make_graph(
        [node],
        "constants",
        [],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in given.items()],
    )
    if node.op_type == "DequantizeLinear":  # the reference knows it from version 19 on, which computes the same
        opset = max(opset, 19)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    held = sum(np.size(values) for values in given.values())
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for output in inferred.graph.output:
            sizes = [dimension.dim_value for dimension in output.type.tensor_type.shape.dim]
            if math.prod(sizes) > max(_LARGEST, _GROWTH * held):
                raise ValueError(f"it makes {sizes} of {held} numbers")
        if node.op_type in ("Tile", "Expand", "Range", "ConstantOfShape", "Pad", "OneHot") and not any(
            output.type.tensor_type.HasField("shape")
            and all(dimension.HasField("dim_value") for dimension in output.type.tensor_type.shape.dim)
            for output in inferred.graph.output
        ):
            raise ValueError("the size of what it makes is not known")
        return [np.asarray(made) for made in ReferenceEvaluator(model).run(None, {})]
    except ValueError:
        raise
    except Exception as error:  # the reference implementation raises what NumPy does, and classes of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"its constants do not fit ({reason[:60]})") from None
