"""The graph of a network tells its blocks, and how far it looks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import KerasTensor, layers

from segapp.errors import InputError
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.graph import analyse, live_channels
from segapp.nets.resampling import Resampling2D
from segapp.nets.unet import unet
from segapp.transfer.base import read_base
from segapp.windows import round_up

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
    # What is shown to the network begins and ends at multiples of the stride.
    assert [round_up(graph.halo or 0, graph.stride) for graph in graphs] == [8, 24, 48, 96, 192, 384]


def summing_unet(depth: int, batch_norm: bool = False) -> keras.Model:
    """A U-Net from one band to logits, all of whose weights are 1 and biases 0: it never loses what a pixel adds."""
    model = unet(1, 2, UNetConfig(depth=depth, filters=1, dropout=0, batch_norm=batch_norm))
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            layer.set_weights([np.full_like(weight, weight.ndim == 4) for weight in layer.get_weights()])
    return keras.Model(model.input, model.get_layer("softmax").input)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_halo_of_a_u_net_is_not_a_pixel_too_wide_or_too_narrow(depth: int, batch_norm: bool) -> None:
    logits = summing_unet(depth, batch_norm)
    graph = analyse(logits)
    assert graph.halo is not None
    first, stop = 6 * graph.stride, 7 * graph.stride  # of the one tile
    side = 13 * graph.stride

    def moved(row: int) -> bool:
        image = np.zeros((1, side, 4 * graph.stride, 1), np.float32)
        image[0, row] = 1
        return bool(np.any(np.asarray(logits(image))[0, first:stop]))

    seen = [
        moved(row) for row in (first - graph.halo - 1, first - graph.halo, stop - 1 + graph.halo, stop + graph.halo)
    ]
    assert seen == [False, True, True, False]


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


def _resampled(factors: list[list[int]], **settings: str) -> Features:
    """Half the size, resized and back to the size, beside what was not resized."""
    back = [[down, up] for up, down in factors]
    return lambda x: Resampling2D(back, "nearest")(_same(Resampling2D(factors, **settings)(x)))


def _doubled(**settings: str) -> Features:
    return lambda x: Resampling2D([[2, 1], [2, 1]], **settings)(layers.AveragePooling2D(2)(x))


@pytest.mark.parametrize(
    ("features", "stride"),
    [
        (_doubled(coordinates="asymmetric"), 2),
        (_doubled(interpolation="cubic"), 2),
        (_doubled(interpolation="nearest", coordinates="asymmetric", rounding="ceil"), 2),
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


@pytest.mark.parametrize("factors", [[[3, 2], [3, 2]], [[1, 2], [1, 2]], [[4, 1], [3, 1]]])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_the_halo_of_other_factors_is_wide_enough(factors: list[list[int]], interpolation: str) -> None:
    model = with_input_and_head(_resampled(factors, interpolation=interpolation), 1, 2)
    model.set_weights([np.random.default_rng(0).normal(size=weight.shape) ** 2 for weight in model.get_weights()])
    graph = analyse(model)
    assert graph.halo is not None
    side, stride, halo = 144, graph.stride, round_up(graph.halo, graph.stride)
    image = np.random.default_rng(1).normal(size=(1, side, side, 1)).astype(np.float32)
    whole = keras.ops.convert_to_numpy(model(image))[:, 48 : 48 + stride, 48 : 48 + stride]
    seen = image[:, 48 - halo : 48 + stride + halo, 48 - halo : 48 + stride + halo]
    tile = keras.ops.convert_to_numpy(model(seen))[:, halo : halo + stride, halo : halo + stride]
    np.testing.assert_allclose(tile, whole, atol=1e-5, rtol=0)


def test_resizing_by_corners_leaves_no_halo() -> None:
    graph = analyse(with_input_and_head(_doubled(coordinates="align_corners"), 1, 2))
    assert (graph.halo, graph.stride) == (None, 2)


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


def _weighed(x: KerasTensor) -> KerasTensor:
    return layers.Multiply()([x, layers.GlobalAveragePooling2D()(x)])


def _squeezed(pooling: type[layers.Layer], keepdims: bool) -> Features:
    """Squeeze-and-excitation by convolutions or by dense layers, at the bridge of a network with one pooling."""

    def features(x: KerasTensor) -> KerasTensor:
        skip = _same(x, name="first")
        x = layers.Conv2D(4, 3, padding="same", name="deep")(layers.MaxPooling2D(2)(skip))
        gate = pooling(keepdims=keepdims, name="squeeze")(x)
        if not keepdims:
            gate = layers.Dense(2, activation="relu", name="excite")(gate)
            gate = layers.BatchNormalization()(layers.Reshape((1, 1, 2))(layers.Flatten()(gate)))
        else:
            gate = layers.Dropout(0.1)(layers.Conv2D(2, 1, activation="relu", name="excite")(gate))
        gate = layers.Conv2D(4, 1, activation="sigmoid", name="gate")(gate)
        x = layers.Add(name="shifted")([gate, layers.Multiply(name="weighted")([x, gate])])
        return layers.Concatenate()([layers.UpSampling2D(2, name="up")(x), skip])

    return features


@pytest.mark.parametrize("pooling", [layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])
@pytest.mark.parametrize("keepdims", [False, True])
def test_squeeze_and_excitation_leaves_no_halo_and_belongs_where_its_map_does(
    pooling: type[layers.Layer], keepdims: bool
) -> None:
    graph = analyse(with_input_and_head(_squeezed(pooling, keepdims), 3, 2))
    assert (graph.halo, graph.stride) == (None, 2)
    inside = ("deep", "squeeze", "excite", "gate", "weighted", "shifted")
    assert {graph.blocks[name] for name in inside} == {"bridge"}
    assert (graph.blocks["first"], graph.blocks["up"]) == ("encoder_stage_1", "decoder_stage_1")
    assert graph.blocks["final_conv"] == "head"


@pytest.mark.parametrize(
    "features",
    [
        lambda x: layers.GroupNormalization(2)(layers.Conv2D(4, 3, padding="same")(x)),
        lambda x: layers.GroupNormalization(-1)(_same(x)),
        lambda x: layers.LayerNormalization(axis=(1, 2, 3), scale=False, center=False)(_same(x)),
        lambda x: layers.UnitNormalization(axis=(1, 2))(_same(x)),
        _weighed,
        lambda x: x * layers.Dense(2)(layers.GlobalAveragePooling2D()(x))[:, None, None, :],
        lambda x: _same(x) * layers.GlobalMaxPooling2D(keepdims=True)(x),
    ],
)
def test_what_sees_the_whole_image_leaves_no_halo(features: Features) -> None:
    graph = analyse(with_input_and_head(lambda x: layers.MaxPooling2D(2)(layers.UpSampling2D(2)(features(x))), 2, 2))
    assert graph.halo is None and graph.stride == 1


def _gated_by(x: KerasTensor, layer: layers.Layer) -> KerasTensor:
    gate = layer(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, gate])


@pytest.mark.parametrize("size", [None, 64])
def test_what_keras_saved_with_squeeze_and_excitation_can_be_a_base(tmp_path: Path, size: int | None) -> None:
    image = keras.Input((size, size, 3))
    x = _squeezed(layers.GlobalAveragePooling2D, keepdims=False)(layers.GroupNormalization(3)(image))
    model = keras.Model(image, layers.Conv2D(5, 1, activation="softmax")(x))
    model.save(tmp_path / "foreign.keras")
    base = read_base(tmp_path / "foreign.keras")  # compares bit for bit
    assert analyse(base.model).halo is None


@pytest.mark.parametrize("layer", [layers.LayerNormalization, layers.UnitNormalization])
def test_normalization_over_the_channels_sees_one_pixel(layer: type[layers.Layer]) -> None:
    assert analyse(with_input_and_head(lambda x: layer()(_same(x)), 2, 2)).halo == 1


@pytest.mark.parametrize(
    ("features", "named"),
    [
        (lambda x: layers.LayerNormalization(axis=(1, 2, 3), name="culprit")(x), "'culprit'.*LayerNorm"),
        (lambda x: layers.GroupNormalization(4, axis=1, name="culprit")(x), "'culprit'.*GroupNorm.*whole image"),
        (lambda x: _gated_by(x, layers.Conv2D(4, 3, padding="same", name="culprit")), "'culprit'.*Conv2D.*followed"),
        (lambda x: _gated_by(x, layers.UpSampling2D(16, name="culprit")), "'culprit'.*UpSampling2D.*followed"),
        (
            lambda x: layers.Reshape((2, 2, 1), name="culprit")(layers.GlobalMaxPooling2D()(x)),
            "'culprit'.*Reshape.*followed",
        ),
        (lambda x: layers.Lambda(lambda y: y, name="culprit")(x), r"'culprit' \(Lambda\)"),
        (lambda x: layers.UpSampling2D(2, interpolation="area", name="culprit")(x), "'culprit'.*'area'"),
        (lambda x: layers.Conv2DTranspose(1, 3, output_padding=0, name="culprit")(x), "'culprit'.*output padding"),
        (lambda x: layers.Reshape((4, 4, 64), name="culprit")(x), "'culprit'.*whole image"),
        (lambda x: layers.Reshape((1024,), name="culprit")(x), "'culprit'.*whole image"),
        (lambda x: layers.GlobalAveragePooling2D(keepdims=True)(x), "another size than its image"),
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


def test_a_network_of_summaries_alone_is_refused() -> None:
    image = keras.Input((16, 16, 2))
    with pytest.raises(InputError, match="'vector' is not a functional Keras model from one image to one map"):
        analyse(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)), name="vector"))


def test_a_network_holds_most_at_its_last_join() -> None:
    # The image, and of the first stage the skip, what comes up, and both joined.
    assert live_channels(unet(5, 3, UNetConfig(depth=3, filters=4))) == 5 + 4 + 4 + 8
    wide = keras.Model(image := keras.Input((None, None, 2)), layers.Dense(30)(layers.ReLU()(_same(image))))
    assert live_channels(wide) == 2 + 2 + 30
    # One number a channel for the whole image weighs nothing.
    assert live_channels(with_input_and_head(lambda x: _weighed(layers.Conv2D(8, 3, padding="same")(x)), 2, 2)) == 18


def test_a_network_that_is_no_functional_graph_is_refused() -> None:
    network = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(3, 1)], name="in_a_row")
    with pytest.raises(InputError, match=r"'in_a_row' is not a functional"):
        analyse(network)
