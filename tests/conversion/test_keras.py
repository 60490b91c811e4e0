"""Networks that Keras saved: whole, or as weights with the architecture beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from segapp.errors import InputError
from segapp.nets.config import KerasGraph, UNetConfig
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
