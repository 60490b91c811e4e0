"""The graph of a network tells its blocks, and how far it looks."""

from __future__ import annotations

import re
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import KerasTensor, layers

from segapp.errors import InputError
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.graph import analyse
from segapp.nets.unet import unet

Features = Callable[[KerasTensor], KerasTensor]


def _same(x: KerasTensor, kernel: int = 3, **options: object) -> KerasTensor:
    return layers.Conv2D(2, kernel, padding="same", **options)(x)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_blocks_of_the_unet_are_those_its_layers_are_named_for(depth: int, batch_norm: bool) -> None:
    blocks = analyse(unet(3, 2, UNetConfig(depth=depth, filters=1, batch_norm=batch_norm))).blocks
    for name, block in blocks.items():
        stage = re.match(r"(encoder|decoder)_stage_\d|bridge", name)
        others = "head" if name in ("final_conv", "softmax") else "input"
        assert block == (stage[0] if stage else others)
    assert len(set(blocks.values())) == 2 * depth + 3


def test_halos_are_those_of_two_convolutions_a_stage() -> None:
    graphs = [analyse(unet(1, 2, UNetConfig(depth=depth, filters=1))) for depth in range(1, 7)]
    assert [graph.halo for graph in graphs] == [8, 22, 46, 94, 190, 382]
    assert [graph.stride for graph in graphs] == [2, 4, 8, 16, 32, 64]


def _convolutions_only(x: KerasTensor) -> KerasTensor:
    return layers.ReLU()(_same(_same(x, 5), dilation_rate=2))


def _asymmetric(x: KerasTensor) -> KerasTensor:
    x = layers.ZeroPadding2D(((3, 0), (1, 5)))(x)
    x = layers.SeparableConv2D(2, (4, 3))(x)
    return layers.Cropping2D(((0, 0), (0, 4)))(x)


def _valid_stem(x: KerasTensor) -> KerasTensor:
    x = layers.Conv2D(2, 7, strides=2)(layers.ZeroPadding2D(3)(x))
    x = layers.AveragePooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    return layers.Conv2DTranspose(2, 8, strides=4, padding="same")(_same(x))


def _bilinear(x: KerasTensor) -> KerasTensor:
    down = _same(_same(x, 4, strides=2), strides=2)
    return layers.Add()([layers.UpSampling2D(4, interpolation="bilinear")(down), _same(x)])


def _bicubic(x: KerasTensor) -> KerasTensor:
    return layers.UpSampling2D(2, interpolation="bicubic")(layers.AveragePooling2D(2)(x))


def _thirds(x: KerasTensor) -> KerasTensor:
    down = layers.AveragePooling2D(3)(_same(x))
    down = layers.AveragePooling2D(3, padding="same")(_same(down))
    up = layers.Conv2DTranspose(2, 5, strides=3, padding="same")(layers.DepthwiseConv2D(3, padding="same")(down))
    return layers.UpSampling2D(3)(up) * 2


def _two_branches(x: KerasTensor) -> KerasTensor:
    halves = layers.UpSampling2D(2)(_same(layers.AveragePooling2D(2)(x)))
    thirds = layers.UpSampling2D(3)(_same(layers.AveragePooling2D(3)(x)))
    return layers.Concatenate()([halves, thirds])


def _overlapping_valid(x: KerasTensor) -> KerasTensor:
    x = layers.Conv2DTranspose(2, 3, strides=2)(layers.AveragePooling2D(2)(x))
    return layers.Cropping2D(((1, 0), (0, 1)))(x)


@pytest.mark.parametrize(
    ("features", "stride"),
    [
        (_convolutions_only, 1),
        (_asymmetric, 1),
        (_valid_stem, 4),
        (_bilinear, 4),
        (_bicubic, 2),
        (_thirds, 9),
        (_two_branches, 6),
        (_overlapping_valid, 2),
    ],
)
def test_the_halo_is_as_far_as_the_farthest_pixel_that_moves_an_aligned_tile(features: Features, stride: int) -> None:
    model = with_input_and_head(features, 1, 2)
    linear = keras.Model(model.input, model.get_layer("softmax").input)
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    graph = analyse(model)
    assert graph.stride == stride
    side, start = 36 * 4, 72
    image = tf.ones((1, side, side, 1))
    with tf.GradientTape() as tape:
        tape.watch(image)
        tile = tf.reduce_sum(linear(image)[:, start : start + stride, start : start + stride])
    moved = np.argwhere(tape.gradient(tile, image).numpy()[0, :, :, 0])
    assert max(start - moved.min(), moved.max() - (start + stride - 1)) == graph.halo


def test_without_pooling_all_is_the_first_stage() -> None:
    blocks = analyse(with_input_and_head(_convolutions_only, 1, 2)).blocks
    assert set(blocks.values()) == {"input", "encoder_stage_1", "head"}


def test_a_strided_convolution_begins_a_stage_and_interpolation_a_decoder_stage() -> None:
    def features(x: KerasTensor) -> KerasTensor:
        first = _same(x, name="first")
        second = _same(first, strides=2, name="second")
        pooled = layers.MaxPooling2D(2, name="pool")(second)
        third = layers.BatchNormalization(name="deepest")(pooled)
        up = layers.UpSampling2D(2, name="up")(third)
        joined = layers.Add(name="join")([second, up])
        return layers.Conv2DTranspose(2, 2, strides=2, name="up_2")(joined)

    blocks = analyse(with_input_and_head(features, 1, 2)).blocks
    assert {name: blocks[name] for name in ("first", "second", "pool", "deepest", "up", "join", "up_2")} == {
        "first": "encoder_stage_1",
        "second": "encoder_stage_2",
        "pool": "encoder_stage_2",
        "deepest": "bridge",
        "up": "decoder_stage_1",
        "join": "decoder_stage_1",
        "up_2": "decoder_stage_2",
    }


def test_the_head_is_the_last_layer_with_weights_and_what_follows() -> None:
    image = keras.Input((None, None, 2))
    x = layers.Conv2DTranspose(3, 2, strides=2, name="classes")(layers.MaxPooling2D(2)(_same(image)))
    blocks = analyse(keras.Model(image, layers.Activation("softmax", name="most")(x))).blocks
    assert [name for name, block in blocks.items() if block == "head"] == ["classes", "most"]


def _gated(x: KerasTensor) -> KerasTensor:
    return layers.Multiply()([x, layers.GlobalAveragePooling2D(keepdims=True, name="culprit")(x)])


@pytest.mark.parametrize(
    ("features", "named"),
    [
        (_gated, r"'culprit' \(GlobalAveragePooling2D\)"),
        (lambda x: layers.LayerNormalization(axis=(1, 2, 3), name="culprit")(x), "'culprit'.*LayerNorm"),
        (lambda x: layers.Lambda(lambda y: y, name="culprit")(x), r"'culprit' \(Lambda\)"),
        (lambda x: layers.UpSampling2D(2, interpolation="area", name="culprit")(x), "'culprit'.*'area'"),
        (lambda x: layers.Conv2DTranspose(1, 3, output_padding=0, name="culprit")(x), "'culprit'.*output padding"),
        (lambda x: layers.Reshape((4, 4, 64), name="culprit")(x), "'culprit'.*whole image"),
        (lambda x: layers.Reshape((1024,), name="culprit")(x), "'culprit'.*one feature map"),
        (lambda x: layers.Conv2D(1, 3, name="small")(x), "another size than its image"),
        (lambda x: layers.UpSampling2D(2)(x), "another size than its image"),
    ],
)
def test_what_cannot_be_mapped_by_tiles_is_named(features: Features, named: str) -> None:
    def complete(x: KerasTensor) -> KerasTensor:
        x = features(layers.Conv2D(4, 1)(x))
        return layers.Reshape((16, 16, 4))(x) if len(x.shape) == 2 else x

    with pytest.raises(InputError, match=named):
        analyse(with_input_and_head(complete, 2, 3, size=(16, 16)))


def test_a_network_that_is_no_functional_graph_is_refused() -> None:
    network = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(3, 1)], name="in_a_row")
    with pytest.raises(InputError, match=r"'in_a_row' is not a functional"):
        analyse(network)
