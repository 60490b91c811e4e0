"""OpenVINO computes what TensorFlow does."""

from __future__ import annotations

import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.inference.openvino_engine import OpenVINOEngine, cpu_precision
from segapp.inference.predictor import Predictor
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.windows import Window, whole
from tests.toy import random_scene

_MEAN, _STD = [5000.0, -0.2], [40.0, 0.01]  # of digital numbers far from 0, and of small ones


def _u_net(batch_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(5)
    config = UNetConfig(depth=2, filters=4, batch_norm=batch_norm)
    return unet(2, 3, config, mean=_MEAN, std=_STD)


def _gated() -> keras.Model:
    keras.utils.set_random_seed(6)

    def features(x: keras.KerasTensor) -> keras.KerasTensor:
        x = layers.GroupNormalization(2)(layers.Conv2D(4, 3, padding="same", activation="relu")(x))
        gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
        return layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)])

    return with_input_and_head(features, 2, 3, mean=_MEAN, std=_STD)


def _image(height: int, width: int) -> np.ndarray:
    """(height, width, 2) float32 about the means, with pixels that have no data, or are infinite in a band."""
    image = (random_scene((height, width)).pixels * _STD + _MEAN).astype(np.float32)
    image[3:9, 5:11] = np.nan
    image[20, 20, 0], image[21, 20, 1] = np.inf, -np.inf
    return image


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^the openvino engine needs the package openvino; install segapp\[openvino]"):
        OpenVINOEngine(_u_net())


class TestWithOpenVINO:
    @pytest.fixture(autouse=True)
    def _needs_openvino(self) -> None:
        pytest.importorskip("openvino", reason="openvino is not installed; install segapp[openvino]")

    @pytest.mark.parametrize("network", [_u_net, lambda: _u_net(batch_norm=True), _gated])
    def test_probabilities_are_tensorflows_for_images_of_any_size(self, network: Callable[[], keras.Model]) -> None:
        model = network()
        ours, tensorflow = OpenVINOEngine(model), TensorFlowEngine(model)
        assert (ours.stride, ours.halo, ours.classes) == (tensorflow.stride, tensorflow.halo, 3)
        assert ours.bytes_per_pixel == tensorflow.bytes_per_pixel and ours.precision == "float32"
        for height, width in ((48, 40), (32, 64), (48, 40)):
            image = _image(height, width)
            place = Window(2, 3, height - 7, width - 5)
            expected = tensorflow.probabilities(image, place)
            found = ours.probabilities(image, place)
            assert np.isfinite(expected).all() and expected.std() > 0.05
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
            indexes = ours.indexes(image, place)
            assert indexes.dtype == np.uint8 and indexes.shape == place.shape
            assert np.array_equal(indexes, found.argmax(-1))

    def test_an_answer_stays_when_the_next_image_comes_in_whatever_memory_it_lies(self) -> None:
        engine = OpenVINOEngine(_u_net())
        image = _image(48, 40)
        found, indexes = engine.probabilities(image, whole((48, 40))), engine.indexes(image, whole((48, 40)))
        before = found.copy(), indexes.copy()
        image.flags.writeable = False
        turned = np.rot90(image)
        again = engine.probabilities(turned, whole((40, 48)))
        engine.indexes(turned, whole((40, 48)))
        np.testing.assert_array_equal(found, before[0])
        np.testing.assert_array_equal(indexes, before[1])
        np.testing.assert_allclose(again, TensorFlowEngine(_u_net()).probabilities(turned, whole((40, 48))), atol=1e-4)

    def test_a_scene_is_mapped_as_by_tensorflow(self) -> None:
        model, scene = _u_net(), random_scene((101, 83))
        scene.pixels = _image(101, 83)
        maps = [Predictor(kind(model), tile=84).class_map(scene) for kind in (OpenVINOEngine, TensorFlowEngine)]
        assert (maps[0] == maps[1]).mean() > 0.999  # but for ties
        assert np.array_equal(maps[0] == IGNORED_INDEX, np.isnan(scene.pixels[..., 0]))

    def test_bfloat16_is_used_where_the_cpu_has_it_and_agrees(self) -> None:
        model = _u_net()
        precision = cpu_precision("bfloat16")
        engine, image = OpenVINOEngine(model, precision), _image(64, 64)
        place = whole((64, 64))
        expected, found = TensorFlowEngine(model).probabilities(image, place), engine.probabilities(image, place)
        assert np.abs(found - expected).max() < {"float32": 1e-4, "bfloat16": 0.1}[precision]

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        model = _u_net()
        capfd.readouterr()
        OpenVINOEngine(model).indexes(_image(32, 32), whole((32, 32)))
        assert capfd.readouterr() == ("", "")

    def test_where_a_network_gives_no_number_there_is_no_class(self) -> None:
        model = _u_net()
        model.get_layer("final_conv").bias.assign([np.nan, 0, 0])
        assert (OpenVINOEngine(model).indexes(_image(24, 24), whole((24, 24))) == IGNORED_INDEX).all()
