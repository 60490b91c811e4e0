"""A U-Net in an ONNX file computes in segapp what it does in ONNX Runtime; what cannot be brought over is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from segapp.errors import InputError
from segapp.nets.config import KerasGraph, UNetConfig
from tests.conversion.conftest import Convert, noise, outputs
from tests.conversion.onnx_unet import OnnxGraph, write_unet


def _in_onnx_runtime(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    maps = [session.run(None, {"image": image[np.newaxis].transpose(0, 3, 1, 2)})[0] for image in images]
    return np.concatenate(maps).transpose(0, 2, 3, 1)


def _check(path: Path, model: keras.Model, shape: tuple[int, int] = (32, 48)) -> None:
    images = noise((2, *shape, model.input_shape[-1]))
    expected = _in_onnx_runtime(path, images)
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("normalization", "skip_first", "batch_norm"),
    [("none", False, False), ("zerocenter", True, False), ("zscore", False, True), ("none", True, True)],
)
def test_a_unet_of_matlabs_becomes_segapps_own(
    tmp_path: Path, converted: Convert, normalization: str, skip_first: bool, batch_norm: bool
) -> None:
    settings = {"normalization": normalization, "skip_first": skip_first, "batch_norm": batch_norm}
    path = write_unet(tmp_path / "matlab.onnx", **settings)
    model = converted(path)
    _check(path, model)
    spec = model.spec
    assert spec.network == UNetConfig(depth=2, filters=4, batch_norm=batch_norm)
    assert model.get_layer("decoder_stage_1_upconv") and spec.head == "final_conv"
    assert spec.normalization.mean == pytest.approx((0, 0, 0) if normalization == "none" else (0.2, 0.4, 0.6))
    assert spec.normalization.std == pytest.approx((0.1, 0.2, 0.3) if normalization == "zscore" else (1, 1, 1))
    assert (spec.patch_size, spec.classes.ids.tolist()) == (32, [10, 20, 30, 40])
    assert (spec.bands[0].name, spec.bands[0].wavelength_nm) == ("red", 655.0)
    assert spec.provenance["check"].startswith("ONNX Runtime, largest difference")


@pytest.mark.long
def test_the_unet_of_31_million_weights_is_brought_over(tmp_path: Path, converted: Convert) -> None:
    settings = {"bands": 6, "classes": 18, "filters": 64, "depth": 4}
    path = write_unet(tmp_path / "matlab.onnx", **settings, size=(64, 64), normalization="zscore")
    model = converted(path, bands=6, count=18)
    assert model.count_params() == 31_034_578 and isinstance(model.spec.network, UNetConfig)
    _check(path, model, (64, 64))


def test_a_batch_of_fixed_size_is_no_obstacle(tmp_path: Path, converted: Convert) -> None:
    model = converted(write_unet(tmp_path / "matlab.onnx", depth=1, batch=3))
    assert model.input_shape == (None, None, None, 3) and model.spec.provenance["check"].startswith("ONNX Runtime")


def test_images_of_any_size_and_names_of_any_kind(tmp_path: Path, converted: Convert) -> None:
    path = write_unet(tmp_path / "torch.onnx", batch="N", size=("H", "W"), names="/net/{}/op", softmax=False)
    model = converted(path, mean=[0.1, 0.2, 0.3], std=[2.0, 1.0, 0.5])
    assert isinstance(model.spec.network, UNetConfig) and model.spec.patch_size == 64
    images = noise((1, 24, 56, 3))
    prepared = ((images - [0.1, 0.2, 0.3]) / [2.0, 1.0, 0.5]).astype(np.float32)
    expected = keras.ops.softmax(_in_onnx_runtime(path, prepared))
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("settings", [{"upconv_relu": False}, {"head_side": 3}, {"depth": 1, "upconv_relu": False}])
def test_another_u_net_keeps_its_own_layers(tmp_path: Path, converted: Convert, settings: dict) -> None:
    path = write_unet(tmp_path / "torch.onnx", **settings)
    model = converted(path)
    _check(path, model)
    assert isinstance(model.spec.network, KerasGraph)
    assert model.get_layer(model.spec.head).kernel_size == (1, 1)


def _residual_network(path: Path) -> Path:
    """A stem of stride 2 with a padded pooling, a residual block, and nearest and bilinear upsampling back."""
    graph = OnnxGraph()
    x = graph.convolution("image", 3, 4, "stem", side=7, stride=2)
    x = graph.node("Relu", [x], "stem_relu")
    x = graph.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = graph.node("LeakyRelu", [graph.batch_norm(graph.convolution(x, 4, 4, "block"), 4, "norm")], "leaky", alpha=0.2)
    x = graph.node("Add", [x, y], "add")
    for mode in ("nearest", "linear"):
        scales = graph.constant(f"{mode}_scales", np.array([1, 1, 2, 2]))
        x = graph.node("Resize", [x, "", scales], mode, mode=mode, coordinate_transformation_mode="half_pixel")
    x = graph.convolution(x, 4, 2, "head", side=1)
    return graph.save(
        path, graph.node("Sigmoid", [graph.convolution(x, 2, 1, "last", side=1)], "end"), (1, 3, 32, 48), 1
    )


def test_residuals_strides_and_upsampling_are_translated(tmp_path: Path, converted: Convert) -> None:
    path = _residual_network(tmp_path / "residual.onnx")
    model = converted(path, count=2)
    images = noise((2, 32, 48, 3))
    np.testing.assert_allclose(outputs(model, images)[..., 1:], _in_onnx_runtime(path, images), atol=1e-4, rtol=0)


def test_a_softmax_between_transpositions_is_one_over_channels(tmp_path: Path, converted: Convert) -> None:
    graph = OnnxGraph()
    x = graph.convolution(graph.convolution("image", 3, 4, "one"), 4, 4, "two", side=1)
    x = graph.node("Transpose", [x], "to_last", perm=[0, 2, 3, 1])
    x = graph.node("Softmax", [x], "softmax", axis=3)
    path = graph.save(
        tmp_path / "old.onnx", graph.node("Transpose", [x], "back", perm=[0, 3, 1, 2]), (1, 3, 32, 48), 4, opset=9
    )
    _check(path, converted(path))


def _edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    file = onnx.load(path)
    edit(file)
    onnx.save(file, path)
    return path


def _first(file: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in file.graph.node if node.op_type == kind)


def _unknown_operator(file: onnx.ModelProto) -> None:
    _first(file, "Relu").op_type = "Sin"


def _dilated_pooling(file: onnx.ModelProto) -> None:
    node = _first(file, "MaxPool")
    node.attribute.append(onnx.helper.make_attribute("dilations", [2, 2]))


def _whole_softmax(file: onnx.ModelProto) -> None:
    file.opset_import[0].version = 11


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_unknown_operator, r"node 'Encoder-Stage-1-ReLU-1' \(Sin\) has no counterpart"),
        (_dilated_pooling, r"node 'Encoder-Stage-1-MaxPool' \(MaxPool\) cannot be built \(it is dilated"),
        (_whole_softmax, r"node 'Softmax-Layer' \(Softmax\) .* 'OpsetVersion', 13"),
    ],
)
def test_what_cannot_be_brought_over_is_named(
    tmp_path: Path, converted: Convert, edit: Callable[[onnx.ModelProto], None], message: str
) -> None:
    path = _edited(write_unet(tmp_path / "matlab.onnx"), edit)
    with pytest.raises(InputError, match=message):
        converted(path)
    assert {file.name for file in tmp_path.iterdir()} == {"matlab.onnx", "classes.csv"}


def test_a_mean_image_is_refused(tmp_path: Path, converted: Convert) -> None:
    path = write_unet(tmp_path / "matlab.onnx", normalization="image")
    with pytest.raises(InputError, match=r"node 'ImageInputLayer_Sub': .* differs from pixel to pixel"):
        converted(path)


@pytest.mark.parametrize("cut", [0, 100, -1000])
def test_a_truncated_file_is_refused(tmp_path: Path, converted: Convert, cut: int) -> None:
    path = write_unet(tmp_path / "matlab.onnx")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"matlab.onnx: "):
        converted(path)
    assert not (tmp_path / "theirs").exists()


def _with_numbers_in(path: Path, location: str) -> Path:
    write_unet(path)
    file = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(file, location="numbers.data", size_threshold=64)
    path.unlink()
    onnx.save(file, path)
    moved = onnx.load(path, load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(moved.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../numbers.data", "/etc/hostname", "link.data"])
def test_numbers_outside_the_folder_are_not_read(tmp_path: Path, converted: Convert, location: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    path = _with_numbers_in(folder / "matlab.onnx", location)
    (tmp_path / "numbers.data").write_bytes((folder / "numbers.data").read_bytes())
    (folder / "link.data").symlink_to(tmp_path / "numbers.data")
    with pytest.raises(InputError, match=rf"asks for numbers in '{location}', outside its own folder"):
        converted(path)


def test_numbers_beside_the_file_are_read(tmp_path: Path, converted: Convert) -> None:
    path = _with_numbers_in(tmp_path / "torch.onnx", "numbers.data")
    _check(path, converted(path))


def test_numbers_that_are_missing_are_named(tmp_path: Path, converted: Convert) -> None:
    path = _with_numbers_in(tmp_path / "torch.onnx", "numbers.data")
    (tmp_path / "numbers.data").unlink()
    with pytest.raises(InputError, match=r"its numbers are in 'numbers.data', which is missing"):
        converted(path)


def test_a_result_that_differs_is_not_written(
    tmp_path: Path, converted: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_unet(tmp_path / "matlab.onnx")
    other = onnx.load(path)
    for tensor in other.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(1.1 * values, tensor.name))
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda file, *rest, **more: real(other.SerializeToString(), *rest, **more)
    )
    with pytest.raises(InputError, match="probabilities differ from those of ONNX Runtime by"):
        converted(path)
    assert not (tmp_path / "theirs").exists()
