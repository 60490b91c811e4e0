"""A scene mapped tile by tile equals the scene mapped at once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.classes import IGNORED_INDEX
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.prediction import engine
from segapp.prediction.tiles import tiles, unet_halo
from segapp.windows import whole
from tests.toy import ToyScene, random_scene


def _network(depth: int) -> keras.Model:
    keras.utils.set_random_seed(depth)
    return unet(2, 3, UNetConfig(depth=depth, filters=2, dropout=0))


def test_halos_are_those_of_two_convolutions_a_stage() -> None:
    assert [unet_halo(depth) for depth in range(1, 7)] == [8, 22, 46, 94, 190, 382]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 4), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_cores_tile_the_scene_and_lie_aligned_in_what_is_seen(height: int, width: int, depth: int, core: int) -> None:
    counted = np.zeros((height, width), int)
    for kept, seen in tiles((height, width), depth, core):
        counted[kept.slices] += 1
        assert kept.intersect(seen) == kept and seen.intersect(whole((height, width))) == seen
        assert seen.row % 2**depth == 0 and seen.col % 2**depth == 0
    assert (counted == 1).all()


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("shape", [(101, 67), (64, 128)])
def test_tiled_equals_whole(depth: int, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene(shape)
    scene.pixels[5:9, 10:30] = np.nan
    predictor = engine.Predictor(_network(depth), depth)

    def mapped() -> np.ndarray:
        result = np.empty((*shape, 3), np.float32)
        for window, probabilities in predictor.probabilities(scene):
            result[window.slices] = probabilities
        return result

    at_once = mapped()
    monkeypatch.setattr(engine, "tiles", lambda shape, depth: tiles(shape, depth, core=16))
    tiled = mapped()
    np.testing.assert_allclose(tiled, at_once, atol=1e-5)
    assert np.array_equal(np.isnan(at_once[..., 0]), np.isnan(scene.pixels[..., 0]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [1, 2])
def test_with_test_time_augmentation_a_turned_scene_gives_the_turned_map(flip: bool, turns: int) -> None:
    scene = random_scene((40, 64))
    turned = ToyScene(*(np.rot90(a[::-1] if flip else a, turns) for a in (scene.pixels, scene.labels)))

    def mapped(scene: ToyScene, augment: bool) -> np.ndarray:
        ((_, probabilities),) = engine.Predictor(_network(3), 3, augment).probabilities(scene)
        return probabilities

    expected = np.rot90(mapped(scene, True)[::-1] if flip else mapped(scene, True), turns)
    np.testing.assert_allclose(mapped(turned, True), expected, atol=1e-6)
    assert np.abs(mapped(turned, False) - expected).max() > 1e-3


def test_pixels_without_data_stay_without_class() -> None:
    scene = random_scene((40, 30))
    scene.pixels[:7] = np.nan
    indexes = engine.Predictor(_network(2), 2).class_map(scene)
    assert (indexes[:7] == IGNORED_INDEX).all() and (indexes[7:] < 3).all()
