"""An ONNX file, as MATLAB's `exportONNXNetwork` and PyTorch's `torch.onnx.export` write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segapp.conversion.foreign import Foreign, Original, missing_package
from segapp.conversion.onnx_graph import compute_in_float32, leave_out_argmax, leave_out_unneeded
from segapp.conversion.onnx_image import image_axes, take_normalization
from segapp.errors import InputError

if TYPE_CHECKING:
    import onnx

_NOMINAL = 128  # pixels of a side that the file leaves open, of which a number is computed where the nodes need one


def read_onnx(path: Path) -> Foreign:
    """The network in an ``.onnx`` file from one image, (N, C, H, W) or (N, H, W, C), to one map of its pixels.

    What it subtracts from the bands and divides them by becomes the normalisation. An ArgMax at its end is left out.
    Numbers kept outside the file are read only from a file beside it. Raises InputError, naming the node, where there
    is no Keras layer for one.
    """
    try:
        import onnx
    except ImportError:
        raise missing_package(path, "onnx") from None

    from segapp.conversion.onnx_layers import Graph, fold_constants, join_biases, translate

    file = _load(path)
    constants = _constants(path, file)
    images = [one for one in file.graph.input if one.name not in constants]
    if len(images) != 1 or len(file.graph.output) != 1:
        raise InputError(
            f"{path}: has {len(images)} inputs and {len(file.graph.output)} outputs; export a network of one image, "
            "one map"
        )
    image = images[0].type.tensor_type
    sides = [dimension.dim_value or None for dimension in image.shape.dim]
    axes = image_axes(images[0].name, sides, file.graph)
    if axes is None or image.elem_type != onnx.TensorProto.FLOAT:
        raise InputError(
            f"{path}: input '{images[0].name}' is {sides}, not images (N, bands, H, W) of float32; export it so"
        )
    opset = next((one.version for one in file.opset_import if one.domain in ("", "ai.onnx")), 1)
    nodes = [node for node in file.graph.node if node.op_type != "Constant"]
    graph = Graph(path, nodes, constants, opset)
    fold_constants(graph)
    numbers = {name: value for name, value in graph.values.items() if isinstance(value, np.ndarray)}
    graph.nodes = join_biases(graph.nodes, numbers)
    height, width = (sides[axes.index(axis)] for axis in (1, 2))
    bands = sides[axes.index(3)] or 0
    bands_axis = axes.index(3)
    start, graph.nodes, normalization, axes = take_normalization(
        path, images[0].name, bands, graph.nodes, numbers, axes
    )
    graph.values.update(numbers)
    shape = height or _NOMINAL, width or _NOMINAL, bands
    model, output = translate(graph, (start, file.graph.output[0].name), shape, axes)
    original = _original(path, file, images[0].name, sides, output.axes, bands_axis)
    reason = "" if original else "onnxruntime is not installed; pip install 'segapp[convert]' and convert again"
    made_by = f"ONNX, {file.producer_name or 'producer unknown'}"
    return Foreign(model, made_by, normalization, original, reason, (height is None, width is None))


def _load(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
    from onnx.inliner import inline_local_functions

    try:
        file = onnx.load(str(path), load_external_data=False)
        for tensor in file.graph.initializer:
            if uses_external_data(tensor):
                _require_beside(path, {entry.key: entry.value for entry in tensor.external_data}.get("location", ""))
                load_external_data_for_tensor(tensor, str(path.absolute().parent))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        onnx.checker.check_model(file)
        if file.functions:
            file = inline_local_functions(file)
        compute_in_float32(file.graph)
        leave_out_argmax(file.graph)
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
    return constants


def _original(
    path: Path, file: onnx.ModelProto, image: str, sides: list[int | None], axes: tuple[int, ...], bands_axis: int
) -> Original | None:
    """The file in ONNX Runtime, if that is installed; `axes` are those of its output, as in `Map`."""
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
        raise InputError(f"{path}: ONNX Runtime cannot run it ({reason[:60]}); export it again") from None

    def run(images: np.ndarray) -> np.ndarray:
        batches = [np.repeat(one[np.newaxis], sides[0] or 1, axis=0) for one in np.moveaxis(images, -1, bands_axis)]
        try:
            found = np.concatenate([session.run(None, {image: one})[0][:1] for one in batches])
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{path}: ONNX Runtime fails on images {images.shape} ({reason[:60]}); export it again"
            ) from None
        missing = tuple(axis for axis in range(4) if axis not in axes)
        order = (*axes, *missing)
        return np.transpose(found.reshape(*found.shape, *(1 for _ in missing)), np.argsort(order))

    return Original("ONNX Runtime", run)
