"""The context branch sees means and deviations of valid pixels alone, no farther than it says, and joins a network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from segapp.nets.config import UNetConfig
from segapp.nets.context import REACH, WINDOWS, ContextFeatures
from segapp.nets.graph import analyse
from segapp.nets.unet import unet

SMALL = UNetConfig(depth=1, filters=2)


def _image(height: int, width: int, seed: int, invalid: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(height, width, 2)).astype(np.float32)
    image[rng.random((height, width)) < invalid] = np.nan
    return image


def _features(image: np.ndarray) -> np.ndarray:
    bands = np.nan_to_num(image)[np.newaxis]
    return np.asarray(ContextFeatures()(bands, image[np.newaxis]))[0]


def _reference(image: np.ndarray) -> np.ndarray:
    """By SciPy: sums of valid pixels over how many there are."""
    valid = np.isfinite(image[..., :1]).astype(np.float64)
    bands = np.nan_to_num(image).astype(np.float64)

    def smooth(x: np.ndarray, side: int) -> np.ndarray:
        return uniform_filter(x, (side, side, 0), mode="constant")

    found, total, weight = [bands], bands * valid, valid
    for side in WINDOWS:
        total, weight = smooth(total, side) * valid, smooth(weight, side) * valid
        mean = total / np.maximum(weight, 1e-3)
        deviation = smooth(np.abs(bands - mean) * valid, side) / np.maximum(smooth(valid, side), 1e-3)
        found += [mean, deviation]
    return np.concatenate(found, -1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_features_are_means_and_deviations_of_valid_pixels(height: int, width: int, seed: int) -> None:
    image = _image(height, width, seed)
    valid = np.isfinite(image[..., 0])
    np.testing.assert_allclose(_features(image)[valid], _reference(image)[valid], rtol=1e-4, atol=1e-4)


def test_invalid_pixels_beyond_an_image_change_nothing() -> None:
    """Scenes are padded with them to what the poolings need."""
    image = _image(30, 20, 0)
    padded = np.pad(image, ((0, 18), (0, 44), (0, 0)), constant_values=np.nan)
    np.testing.assert_array_equal(_features(padded)[:30, :20], _features(image))


@pytest.mark.parametrize("beyond", [False, True])
def test_a_pixel_is_seen_as_far_as_the_reach(beyond: bool) -> None:
    image = _image(2 * REACH + 3, 1, 0, invalid=0)
    other = image.copy()
    other[REACH + (1 if beyond else 0)] += 100
    changed = not np.array_equal(_features(image)[0], _features(other)[0])
    assert changed == (not beyond)


def test_a_network_with_context_knows_its_blocks_and_how_far_it_looks() -> None:
    network = unet(2, 3, SMALL, context=8)
    graph = analyse(network)
    assert {name for name, block in graph.blocks.items() if block == "context"} == {
        "context_features",
        "context_hidden",
    }
    assert graph.halo == max(REACH, analyse(unet(2, 3, SMALL)).halo or 0)
    assert network.get_layer("final_conv").input.shape[-1] == 2 + 8


def test_bands_in_half_precision_have_features_in_single() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = unet(2, 3, SMALL, context=8)
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.get_layer("context_features").compute_dtype == "float32"
    assert network.get_layer("bridge_conv_1").compute_dtype == "bfloat16"
