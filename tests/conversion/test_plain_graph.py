"""Keras networks that call models, or end otherwise than in a 1x1 convolution, become plain graphs with a head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import KerasTensor, layers

from segapp.errors import InputError
from tests.conversion.conftest import Convert, noise, outputs

SIDE = 32


def _model(end: Callable[[KerasTensor, KerasTensor], KerasTensor]) -> keras.Model:
    """A convolution, a pooling, and `end` of the maps before and behind that, with random weights."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, end(x, layers.MaxPooling2D()(x)))
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(0.02, 0.2, weight.shape) for weight in model.get_weights()])
    return model


def _flat(x: KerasTensor, _: KerasTensor) -> KerasTensor:
    """As old networks end: one row a pixel."""
    return layers.Activation("softmax")(layers.Reshape((SIDE * SIDE, 4))(layers.Conv2D(4, 1)(x)))


def _resized(_: KerasTensor, x: KerasTensor) -> KerasTensor:
    """As DeepLab ends."""
    logits = layers.Conv2D(4, 3, padding="same")(x)
    return layers.Softmax()(layers.UpSampling2D(interpolation="bilinear")(logits))


def _tutorial(x: KerasTensor, below: KerasTensor) -> KerasTensor:
    """As TensorFlow's tutorial on segmentation: a body with several outputs, sequential blocks, a transposed end."""
    inner = keras.Input(below.shape[1:])
    first = layers.Conv2D(5, 3, padding="same", name="twice")(inner)
    body = keras.Model(inner, [first, layers.MaxPooling2D()(first)], name="body")
    skip, deepest = body(below)
    block = [layers.Conv2DTranspose(5, 3, strides=2, padding="same"), layers.BatchNormalization(), layers.ReLU()]
    joined = layers.Concatenate()([keras.Sequential(block)(deepest), skip])
    return layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="twice")(joined)


ENDS = {
    "kernel of 3 x 3": lambda x, _: layers.Conv2D(4, 3, padding="same", activation="softmax")(x),
    "dense": lambda x, _: layers.Dense(4, activation="softmax")(x),
    "transposed": lambda _, x: layers.Conv2DTranspose(4, 4, strides=2, padding="same", activation="softmax")(x),
    "transposed, 2 x 2": lambda _, x: layers.Conv2DTranspose(4, 2, strides=2, use_bias=False)(x),
    "one row a pixel": _flat,
    "resized": _resized,
    "sequential": lambda x, _: keras.Sequential([layers.Conv2D(5, 3, padding="same"), layers.Conv2D(4, 1)])(x),
    "tutorial": _tutorial,
}


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_no_plain_graph_computes_the_same_as_one(
    tmp_path: Path, converted: Convert, end: str, name: str
) -> None:
    original = _model(ENDS[end])
    original.save(tmp_path / name)
    model = converted(tmp_path / name)
    images = noise((2, SIDE, SIDE, 3))
    expected = keras.ops.reshape(original(images), (2, SIDE, SIDE, 4))
    if not np.allclose(keras.ops.sum(expected, axis=-1), 1, atol=1e-4):
        expected = keras.ops.softmax(expected)
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-5, rtol=0)
    assert model.get_layer(model.spec.head).kernel_size == (1, 1)


def test_a_layer_that_may_hold_code_is_refused_in_a_model_within(tmp_path: Path, converted: Convert) -> None:
    inside = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.Lambda(lambda x: 2 * x, name="twice")])
    _model(lambda x, _: layers.Conv2D(4, 1)(inside(x))).save(tmp_path / "theirs.keras")
    with pytest.raises(InputError, match=r"layer 'twice': Lambda may hold code"):
        converted(tmp_path / "theirs.keras")
    assert not (tmp_path / "theirs").exists()
