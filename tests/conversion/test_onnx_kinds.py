"""What exporters write in ONNX computes in Keras what it does in ONNX Runtime, kind by kind."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from tests.conversion.conftest import Convert, noise, outputs
from tests.conversion.onnx_kinds import HEIGHT, KINDS, TAILS, WIDTH, write


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
