"""An ONNX graph walked from its image to its map, with a Keras layer called for each operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from segapp.conversion import onnx_arithmetic, onnx_convolutions, onnx_pixels, onnx_reshapes, onnx_shapes
from segapp.conversion.onnx_constants import fold
from segapp.conversion.onnx_node import NCHW, Map, Names, Node, Operator, Value
from segapp.errors import InputError

if TYPE_CHECKING:
    import onnx

_OPERATORS: dict[str, Operator] = {
    **onnx_convolutions.OPERATORS,
    **onnx_pixels.OPERATORS,
    **onnx_arithmetic.OPERATORS,
    **onnx_reshapes.OPERATORS,
    **onnx_shapes.OPERATORS,
}
_WITH_WEIGHTS = {*onnx_convolutions.OPERATORS, "PRelu"}
_LONGEST = 50  # letters of a name or a reason in a message


@dataclass
class Graph:
    """Nodes in order, what of their inputs is constant, and the version of ONNX' operators."""

    path: Path
    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    opset: int
    values: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values.update(self.constants)

    def refused(self, node: onnx.NodeProto, why: str) -> InputError:
        """That a node cannot be converted: one line with its name and operator."""
        name = (node.name or node.output[0])[-40:]
        return InputError(f"{self.path}: node '{name}' ({node.op_type}) {why}; replace it before the export")


def fold_constants(graph: Graph) -> None:
    """Compute what depends on constants alone, and take those nodes out."""
    kept = []
    for node in graph.nodes:
        inputs = [graph.values.get(name) if name else None for name in node.input]
        if node.input and all(value is not None or not name for value, name in zip(inputs, node.input, strict=True)):
            _fold(graph, node)
        else:
            kept.append(node)
    graph.nodes = kept


def _fold(graph: Graph, node: onnx.NodeProto) -> None:
    inputs = [graph.values[name] if name else None for name in node.input]
    try:
        made = fold(node, inputs, graph.opset)  # type: ignore[arg-type]
    except ValueError as error:
        raise graph.refused(node, f"cannot be built ({str(error)[:_LONGEST]})") from None
    graph.values.update({name: values for name, values in zip(node.output, made, strict=True) if name})


def translate(
    graph: Graph, ends: tuple[str, str], shape: tuple[int, int, int], axes: tuple[int, ...] = NCHW
) -> tuple[keras.Model, Map]:
    """The network of `graph` from the tensor `ends[0]`, an image of `shape` (H, W, C), to `ends[1]`, with its weights.

    `axes` are those of the image, as in `Map`. Also gives the map as ONNX makes it. Raises InputError naming the node
    that cannot be translated.
    """
    image = keras.Input(shape, name="image")
    graph.values[ends[0]] = Map(image, axes)
    names = Names({"image"})
    head = _last_with_weights(graph)
    for node in graph.nodes:
        _apply(graph, node, names, head)
    output = graph.values.get(ends[1])
    if not isinstance(output, Map):
        raise InputError(f"{graph.path}: its output '{ends[1]}' does not depend on the image; export it again")
    if output.view is not None or output.spread is not None or not {0, 1, 2} <= set(output.axes):
        raise InputError(f"{graph.path}: its output is {list(output.shape)}, no map of each pixel; export it as a map")
    output = output.called()
    return keras.Model(image, output.tensor), output


def _last_with_weights(graph: Graph) -> str:
    """What the last node with weights makes, of which a head is made if it is a convolution."""
    weighted = [
        node.output[0]
        for node in graph.nodes
        if node.op_type in _WITH_WEIGHTS and len(node.input) > 1 and node.input[1] in graph.values
    ]
    return weighted[-1] if weighted else ""


def _apply(graph: Graph, node: onnx.NodeProto, names: Names, head: str) -> None:
    """Put what `node` makes among the values of `graph`."""
    from onnx import helper

    stray = next((name for name in node.input if name and name not in graph.values), None)
    if stray is not None:
        raise graph.refused(node, f"takes '{stray[-_LONGEST:]}', which nothing makes")
    inputs = [graph.values[name] if name else None for name in node.input]
    if node.op_type == "If" and isinstance(condition := inputs[0], np.ndarray):
        settings = {one.name: one.g for one in node.attribute}
        branch = settings["then_branch" if condition.ravel()[0] else "else_branch"]
        _inline(graph, node, branch, names, head)
        return
    first = inputs[0] if inputs else None
    if node.op_type in ("Shape", "Size") and isinstance(first, Map):
        whole = list(first.shape)
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        part = whole[settings.get("start", 0) : settings.get("end")]
        graph.values[node.output[0]] = np.array(part if node.op_type == "Shape" else np.prod(whole), np.int64)
        return
    if node.op_type == "CastLike" and isinstance(first, np.ndarray):  # maps are of float32
        graph.values[node.output[0]] = first.astype(np.float32)
        return
    if node.op_type == "ConstantOfShape" or not any(isinstance(value, Map) for value in inputs):
        _fold(graph, node)
        return
    operator = _OPERATORS.get(node.op_type)
    if operator is None or node.domain not in ("", "ai.onnx"):
        raise graph.refused(node, "has no counterpart in Keras")
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    used = sum(bool(name) for name in node.output)
    name = node.name or node.output[0]
    here = Node(node.op_type, name, settings, inputs, used, graph.opset, names, node.output[0] == head)
    try:
        made = operator(here)
    except (ValueError, KeyError, TypeError, IndexError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise graph.refused(node, f"cannot be built ({reason[:_LONGEST]})") from None
    maps = made if isinstance(made, list) else [made]
    graph.values.update(dict(zip(node.output, maps, strict=False)))


def _inline(graph: Graph, node: onnx.NodeProto, branch: onnx.GraphProto, names: Names, head: str) -> None:
    """The nodes of a branch of an If whose condition is known."""
    from onnx import numpy_helper

    graph.values.update({tensor.name: numpy_helper.to_array(tensor) for tensor in branch.initializer})
    for inner in branch.node:
        _apply(graph, inner, names, head)
    for outside, inside in zip(node.output, branch.output, strict=True):
        graph.values[outside] = graph.values[inside.name]


def join_biases(nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """`nodes` with each Add of one number a channel to a convolution or dense layer made the bias of that."""
    import onnx

    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    made: dict[str, onnx.NodeProto] = {}
    kept = []
    for node in nodes:
        inputs = list(node.input)
        maker = next((made[name] for name in inputs if name in made), None)
        bias = next((name for name in inputs if name in constants), None)
        if (
            node.op_type == "Add"
            and maker is not None
            and bias is not None
            and uses[maker.output[0]] == 1
            and _is_bias(constants[bias], constants[maker.input[1]], maker.op_type)
        ):
            name = f"{bias}/{node.output[0]}"
            constants[name] = constants[bias].reshape(-1)
            maker.input.append(name)
            del made[maker.output[0]]
            maker.output[0] = node.output[0]
            continue
        whole = onnx.NodeProto()
        whole.CopyFrom(node)
        kept.append(whole)
        if node.op_type in ("Conv", "ConvTranspose", "MatMul") and len(inputs) == 2 and inputs[1] in constants:
            made[node.output[0]] = whole
    return kept


def _is_bias(values: np.ndarray, kernel: np.ndarray, kind: str) -> bool:
    if kind == "MatMul":
        return kernel.ndim == 2 and values.shape[-1:] == kernel.shape[1:] and values.size == kernel.shape[1]
    channels = kernel.shape[0] if kind == "Conv" else kernel.shape[1]
    shape = (1,) * (4 - values.ndim) + values.shape
    return kernel.ndim == 4 and shape == (1, channels, 1, 1)
