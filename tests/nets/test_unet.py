"""The U-Net has the layers that its documentation names, and does what they say."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet


def _tiny(depth: int = 2, batch_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    config = UNetConfig(depth=depth, filters=4, batch_norm=batch_norm)
    return unet(3, 5, config, mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 2.0])


def test_it_has_as_many_parameters_as_matlabs_unet_layers() -> None:
    model = unet(6, 18, UNetConfig(depth=4, filters=64), size=(256, 256))
    assert model.count_params() == 31_034_578


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_probabilities_come_out_at_the_size_of_the_image(depth: int, batch_norm: bool) -> None:
    image = np.random.default_rng(0).normal(size=(2, 64, 128, 3)).astype(np.float32)
    probabilities = _tiny(depth, batch_norm)(image).numpy()
    assert probabilities.shape == (2, 64, 128, 5)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_blocks_carry_matlabs_names() -> None:
    names = {layer.name for layer in _tiny().layers}
    assert {
        "encoder_stage_1_conv_1",
        "encoder_stage_1_relu_2",
        "encoder_stage_1_maxpool",
        "encoder_stage_2_dropout",
        "bridge_conv_1",
        "bridge_dropout",
        "decoder_stage_1_upconv",
        "decoder_stage_1_uprelu",
        "decoder_stage_1_concat",
        "decoder_stage_2_conv_2",
        "final_conv",
        "softmax",
    } <= names
    assert "encoder_stage_1_dropout" not in names


def test_the_skip_is_joined_after_the_upsampled_features() -> None:
    model = _tiny()
    upsampled, skip = model.get_layer("decoder_stage_1_concat").input
    assert upsampled is model.get_layer("decoder_stage_1_uprelu").output
    assert skip is model.get_layer("encoder_stage_2_dropout").output


def test_pixels_without_data_count_as_the_mean() -> None:
    model = _tiny()
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    missing, mean = image.copy(), image.copy()
    missing[0, 2, 3] = [np.nan, np.inf, -np.inf]
    mean[0, 2, 3] = [1, 2, 3]
    np.testing.assert_array_equal(model(missing), model(mean))
    assert not np.array_equal(model(missing), model(image))


def test_logarithms_are_standardised_inside_the_network_and_invalid_pixels_are_their_centre() -> None:
    mean, std = np.array([0.1, 2000.0]), np.array([0.06, 900.0])
    model = unet(2, 2, UNetConfig(depth=1, filters=2), mean=mean.tolist(), std=std.tolist(), logarithm=True)
    taken = keras.Model(model.input, model.get_layer("encoder_stage_1_conv_1").input)
    rng = np.random.default_rng(0)
    variance = np.log1p((std / mean) ** 2)
    image = np.exp(rng.normal(np.log(mean) - variance / 2, np.sqrt(variance), (1, 200, 200, 2))).astype(np.float32)
    seen = taken(image).numpy()
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=0.03)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, atol=0.03)
    brighter = taken(1.5 * image).numpy() - seen
    np.testing.assert_allclose(brighter, np.broadcast_to(np.log(1.5) / np.sqrt(variance), brighter.shape), atol=1e-4)
    image[0, :4, 0] = [[np.nan, 1], [np.inf, 1], [-np.inf, 1], [-5, 1]]
    seen = taken(image).numpy()
    np.testing.assert_allclose(seen[0, :3, 0, 0], 0, atol=1e-6)
    assert np.isfinite(seen).all() and seen[0, 3, 0, 0] < -5


def test_input_is_standardised_inside_the_network() -> None:
    model = _tiny()
    standardise = keras.Model(model.input, model.get_layer("input_normalization").output)
    image = np.array([3.0, 2.0, 1.0], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(standardise(image).numpy().ravel(), [1, 0, -1])


def test_the_head_computes_in_float32_when_the_rest_does_not() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _tiny()
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("bridge_conv_1").compute_dtype == "bfloat16"
    assert model.get_layer("final_conv").compute_dtype == "float32"
    assert model.output.dtype == "float32"
