"""What exporters write in ONNX computes in Keras what it does in ONNX Runtime, kind by kind."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from segapp.errors import InputError
from tests.conversion.conftest import Convert, noise, outputs
from tests.conversion.onnx_builder import HEIGHT, WIDTH, Builder, Kind, f, i
from tests.conversion.onnx_kinds import KINDS, TAILS, write
from tests.conversion.onnx_patterns import unary


def _expected(path: Path, images: np.ndarray, last: bool = False) -> np.ndarray:
    """(N, H, W, K) probabilities, or (N, H, W) indexes, of the file in ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    taken = images if last else images.transpose(0, 3, 1, 2)
    return np.concatenate([session.run(None, {"image": one[np.newaxis]})[0] for one in taken])


def _assert_same(model: keras.Model, expected: np.ndarray, images: np.ndarray, ends_in: str = "logits") -> None:
    found = outputs(model, images)
    if ends_in == "ArgMax":
        sure = np.sort(found, axis=-1)[..., -1] - np.sort(found, axis=-1)[..., -2] > 1e-4
        np.testing.assert_array_equal(found.argmax(-1)[sure], expected[sure])
        return
    expected = expected if expected.shape[-1] == 4 else expected.transpose(0, 2, 3, 1)
    if "Softmax" not in ends_in or ends_in == "LogSoftmax":
        expected = np.exp(expected - expected.max(-1, keepdims=True))
        expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_node_computes_the_same(tmp_path: Path, converted: Convert, kind: str) -> None:
    opset, build = KINDS[kind]
    path = write(tmp_path / "theirs.onnx", build, TAILS["logits"][1], opset)
    images = noise((2, HEIGHT, WIDTH, 3))
    _assert_same(converted(path), _expected(path, images), images)


@pytest.mark.parametrize("tail", TAILS)
def test_a_kind_of_ending_computes_the_same(tmp_path: Path, converted: Convert, tail: str) -> None:
    opset, build = TAILS[tail]
    path = write(tmp_path / "theirs.onnx", KINDS["Relu"][1], build, opset)
    images = noise((2, HEIGHT, WIDTH, 3))
    _assert_same(converted(path), _expected(path, images), images, tail)


@pytest.mark.parametrize("kind", ["squeeze and excite", "Resize to sizes of a map", "Pad as PyTorch writes it"])
def test_open_height_and_width_are_no_obstacle(tmp_path: Path, converted: Convert, kind: str) -> None:
    opset, build = KINDS[kind]
    path = write(tmp_path / "theirs.onnx", build, TAILS["logits"][1], opset, sides=("height", "width"))
    model = converted(path)
    images = noise((1, 64, 96, 3))
    _assert_same(model, _expected(path, images), images)


@pytest.mark.parametrize("sides", [(HEIGHT, WIDTH), ("height", "width")])
def test_images_with_their_bands_last_are_understood(tmp_path: Path, converted: Convert, sides: tuple) -> None:
    opset, tail = TAILS["dense layer in NHWC, Softmax"]
    path = write(tmp_path / "theirs.onnx", KINDS["separable of Keras"][1], tail, opset, sides=sides, last=True)
    images = noise((2, HEIGHT, WIDTH, 3))
    _assert_same(converted(path), _expected(path, images, last=True), images, "Softmax")


def _huge(kind: str, *inputs: object) -> Kind:
    """Few numbers that an operator would make terabytes of."""

    def build(g: Builder, x: str) -> str:
        return g.op("Add", x, g.op("ReduceMax", g.op("Cast", g.op(kind, *inputs), to=1), keepdims=0))

    return build


REFUSED: dict[str, tuple[int, Kind]] = {
    "Sin": (13, unary("Sin")),
    "LRN": (13, unary("LRN", size=3)),
    "MaxPool": (13, unary("MaxPool", kernel_shape=[3, 3], pads=[2] * 4, dilations=[2, 2])),
    "ReduceMean": (18, lambda g, x: g.op("Add", x, g.op("ReduceMean", x, i(2)))),
    "MatMul": (13, lambda g, x: g.op("MatMul", g.op("MatMul", x, g.op("Transpose", x, perm=[0, 1, 3, 2])), x)),
    "Reshape": (13, lambda g, x: g.op("Relu", g.op("Reshape", x, i(0, 8, 6, -1)))),
    "Gather": (13, lambda g, x: g.op("Gather", x, i(*range(HEIGHT)), axis=2)),
    "Pad": (19, lambda g, x: g.conv(g.op("Pad", x, i(0, 0, 1, 1, 0, 0, 1, 1), mode="wrap"), 6, 6, pads=[0] * 4)),
    "Resize": (18, lambda g, x: g.op("Resize", x, "", f(1, 1, 0.5, 0.5), mode="linear", antialias=1)),
    "GridSample": (16, lambda g, x: g.op("GridSample", x, np.zeros((1, HEIGHT, WIDTH, 2), np.float32))),
    "Add": (13, lambda g, x: g.op("Add", x, g.random(1, 6, HEIGHT, WIDTH))),
    "ConstantOfShape": (13, _huge("ConstantOfShape", i(10**6, 10**6))),
    "Expand": (13, _huge("Expand", f(1), i(10**6, 10**6))),
    "Tile": (13, _huge("Tile", f(1, 2), i(10**12))),
    "Range": (13, _huge("Range", *(np.array(n, np.int64) for n in (0, 10**12, 1)))),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_layer_is_refused_in_one_line_with_node_and_operator(
    tmp_path: Path, converted: Convert, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    opset, build = REFUSED[kind]
    path = write(Path("theirs.onnx"), build, TAILS["logits"][1], opset)
    with pytest.raises(InputError, match=rf"node '/net/.*' \(({kind}|Relu)\)") as raised:
        converted(path)
    message = str(raised.value)
    assert len(message) <= 200 and "\n" not in message
    assert {file.name for file in tmp_path.iterdir()} == {"theirs.onnx", "classes.csv"}


def test_names_of_any_length_leave_the_line_short(tmp_path: Path, converted: Convert) -> None:
    path = write(tmp_path / "theirs.onnx", REFUSED["Sin"][1], TAILS["logits"][1], 13)
    file = onnx.load(path)
    for node in file.graph.node:
        node.name = 40 * "/layer" + node.name
    onnx.save(file, path)
    with pytest.raises(InputError, match=r"\(Sin\) has no counterpart") as raised:
        converted(path)
    assert len(str(raised.value).removeprefix(str(path))) <= 150
