"""Networks that Keras 2 saved, whose layers and keys Keras 3 calls otherwise or has not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from segapp.errors import InputError
from segapp.nets.config import serialized_objects
from tests.conversion.conftest import Convert, noise, outputs


def _small() -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(4, 1)(layers.MaxPooling2D()(image)))


def test_an_old_file_of_layers_that_keras_does_not_have_is_refused(tmp_path: Path, converted: Convert) -> None:
    path = tmp_path / "theirs.h5"
    _small().save(path)
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
