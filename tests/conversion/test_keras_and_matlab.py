"""Networks that Keras saved, and the weights that MATLAB exports for TensorFlow."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from segapp.errors import InputError
from segapp.nets.config import KerasGraph, UNetConfig, serialized_objects
from segapp.nets.unet import unet
from tests.conversion.conftest import Convert, noise, outputs


def _u_net(**last: Any) -> keras.Model:
    """A U-Net of depth 1 with fused ReLUs, a transposed convolution without one, and random biases."""
    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 3))
    skip = layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="normal")(image)
    x = layers.Conv2DTranspose(4, 2, strides=2)(layers.MaxPooling2D()(skip))
    x = layers.Concatenate()([skip, x])
    return keras.Model(image, layers.Conv2D(**{"filters": 4, "kernel_size": 1, **last})(x))


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_model_of_keras_computes_the_same(
    tmp_path: Path, converted: Convert, name: str, activation: str | None
) -> None:
    original = _u_net(activation=activation)
    original.save(tmp_path / name)
    model = converted(tmp_path / name)
    images = noise((2, 32, 48, 3))
    expected = original(images) if activation else keras.ops.softmax(original(images))
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-5, rtol=0)
    assert isinstance(model.spec.network, KerasGraph)
    assert model.spec.provenance["check"].startswith("Keras, largest difference")


def test_segapps_layout_in_keras_with_other_names_becomes_its_u_net(tmp_path: Path, converted: Convert) -> None:
    original = unet(3, 4, UNetConfig(depth=2, filters=4, dropout=0.3, batch_norm=True))
    config = json.loads(re.sub(r"(encoder|decoder|bridge|final)_", r"their_\1_", json.dumps(original.get_config())))
    renamed = keras.Model.from_config(config)
    renamed.set_weights([w + 0.3 * np.random.default_rng(0).random(w.shape) for w in original.get_weights()])
    renamed.save(tmp_path / "theirs.keras")
    model = converted(tmp_path / "theirs.keras")
    assert model.spec.network == UNetConfig(depth=2, filters=4, dropout=0.3, batch_norm=True)
    images = noise((2, 32, 48, 3))
    np.testing.assert_allclose(outputs(model, images), renamed(images), atol=1e-5, rtol=0)


def test_one_class_with_a_sigmoid_becomes_two(tmp_path: Path, converted: Convert) -> None:
    original = _u_net(filters=1, activation="sigmoid")
    original.save(tmp_path / "theirs.keras")
    model = converted(tmp_path / "theirs.keras", count=2)
    images = noise((1, 32, 32, 3))
    np.testing.assert_allclose(outputs(model, images)[..., 1:], original(images), atol=1e-5, rtol=0)


def test_classes_that_do_not_exclude_each_other_are_refused(tmp_path: Path, converted: Convert) -> None:
    _u_net(activation="sigmoid").save(tmp_path / "theirs.keras")
    with pytest.raises(InputError, match=r"ends in sigmoid of 4 classes; segapp's classes exclude each other"):
        converted(tmp_path / "theirs.keras")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_a_layer_that_may_hold_code_is_refused(tmp_path: Path, converted: Convert, name: str) -> None:
    image = keras.Input((None, None, 3))
    x = layers.Lambda(lambda x: 2 * x, name="twice", output_shape=(None, None, 3))(image)
    keras.Model(image, layers.Conv2D(4, 1)(x)).save(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: layer 'twice': Lambda may hold code"):
        converted(tmp_path / name)
    assert not (tmp_path / "theirs").exists()


def test_an_old_file_of_layers_that_keras_does_not_have_is_refused(tmp_path: Path, converted: Convert) -> None:
    path = tmp_path / "theirs.h5"
    _u_net().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("MaxPooling2D", "SlicingOpLambda")
    with pytest.raises(InputError, match=r"theirs.h5: .*SlicingOpLambda' is not Keras' own"):
        converted(path)


def _keras_2_file(path: Path, groups: int) -> keras.Model:
    """Writes separable, depthwise and transposed convolutions with the keys that Keras 2 wrote; returns the network."""
    image = keras.Input((None, None, 3))
    x = layers.SeparableConv2D(8, 3, padding="same", name="separable")(image)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.MaxPooling2D()(x))
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    model = keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    model.save(path)
    glorot = {"class_name": "GlorotUniform", "config": {"seed": None}}
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] in ("SeparableConv2D", "DepthwiseConv2D"):
                layer["config"] |= {"kernel_initializer": glorot, "kernel_regularizer": None, "kernel_constraint": None}
                layer["config"] |= {"groups": groups}
            if layer["class_name"] == "Conv2DTranspose":
                layer["config"] |= {"groups": 1}
            if layer["class_name"] == "BatchNormalization":
                layer["config"] |= {"axis": [3]}
        file.attrs["model_config"] = json.dumps(config)
    return model


def test_keys_that_keras_3_dropped_are_no_hindrance(tmp_path: Path, converted: Convert) -> None:
    original = _keras_2_file(tmp_path / "theirs.hdf5", groups=1)
    before = (tmp_path / "theirs.hdf5").read_bytes()
    images = noise((2, 32, 48, 3))
    model = converted(tmp_path / "theirs.hdf5")
    np.testing.assert_allclose(outputs(model, images), original(images), atol=1e-5, rtol=0)
    assert (tmp_path / "theirs.hdf5").read_bytes() == before


def _as_keras_2(layer: dict[str, Any]) -> dict[str, Any]:
    """What Keras 2 wrote of a layer that Keras 3 has under another name, or allows no slash in."""
    tensors = [item["config"]["keras_history"] for _, item in serialized_objects(layer["inbound_nodes"])]
    new = {
        **layer,
        "config": {**layer["config"]},
        "inbound_nodes": [[[*one, {}] for one in tensors]] if tensors else [],
    }
    if layer["name"] == "threshold":
        new |= {"class_name": "ThresholdedReLU", "config": {"name": "threshold", "theta": 0.2}}
    elif layer["name"] == "scaled":
        new |= {"class_name": "TFOpLambda", "config": {"name": "scaled", "function": "math.multiply"}}
        new["inbound_nodes"] = [[*tensors[0], {"y": 0.5, "name": None}]]
    elif layer["name"] == "sum":
        new |= {"class_name": "TFOpLambda", "config": {"name": "sum", "function": "__operators__.add"}}
        new["inbound_nodes"] = [[*tensors[0], {"y": tensors[1], "name": None}]]
    elif layer["class_name"] == "SpatialDropout2D":
        new["config"] |= {"noise_shape": None, "trainable": True}
    return new


def _write_as_keras_2(path: Path, model: keras.Model) -> None:
    """What tf_keras 2.21 writes, as a ``.keras`` or a ``.h5`` file: names with a slash, modules of its own."""
    model.save(path)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        network = json.loads(members["config.json"])
        network["module"] = "tf_keras.src.engine.functional"
        network["config"]["layers"] = [_as_keras_2(layer) for layer in network["config"]["layers"]]
        members["config.json"] = json.dumps(network).replace("block_conv", "block/conv").encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return
    with h5py.File(path, "r+") as file:
        network = json.loads(file.attrs["model_config"])
        network["config"]["layers"] = [_as_keras_2(layer) for layer in network["config"]["layers"]]
        file.attrs["model_config"] = json.dumps(network).replace("block_conv", "block/conv")


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_layers_that_keras_3_calls_otherwise_compute_the_same(tmp_path: Path, converted: Convert, name: str) -> None:
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    skip = layers.ReLU(threshold=0.2, name="threshold")(layers.Conv2D(6, 3, padding="same", name="block_conv")(image))
    x = layers.Rescaling(0.5, name="scaled")(layers.SpatialDropout2D(0.3)(layers.MaxPooling2D()(skip)))
    x = layers.Add(name="sum")([layers.UpSampling2D()(x), skip])
    original = keras.Model(image, layers.Conv2D(4, 1, activation="softmax")(x))
    _write_as_keras_2(tmp_path / name, original)
    images = noise((2, 32, 48, 3))
    np.testing.assert_allclose(outputs(converted(tmp_path / name), images), original(images), atol=1e-5, rtol=0)


def test_a_function_of_tensorflow_without_a_layer_is_named(tmp_path: Path, converted: Convert) -> None:
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(0.5, name="scaled")(layers.Conv2D(4, 3, padding="same")(image))
    _write_as_keras_2(tmp_path / "theirs.h5", keras.Model(image, layers.Conv2D(4, 1)(x)))
    with h5py.File(tmp_path / "theirs.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("math.multiply", "image.sobel_edges")
    with pytest.raises(InputError, match=r"layer 'scaled' calls TensorFlow's image.sobel_edges"):
        converted(tmp_path / "theirs.h5")


def test_a_dropped_key_that_changes_the_layer_is_refused(tmp_path: Path, converted: Convert) -> None:
    _keras_2_file(tmp_path / "theirs.h5", groups=2)
    with pytest.raises(InputError, match=r"layer 'separable' \(SeparableConv2D\) has groups=2"):
        converted(tmp_path / "theirs.h5")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle", b"truncated"])
@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5", "theirs.onnx", "theirs.safetensors"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, converted: Convert, name: str, content: bytes) -> None:
    if content == b"truncated":
        _u_net().save(tmp_path / "whole.h5" if name.endswith("h5") else tmp_path / "whole.keras")
        content = next(tmp_path.glob("whole.*")).read_bytes()[:4000]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: "):
        converted(tmp_path / name)
    assert not (tmp_path / "theirs").exists()


def _write_matlab_weights(path: Path, model: keras.Model, **normalization: np.ndarray) -> Path:
    """A file as `exportNetworkToTensorFlow` writes it; layer names end in "_", arrays lie in a row."""

    def write(file: h5py.File, name: str, arrays: dict[str, np.ndarray]) -> None:
        group = file.create_group(name)
        group.attrs["Name"], group.attrs["NumVars"] = name, float(len(arrays))
        for number, (key, values) in enumerate(arrays.items()):
            dataset = group.create_dataset(str(number), data=values.ravel())
            dataset.attrs["Name"], dataset.attrs["WeightNum"] = key, float(number)
            dataset.attrs["Shape"] = np.array(values.shape, float)

    with h5py.File(path, "w") as file:
        if normalization:
            write(file, "ImageInputLayer_", normalization)
        for layer in model.layers:
            if layer.weights:
                name = "_".join(part.capitalize() for part in layer.name.split("_"))
                name = {"Final_Conv": "Final-ConvolutionLayer"}.get(name, name.replace("Upconv", "UpConv"))
                write(file, f"{name}_", dict(zip(("kernel", "bias"), layer.get_weights(), strict=True)))
    return path


def _their_unet() -> keras.Model:
    keras.utils.set_random_seed(4)
    model = unet(3, 4, UNetConfig(depth=2, filters=4))
    model.set_weights([w + 0.01 * np.random.default_rng(1).normal(size=w.shape) for w in model.get_weights()])
    return model


def test_weights_from_matlab_are_matched_by_layer_name(tmp_path: Path, converted: Convert) -> None:
    original = _their_unet()
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 1.0, 2.0])
    whole = {"mean": np.broadcast_to(mean, (32, 48, 3)), "stdev": np.broadcast_to(std, (32, 48, 3))}
    model = converted(_write_matlab_weights(tmp_path / "weights.h5", original, **whole))
    images = noise((1, 32, 48, 3))
    expected = original(((images - mean) / std).astype(np.float32))
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-5, rtol=0)
    assert model.spec.network == UNetConfig(depth=2, filters=4)
    assert model.spec.provenance["check"].startswith("none: only MATLAB can run the original")


def _as_unet(path: Path) -> None:
    """Renames the layers of a file as MATLAB's `unet` names them, and puts the skip connection's channels first."""
    with h5py.File(path, "r+") as file:
        for group in file.values():
            name = group.attrs["Name"].replace("Bridge", "LatentNetwork-Bridge")
            group.attrs["Name"] = name.replace("Final-ConvolutionLayer", "encoderDecoderFinalConvLayer")
            if re.fullmatch(r"Decoder_Stage_\d_Conv_1_", name):
                kernel = group["0"][:].reshape(group["0"].attrs["Shape"].astype(int))
                below, skip = np.split(kernel, 2, axis=2)
                group["0"][:] = np.concatenate([skip, below], axis=2).ravel()


def test_weights_of_matlabs_unet_are_matched_and_its_skips_turned(tmp_path: Path, converted: Convert) -> None:
    original = _their_unet()
    _as_unet(_write_matlab_weights(tmp_path / "weights.h5", original))
    images = noise((1, 32, 48, 3))
    np.testing.assert_allclose(outputs(converted(tmp_path / "weights.h5"), images), original(images), atol=1e-5, rtol=0)


def test_matlabs_arrays_are_in_keras_order(tmp_path: Path, converted: Convert) -> None:
    """A U-Net of depth 1 with one filter, whose arrays are zero but for the numbers here."""
    model = unet(3, 4, UNetConfig(depth=1, filters=1))
    model.set_weights([np.zeros(weight.shape) for weight in model.get_weights()])
    path = _write_matlab_weights(tmp_path / "weights.h5", model)
    with h5py.File(path, "r+") as file:
        file["Encoder_Stage_1_Conv_1_/0"][2] = 1  # row 0, column 0, the third band
        file["Encoder_Stage_1_Conv_2_/0"][4] = 1  # the middle of 3 x 3
        file["Decoder_Stage_1_Conv_1_/0"][2 * 4 + 1] = 1  # the middle, of the skip connection
        file["Decoder_Stage_1_Conv_2_/0"][4] = 1
        file["Final-ConvolutionLayer_/0"][3] = 1
    image = np.zeros((1, 8, 8, 3), np.float32)
    image[0, 2, 5, 2] = 2.0
    found = np.log(outputs(converted(path), image))
    logits = (found - found[..., :1])[0, ..., 3]
    expected = np.zeros((8, 8))
    expected[3, 6] = 2.0  # the kernel's first row and column look one pixel up and left
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def _break(path: Path, what: str) -> None:
    with h5py.File(path, "r+") as file:
        if what == "missing":
            del file["Bridge_Conv_2_"]
        elif what == "unknown":
            file.copy("Bridge_Conv_2_", "Fc_", name="Fc_")
            file["Fc_"].attrs["Name"] = "Fc_"
        elif what == "shape":
            file["Bridge_Conv_2_/0"].attrs["Shape"] = [3.0, 3.0, 8.0, 32.0]
        else:
            file["Decoder_Stage_1_UpConv_"].attrs["Name"] = "deconv"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"layer 'bridge_conv_2' is missing where a U-Net needs"),
        ("unknown", r"layer 'fc' is none of MATLAB's unetLayers"),
        ("shape", r"layer 'bridge_conv_2' has arrays of shape \[\(3, 3, 8, 32\), \(16,\)\]"),
        ("other", r"exportONNXNetwork"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, converted: Convert, what: str, message: str) -> None:
    path = _write_matlab_weights(tmp_path / "weights.h5", _their_unet())
    _break(path, what)
    with pytest.raises(InputError, match=rf"weights.h5: .*{message}"):
        converted(path)
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": noise((32, 48, 3))}, r"the mean of the input differs from pixel to pixel"),
        ({"min": np.zeros((32, 48, 3)), "max": np.ones((32, 48, 3))}, r"rescales by minimum and maximum"),
    ],
)
def test_a_normalization_that_is_not_one_number_a_band_is_refused(
    tmp_path: Path, converted: Convert, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        converted(_write_matlab_weights(tmp_path / "weights.h5", _their_unet(), **arrays))


def _old_weights(path: Path, model: keras.Model) -> None:
    """What Keras 2 wrote by `save_weights`: the layers' groups of a whole model, at the root."""
    model.save(path.with_name("whole.h5"))
    with h5py.File(path.with_name("whole.h5"), "r") as whole, h5py.File(path, "w") as file:
        for name in whole["model_weights"]:
            whole.copy(whole["model_weights"][name], file, name)
        for name, value in whole["model_weights"].attrs.items():
            file.attrs[name] = value


@pytest.mark.parametrize("name", ["theirs.weights.h5", "theirs.h5"])
def test_weights_alone_of_keras_need_the_architecture_beside_them(
    tmp_path: Path, converted: Convert, name: str
) -> None:
    original = _u_net(activation="softmax")
    if name == "theirs.h5":
        _old_weights(tmp_path / name, original)
    else:
        original.save_weights(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: holds weights alone; in Keras write .*theirs.json"):
        converted(tmp_path / name)
    (tmp_path / "theirs.json").write_text(original.to_json())
    images = noise((2, 32, 48, 3))
    np.testing.assert_allclose(outputs(converted(tmp_path / name), images), original(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 1, "class_name": "Functional"}'])
def test_an_architecture_that_is_none_is_refused(tmp_path: Path, converted: Convert, text: str) -> None:
    for name in ("theirs.weights.h5", "theirs.h5"):
        if name == "theirs.h5":
            _old_weights(tmp_path / name, _u_net())
        else:
            _u_net().save_weights(tmp_path / name)
        (tmp_path / "theirs.json").write_text(text)
        with pytest.raises(InputError, match=r"theirs"):
            converted(tmp_path / name)
        assert not (tmp_path / "theirs").exists()
