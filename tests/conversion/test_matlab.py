"""The weights that MATLAB exports for TensorFlow, of `unetLayers` and of `unet`."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from segapp.errors import InputError
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from tests.conversion.conftest import Convert, noise, outputs


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
