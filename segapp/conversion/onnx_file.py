"""An ONNX file, as MATLAB's `exportONNXNetwork` and PyTorch's `torch.onnx.export` write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segapp.conversion.foreign import Foreign, Original, missing_package, one_a_band
from segapp.conversion.onnx_graph import compute_in_float32, fold_shapes, leave_out_unneeded
from segapp.errors import InputError
from segapp.model.model_spec import Normalization

if TYPE_CHECKING:
    import onnx

_AFFINE = ("Sub", "Add", "Mul", "Div")


def read_onnx(path: Path) -> Foreign:
    """The network in an ``.onnx`` file from one image (N, C, H, W) to one map of its pixels.

    What it subtracts from the bands and divides them by becomes the normalisation. Numbers kept outside the file are
    read only from a file beside it. Raises InputError, naming the node, where there is no Keras layer for one.
    """
    try:
        import onnx
    except ImportError:
        raise missing_package(path, "onnx") from None

    from segapp.conversion.onnx_layers import translate

    file = _load(path)
    folded = fold_shapes(file)
    graph = folded.graph
    constants = _constants(path, folded)
    images = [one for one in graph.input if one.name not in constants]
    if len(images) != 1 or len(graph.output) != 1:
        raise InputError(
            f"{path}: has {len(images)} inputs and {len(graph.output)} outputs; export a network of one image, one map"
        )
    image = images[0].type.tensor_type
    sides = [dimension.dim_value or None for dimension in image.shape.dim]
    if len(sides) != 4 or sides[1] is None or image.elem_type != onnx.TensorProto.FLOAT:
        raise InputError(
            f"{path}: input '{images[0].name}' is {sides}, not images (N, bands, H, W) of float32; export it so"
        )
    start, nodes, normalization = _take_normalization(path, images[0].name, sides[1], list(graph.node), constants)
    opset = next((one.version for one in folded.opset_import if one.domain in ("", "ai.onnx")), 1)
    model, channels = translate(
        path, nodes, constants, (start, graph.output[0].name), (sides[2], sides[3], sides[1]), opset
    )
    original = _original(path, file, images[0].name, sides[0], channels)
    reason = "" if original else "onnxruntime is not installed; pip install 'segapp[convert]' and convert again"
    return Foreign(model, f"ONNX, {file.producer_name or 'producer unknown'}", normalization, original, reason)


def _load(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    try:
        file = onnx.load(str(path), load_external_data=False)
        for tensor in file.graph.initializer:
            if uses_external_data(tensor):
                _require_beside(path, {entry.key: entry.value for entry in tensor.external_data}.get("location", ""))
                load_external_data_for_tensor(tensor, str(path.absolute().parent))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        onnx.checker.check_model(file)
        compute_in_float32(file.graph)
        leave_out_unneeded(file.graph)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: is damaged or no ONNX file ({reason}); export or copy it again") from None
    return file


def _require_beside(path: Path, location: str) -> None:
    """Raise InputError unless `location` is a file in the folder of `path`: the file itself says where to look."""
    beside = path.parent / location
    if not location or Path(location).name != location or os.sep in location or beside.is_symlink():
        raise InputError(f"{path}: asks for numbers in '{location}', outside its own folder; export it as one file")
    if not beside.is_file():
        raise InputError(f"{path}: its numbers are in '{location}', which is missing; copy it beside the file")


def _constants(path: Path, file: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What does not depend on the image, by name."""
    from onnx import helper, numpy_helper
    from onnx.external_data_helper import uses_external_data

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    for node in file.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                value: Any = helper.get_attribute_value(attribute)
                if attribute.name == "value":
                    if uses_external_data(value):
                        raise InputError(
                            f"{path}: node '{node.name}' keeps its numbers in a file; export it as one file"
                        )
                    value = numpy_helper.to_array(value)
                constants[node.output[0]] = np.asarray(value)
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        elif node.op_type == "Cast" and node.input[0] in constants:
            kind = helper.tensor_dtype_to_np_dtype(helper.get_node_attr_value(node, "to"))
            constants[node.output[0]] = constants[node.input[0]].astype(kind)
    return constants


def _take_normalization(
    path: Path, image: str, bands: int, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> tuple[str, list[onnx.NodeProto], Normalization | None]:
    """The tensor where the network proper begins, the nodes without those before it, and what these do to the bands."""
    scale, offset = np.ones(bands), np.zeros(bands)
    nodes = [node for node in nodes if not (node.output and node.output[0] in constants)]
    taken = False
    while True:
        users = [node for node in nodes if image in node.input]
        if len(users) != 1 or users[0].op_type not in (*_AFFINE, "Identity"):
            break
        node = users[0]
        if node.op_type != "Identity":
            numbers = [constants[name] for name in node.input if name in constants]
            if len(numbers) != 1 or (node.op_type in ("Sub", "Div") and node.input[0] != image):
                break
            values = _each_band(path, node.name, numbers[0], bands)
            if node.op_type in ("Sub", "Add"):
                offset = offset + (values if node.op_type == "Add" else -values)
            else:
                factor = values if node.op_type == "Mul" else 1 / values
                scale, offset = scale * factor, offset * factor
            taken = True
        nodes.remove(node)
        image = node.output[0]
    if not taken:
        return image, nodes, None
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: divides its bands by 0 or turns them round; export it without normalisation")
    mean, std = -offset / scale, 1 / scale
    return image, nodes, Normalization(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _each_band(path: Path, node: str, values: np.ndarray, bands: int) -> np.ndarray:
    """(bands,) float64 of what ONNX would broadcast against (N, bands, H, W)."""
    try:
        shape = (1,) * (4 - values.ndim) + values.shape
        spread = np.broadcast_to(values.reshape(shape), (1, bands, *shape[2:])).transpose(0, 2, 3, 1)
        return np.array(one_a_band("normalisation", spread), np.float64)
    except ValueError as error:
        raise InputError(f"{path}: node '{node}': {error}") from None


def _original(path: Path, file: onnx.ModelProto, image: str, batch: int | None, channels: int) -> Original | None:
    """The file in ONNX Runtime, if that is installed; `channels` is the axis of its output that the classes lie on."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: ONNX Runtime cannot run it ({reason}); export it again") from None

    def run(images: np.ndarray) -> np.ndarray:
        batches = [np.repeat(one[np.newaxis], batch or 1, axis=0) for one in images.transpose(0, 3, 1, 2)]
        try:
            found = [session.run(None, {image: one})[0][:1] for one in batches]
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{path}: ONNX Runtime fails on images {images.shape} ({reason}); export it again"
            ) from None
        return np.moveaxis(np.concatenate(found), channels, -1)

    return Original("ONNX Runtime", run)
