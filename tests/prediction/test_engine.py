"""A scene mapped tile by tile equals the scene mapped at once."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from segapp.classes import IGNORED_INDEX
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.prediction import engine
from segapp.prediction.tiles import tiles
from segapp.windows import whole
from tests.toy import ToyScene, random_scene


def _network(depth: int) -> keras.Model:
    keras.utils.set_random_seed(depth)
    return unet(2, 3, UNetConfig(depth=depth, filters=2, dropout=0))


def _strided_network() -> keras.Model:
    """Stride-2 convolutions and a pooling by 3 down, repetition up, skips added."""
    keras.utils.set_random_seed(7)

    def features(x: keras.KerasTensor) -> keras.KerasTensor:
        first = layers.Conv2D(4, 5, padding="same", activation="relu")(x)
        second = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(first)
        third = layers.Conv2D(4, 3, padding="same", dilation_rate=2)(layers.MaxPooling2D(3)(second))
        second = layers.Add()([layers.UpSampling2D(3)(third), second])
        return layers.Add()([layers.UpSampling2D(2)(second), first])

    return with_input_and_head(features, 2, 3)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 18), st.integers(0, 90), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_cores_tile_the_scene_and_lie_aligned_in_what_is_seen(
    height: int, width: int, stride: int, halo: int, core: int
) -> None:
    scene = whole((height, width))
    counted = np.zeros((height, width), int)
    for kept, seen in tiles((height, width), stride, halo, core):
        counted[kept.slices] += 1
        assert kept.grow(halo).intersect(scene).intersect(seen) == kept.grow(halo).intersect(scene)
        assert seen.intersect(scene) == seen
        assert kept.row % stride == kept.col % stride == seen.row % stride == seen.col % stride == 0
    assert (counted == 1).all()


@pytest.mark.parametrize("network", [lambda: _network(1), lambda: _network(2), lambda: _network(3), _strided_network])
@pytest.mark.parametrize("shape", [(101, 67), (64, 128)])
def test_tiled_equals_whole(
    network: Callable[[], keras.Model], shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = random_scene(shape)
    scene.pixels[5:9, 10:30] = np.nan
    predictor = engine.Predictor(network())

    def mapped() -> np.ndarray:
        result = np.empty((*shape, 3), np.float32)
        for window, probabilities in predictor.probabilities(scene):
            result[window.slices] = probabilities
        return result

    at_once = mapped()
    monkeypatch.setattr(engine, "tiles", lambda *shape_stride_halo: tiles(*shape_stride_halo, core=16))
    tiled = mapped()
    np.testing.assert_allclose(tiled, at_once, atol=1e-5)
    assert np.array_equal(np.isnan(at_once[..., 0]), np.isnan(scene.pixels[..., 0]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [1, 2])
def test_with_test_time_augmentation_a_turned_scene_gives_the_turned_map(flip: bool, turns: int) -> None:
    scene = random_scene((40, 64))
    turned = ToyScene(*(np.rot90(a[::-1] if flip else a, turns) for a in (scene.pixels, scene.labels)))

    def mapped(scene: ToyScene, augment: bool) -> np.ndarray:
        ((_, probabilities),) = engine.Predictor(_network(3), augment).probabilities(scene)
        return probabilities

    expected = np.rot90(mapped(scene, True)[::-1] if flip else mapped(scene, True), turns)
    np.testing.assert_allclose(mapped(turned, True), expected, atol=1e-6)
    assert np.abs(mapped(turned, False) - expected).max() > 1e-3


def test_pixels_without_data_stay_without_class() -> None:
    scene = random_scene((40, 30))
    scene.pixels[:7] = np.nan
    indexes = engine.Predictor(_network(2)).class_map(scene)
    assert (indexes[:7] == IGNORED_INDEX).all() and (indexes[7:] < 3).all()
