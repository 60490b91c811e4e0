"""What PyTorch writes of an EfficientNet: depthwise convolutions, squeeze and excite, padding computed from shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from segapp.errors import InputError
from tests.conversion.conftest import Convert, noise, outputs


def _write(path: Path, groups: int = 3) -> None:
    """3 bands to 4 classes: padding from Shape, a depthwise convolution, squeeze and excite, float16 weights."""
    rng = np.random.default_rng(1)
    numbers = {
        "depthwise": rng.normal(size=(6, 3 // groups, 3, 3)).astype(np.float32),
        "squeeze": rng.normal(size=(6, 6, 1, 1)).astype(np.float16),
        "last": rng.normal(size=(4, 6, 1, 1)).astype(np.float32),
        "bias": rng.normal(size=4).astype(np.float32),
        "ones": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "rank": np.array([8], np.int64),
        "zero": np.array(0, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Relu", ["image"], ["x"], name="first"),
        node("Shape", ["x"], ["shape"]),
        node("Shape", ["shape"], ["length"]),
        node("Sub", ["length", "length"], ["none"]),
        node("Gather", ["none", "zero"], ["nothing"]),
        node("Add", ["ones", "nothing"], ["pads"]),
        node("Pad", ["x", "pads"], ["padded"], name="padding"),
        node("Conv", ["padded", "depthwise"], ["y"], name="depthwise", group=groups, kernel_shape=[3, 3]),
        node("GlobalAveragePool", ["y"], ["mean"], name="mean"),
        node("Cast", ["squeeze"], ["squeeze32"], to=TensorProto.FLOAT),
        node("Conv", ["mean", "squeeze32"], ["squeezed"], name="squeeze", kernel_shape=[1, 1]),
        node("Sigmoid", ["squeezed"], ["gate"], name="gate"),
        node("Mul", ["y", "gate"], ["excited"], name="excite"),
        node("Conv", ["excited", "last", "bias"], ["map"], name="last", kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "efficient",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 48])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 4, 32, 48])],
        [numpy_helper.from_array(values, name) for name, values in numbers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_depthwise_squeeze_and_excite_and_padding_from_shapes_compute_the_same(
    tmp_path: Path, converted: Convert
) -> None:
    _write(tmp_path / "theirs.onnx")
    model = converted(tmp_path / "theirs.onnx")
    images = noise((2, 32, 48, 3))
    session = onnxruntime.InferenceSession(tmp_path / "theirs.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(None, {"image": images.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
    expected = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(outputs(model, images), expected / expected.sum(-1, keepdims=True), atol=1e-5, rtol=0)


def test_a_map_made_whole_numbers_is_refused(tmp_path: Path, converted: Convert) -> None:
    _write(tmp_path / "theirs.onnx")
    file = onnx.load(tmp_path / "theirs.onnx")
    file.graph.node[-1].input[0] = "back"
    casts = [
        helper.make_node("Cast", ["excited"], ["whole"], name="whole", to=TensorProto.INT32),
        helper.make_node("Cast", ["whole"], ["back"], name="back", to=TensorProto.FLOAT),
    ]
    for node in casts:
        file.graph.node.insert(len(file.graph.node) - 1, node)
    onnx.save(file, tmp_path / "theirs.onnx")
    with pytest.raises(InputError, match=r"'whole' \(Cast\)"):
        converted(tmp_path / "theirs.onnx")
    assert not (tmp_path / "theirs").exists()


def test_a_network_in_half_precision_becomes_one_of_float32_with_the_same_weights(
    tmp_path: Path, converted: Convert
) -> None:
    _write(tmp_path / "theirs.onnx")
    file = onnx.load(tmp_path / "theirs.onnx")
    for tensor in file.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*file.graph.input, *file.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    (cast,) = (node for node in file.graph.node if node.op_type == "Cast")
    cast.attribute[0].i = TensorProto.FLOAT16
    onnx.save(file, tmp_path / "theirs.onnx")
    model = converted(tmp_path / "theirs.onnx")  # and is compared with ONNX Runtime's answers on the way
    weights = [weight for layer in model.layers for weight in layer.get_weights()]
    assert weights and all(np.array_equal(weight, weight.astype(np.float16)) for weight in weights[2:])
    images = noise((2, 32, 48, 3))
    session = onnxruntime.InferenceSession(tmp_path / "theirs.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(None, {"image": images.transpose(0, 3, 1, 2).astype(np.float16)})[0].astype(np.float32)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected = (expected / expected.sum(1, keepdims=True)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(outputs(model, images), expected, atol=0.01, rtol=0)  # theirs is rounded at each node
