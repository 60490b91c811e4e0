"""A network fitted to other bands computes what it did before."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import KerasTensor, layers

from segapp.errors import InputError
from segapp.nets.adapt import adapt_kernel, band_mixing, first_kernels
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet

MEAN, STD = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]
CONFIG = UNetConfig(depth=1, filters=4, dropout=0)


def _features(network: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.Model(network.input, network.get_layer("final_conv").input)(image).numpy()


def _adapted(base: keras.Model, match: list[int | None]) -> keras.Model:
    """The base with its first kernel fitted to bands that stand at the places of `match`."""
    mean = [9.0 if index is None else MEAN[index] for index in match]
    std = [2.0 if index is None else STD[index] for index in match]
    network = unet(len(match), 3, CONFIG, mean=mean, std=std)
    (old,), (new,) = first_kernels(base), first_kernels(network)
    for layer in base.layers:
        if layer is not old and layer.name != "input_normalization":
            network.get_layer(layer.name).set_weights(layer.get_weights())
    kernel, bias = old.get_weights()
    new.set_weights([adapt_kernel(kernel, band_mixing(match, 4)), bias])
    return network


@pytest.mark.parametrize(
    "match", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 1], [0, 1, 2, 3, None, None], [None, 2, 0, None, 1], [None]]
)
def test_features_stay_when_dropped_bands_are_at_their_mean_and_new_bands_are_anything(match: list[int | None]) -> None:
    keras.utils.set_random_seed(3)
    base = unet(4, 3, CONFIG, mean=MEAN, std=STD)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 16, 16, 4)).astype(np.float32)
    for dropped in set(range(4)).difference(match):
        image[..., dropped] = MEAN[dropped]
    new = 100 * rng.normal(size=(1, 16, 16, len(match))).astype(np.float32)
    new[0, 0] = np.nan
    for place, index in enumerate(match):
        if index is not None:
            new[..., place] = image[..., index]
    expected = _features(base, image)
    # Sums of up to 4 x 9 products in float32, taken in another order.
    atol = 36 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(_features(_adapted(base, match), new), expected, rtol=0, atol=atol)
    if match != [0, 1, 2, 3]:
        assert np.abs(_features(base, image + 1) - expected).max() > 100 * atol


@given(st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=8), st.sampled_from(["zero", "mean"]))
def test_matched_filters_are_untouched_and_new_ones_zero_or_the_scaled_mean(match: list[int | None], fill: str) -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 5)).astype(np.float32)
    adapted = adapt_kernel(kernel, band_mixing(match, 4, fill))  # type: ignore[arg-type]
    assert adapted.shape == (3, 3, len(match), 5) and adapted.dtype == kernel.dtype
    begin = kernel.mean(axis=2) * (4 / len(match)) if fill == "mean" else np.zeros((3, 3, 5))
    for place, index in enumerate(match):
        if index is None:
            np.testing.assert_allclose(adapted[:, :, place], begin, rtol=1e-6)
        else:
            np.testing.assert_array_equal(adapted[:, :, place], kernel[:, :, index])


def test_a_response_to_equal_bands_keeps_its_size_when_all_filters_are_the_mean() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 5))
    adapted = adapt_kernel(kernel, band_mixing([None] * 7, 4, "mean"))
    np.testing.assert_allclose(adapted.sum(axis=2), kernel.sum(axis=2))


def test_filters_see_what_each_band_is_made_of() -> None:
    rng = np.random.default_rng(1)
    kernel, mixing = rng.normal(size=(3, 3, 4, 5)), rng.normal(size=(9, 4))
    image = rng.normal(size=(3, 3, 9))
    seen = np.einsum("hwn,hwnf->f", image, adapt_kernel(kernel, mixing))
    np.testing.assert_allclose(seen, np.einsum("hwc,hwcf->f", image @ mixing, kernel))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True), st.integers(0, 9))
def test_dropped_bands_are_estimated_from_those_that_are_left(kept: list[int], seed: int) -> None:
    """As least squares with a ridge over the pixels themselves would; the bands that are left stay what they are."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(500, 6))
    mixing = band_mixing(kept, 6, "zero", pixels.T @ pixels / len(pixels))
    np.testing.assert_array_equal(mixing[:, kept], np.eye(len(kept)))
    dropped = [band for band in range(6) if band not in kept]
    ridge = np.sqrt(0.01 * (pixels[:, kept] ** 2).sum() / len(kept)) * np.eye(len(kept))
    rows = np.vstack([pixels[:, kept], ridge])
    wanted = np.vstack([pixels[:, dropped], np.zeros((len(kept), len(dropped)))])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(mixing[:, dropped], expected, atol=1e-9)


def test_bands_whose_logarithms_are_standardised_are_found() -> None:
    network = unet(4, 3, CONFIG, mean=MEAN, std=STD, logarithm=True)
    assert [layer.name for layer in first_kernels(network)] == ["encoder_stage_1_conv_1"]


def test_convolutions_side_by_side_all_see_the_bands() -> None:
    def features(x: KerasTensor) -> KerasTensor:
        x = layers.Activation("relu")(layers.Rescaling(2.0)(layers.Dropout(0.1)(x)))
        wide = layers.Conv2D(4, 3, name="wide")(layers.ZeroPadding2D(1)(x))
        narrow = layers.Conv2D(4, 1, name="narrow")(x)
        return layers.BatchNormalization()(layers.Concatenate()([wide, narrow]))

    assert {layer.name for layer in first_kernels(with_input_and_head(features, 5, 2))} == {"wide", "narrow"}


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        (lambda x: layers.DepthwiseConv2D(3, name="culprit")(x), "DepthwiseConv2D"),
        (lambda x: layers.SeparableConv2D(4, 3, name="culprit")(x), "SeparableConv2D"),
        (lambda x: layers.BatchNormalization(name="culprit")(x), "BatchNormalization"),
        (lambda x: layers.Conv2D(4, 3, groups=2, name="culprit")(x), "Conv2D"),
        (lambda x: layers.Concatenate(name="culprit")([layers.Conv2D(4, 1)(x), x]), "Concatenate"),
        (lambda x: layers.Rescaling([1.0, 2.0, 3.0, 4.0], name="culprit")(x), "Rescaling"),
        (lambda x: layers.Activation("softmax", name="culprit")(x), "Activation"),
    ],
)
def test_what_else_mixes_or_weighs_the_bands_is_named(
    features: Callable[[KerasTensor], KerasTensor], kind: str
) -> None:
    with pytest.raises(InputError, match=rf"'culprit' \({kind}\) .* only be used with its own bands"):
        first_kernels(with_input_and_head(features, 4, 2))
