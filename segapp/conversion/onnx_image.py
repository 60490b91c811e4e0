"""What an ONNX graph says of its image: where the bands lie, and how they are normalised."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segapp.conversion.foreign import one_a_band
from segapp.errors import InputError
from segapp.model.model_spec import Normalization

if TYPE_CHECKING:
    import onnx

_NCHW, _NHWC = (0, 3, 1, 2), (0, 1, 2, 3)  # the Keras axis of each axis
_AFFINE = ("Sub", "Add", "Mul", "Div")


def image_axes(name: str, sides: list[int | None], graph: onnx.GraphProto) -> tuple[int, ...] | None:
    """The Keras axis of each of the image's; None where it is no image.

    Bands are on axis 1, as PyTorch and MATLAB have them, but last where axis 1 is open or the graph moves them there.
    """
    if len(sides) != 4:
        return None
    seen = {name}
    for node in graph.node:
        if seen & set(node.input):
            if node.op_type == "Transpose":
                order = list(next((one.ints for one in node.attribute if one.name == "perm"), []))
                return _NHWC if order == [0, 3, 1, 2] and sides[3] else _NCHW if sides[1] else None
            if node.op_type in (*_AFFINE, "Identity", "Cast"):
                seen |= set(node.output)
    if sides[1] is not None:
        return _NCHW
    return _NHWC if sides[3] is not None else None


def take_normalization(
    path: Path,
    image: str,
    bands: int,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    axes: tuple[int, ...],
) -> tuple[str, list[onnx.NodeProto], Normalization | None, tuple[int, ...]]:
    """Where the network proper begins, without the nodes before it, and what these do to the bands and their axes."""
    scale, offset = np.ones(bands), np.zeros(bands)
    nodes = list(nodes)
    taken = False
    while True:
        users = [node for node in nodes if image in node.input]
        if len(users) != 1 or users[0].op_type not in (*_AFFINE, "Identity", "Transpose"):
            break
        node = users[0]
        if node.op_type == "Transpose":
            order = next((one.ints for one in node.attribute if one.name == "perm"), (3, 2, 1, 0))
            axes = tuple(axes[place] for place in order)
        elif node.op_type != "Identity":
            numbers = [constants[name] for name in node.input if name in constants]
            if len(numbers) != 1 or (node.op_type in ("Sub", "Div") and node.input[0] != image):
                break
            values = _each_band(path, node.name, numbers[0], bands, axes)
            if node.op_type in ("Sub", "Add"):
                offset = offset + (values if node.op_type == "Add" else -values)
            else:
                factor = values if node.op_type == "Mul" else 1 / values
                scale, offset = scale * factor, offset * factor
            taken = True
        nodes.remove(node)
        image = node.output[0]
    if not taken:
        return image, nodes, None, axes
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: divides its bands by 0 or turns them round; export it without normalisation")
    mean, std = -offset / scale, 1 / scale
    return image, nodes, Normalization(mean=tuple(mean.tolist()), std=tuple(std.tolist())), axes


def _each_band(path: Path, node: str, values: np.ndarray, bands: int, axes: tuple[int, ...]) -> np.ndarray:
    """(bands,) float64 of what ONNX would broadcast against an image of these `axes`."""
    try:
        whole = np.moveaxis(values.reshape((1,) * (4 - values.ndim) + values.shape), axes.index(3), -1)
        return np.array(one_a_band("normalisation", np.broadcast_to(whole, (*whole.shape[:-1], bands))), np.float64)
    except ValueError as error:
        raise InputError(f"{path}: node '{node}': {error}") from None
