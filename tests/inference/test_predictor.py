"""A scene mapped tile by tile equals the scene mapped at once."""

from __future__ import annotations

import functools
from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from keras import layers

from segapp.classes import IGNORED_INDEX
from segapp.inference.predictor import Predictor, most_probable
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.inference.tiles import central, overlapping, tiles
from segapp.nets.blocks import with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.patches.sampling import find_class_positions
from segapp.transfer.features import sample_features
from segapp.windows import Window, round_up, whole
from tests.nets.test_graph import summing_unet
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


@st.composite
def scene_and_window(draw: st.DrawFn, most: int = 400) -> tuple[tuple[int, int], Window]:
    """The shape of a scene and a window in it."""
    shape = draw(st.integers(1, most)), draw(st.integers(1, most))
    (top, height), (left, width) = (
        (start, draw(st.integers(1, size - start))) for size in shape for start in [draw(st.integers(0, size - 1))]
    )
    return shape, Window(top, left, height, width)


@given(scene_and_window(), st.integers(1, 18), st.integers(0, 90), st.integers(1, 200))
@settings(max_examples=50)
def test_cores_tile_the_window_and_lie_aligned_in_what_is_seen(
    place: tuple[tuple[int, int], Window], stride: int, halo: int, core: int
) -> None:
    shape, window = place
    scene, counted, sizes = whole(shape), np.zeros(shape, int), set()
    for kept, seen in tiles(shape, stride, halo, core, window):
        counted[kept.slices] += 1
        sizes.add((round_up(seen.height, stride), round_up(seen.width, stride)))
        assert max(kept.shape) <= round_up(core, stride)
        first, stop = (kept.row // stride * stride, kept.col // stride * stride), (kept.row_stop, kept.col_stop)
        aligned = Window(*first, *(round_up(b - a, stride) for a, b in zip(first, stop, strict=True)))
        assert aligned.grow(halo).intersect(scene).intersect(seen) == aligned.grow(halo).intersect(scene)
        assert seen.intersect(scene) == seen and seen.row % stride == seen.col % stride == 0
        assert seen.row_stop in (round_up(seen.row_stop, stride), shape[0])
        assert seen.col_stop in (round_up(seen.col_stop, stride), shape[1])
    assert (counted[window.slices] == 1).all() and counted.sum() == window.height * window.width
    assert len(sizes) == 1  # of what the network is shown, padded to its stride


@given(scene_and_window(), st.integers(2, 130))
@settings(max_examples=50)
def test_overlapping_windows_cover_the_window_by_half_overlap(place: tuple[tuple[int, int], Window], size: int) -> None:
    shape, wanted = place
    counted = np.zeros(shape, int)
    windows = list(overlapping(shape, size, wanted))
    for window in windows:
        counted[window.slices] += 1
        assert window.shape == (min(size, shape[0]), min(size, shape[1])) and window.intersect(whole(shape)) == window
    assert counted[wanted.slices].all()
    assert windows == sorted(windows)
    for starts in ({window.row for window in windows}, {window.col for window in windows}):
        assert all(later - start <= max(1, size // 2) for start, later in pairwise(sorted(starts)))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(20, 130))
@settings(max_examples=20)
def test_what_is_kept_of_overlapping_windows_is_nearest_to_their_middle(height: int, width: int, size: int) -> None:
    counted = np.zeros((height, width), int)
    pieces = list(central((height, width), size))
    assert [seen for _, seen in pieces] == list(overlapping((height, width), size))
    middles = sorted({seen.row + size / 2 for _, seen in pieces})
    for kept, seen in pieces:
        counted[kept.slices] += 1
        assert kept.intersect(seen) == kept
        for row in (kept.row + 0.5, kept.row_stop - 0.5):
            assert abs(row - seen.row - size / 2) <= min(abs(row - middle) for middle in middles) + 0.5
    assert (counted == 1).all()


def _at_once(logits: keras.Model, scene: ToyScene, stride: int) -> np.ndarray:
    """(H, W, K): what the network says of the whole scene, padded as `Predictor` pads it."""
    padding = [(0, round_up(size, stride) - size) for size in scene.shape]
    image = np.pad(scene.pixels, (*padding, (0, 0)), constant_values=np.nan)
    return np.array(logits(image[np.newaxis], training=False))[0, : scene.shape[0], : scene.shape[1]]


@functools.cache
def _logits(depth: int, batch_norm: bool) -> tuple[keras.Model, TensorFlowEngine]:
    """A small U-Net up to its logits, none of whose weights is at 0 or 1, and what runs it."""
    model = unet(2, 3, UNetConfig(depth=depth, filters=2, batch_norm=batch_norm), mean=[90, -4], std=[20, 0.5])
    rng = np.random.default_rng(depth)
    for variable in model.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.5, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "kernel":
            variable.assign(rng.normal(0, np.sqrt(2 / np.prod(variable.shape[:-1])), variable.shape))
    logits = keras.Model(model.input, model.get_layer("softmax").input)
    return logits, TensorFlowEngine(logits)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("batch_norm", [False, True])
@given(st.data())
@settings(max_examples=5, phases=[Phase.reuse, Phase.generate])
def test_a_u_net_sees_any_window_by_tiles_as_it_sees_the_whole_scene(
    depth: int, batch_norm: bool, data: st.DataObject
) -> None:
    model, engine = _logits(depth, batch_norm)
    halo = round_up(engine.halo or 0, engine.stride)
    core = engine.stride * data.draw(st.integers(1, 4))
    sides = st.integers(halo + 1, 2 * (halo + core) + engine.stride)
    shape = data.draw(sides), data.draw(sides)
    row, col = (data.draw(st.integers(0, side - 1)) for side in shape)
    window = Window(row, col, *(data.draw(st.integers(1, 2 * core + 1)) for _ in shape)).intersect(whole(shape))
    scene = random_scene(shape, seed=data.draw(st.integers(0, 9)))
    scene.pixels = scene.pixels * np.float32([20, 0.5]) + np.float32([90, -4])
    scene.pixels[row : row + 3, : shape[1] // 2] = np.nan
    expected = _at_once(model, scene, engine.stride)
    assert expected.std() > 0.1
    expected[np.isnan(scene.pixels[..., 0])] = np.nan
    tiled = np.zeros_like(expected)
    for piece, logits in Predictor(engine, tile=2 * halo + core).probabilities(scene, window):
        tiled[piece.slices] = logits
    tiled, expected = tiled[window.slices], expected[window.slices]
    np.testing.assert_allclose(tiled, expected, rtol=0, atol=1e-4)
    second, largest = np.sort(expected, axis=-1)[..., -2:].transpose(2, 0, 1)
    same = most_probable(tiled) == most_probable(expected)
    assert (same | (largest - second < 1e-4)).all()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_halo_of_one_step_less_loses_what_the_whole_scene_shows(depth: int) -> None:
    model = summing_unet(depth)
    engine = TensorFlowEngine(model)
    assert engine.halo is not None
    core = 2 * engine.stride
    first = round_up(engine.halo, core)  # of a tile
    scene = random_scene((2 * first + core, core), bands=1)  # a tile at its edge sees more than it needs
    scene.pixels[:] = 0
    scene.pixels[first - engine.halo] = 1
    expected = _at_once(model, scene, engine.stride)

    def equals_whole(halo: int) -> bool:
        engine.halo = halo
        tiled = np.empty_like(expected)
        for window, logits in Predictor(engine, tile=2 * round_up(halo, engine.stride) + core).probabilities(scene):
            tiled[window.slices] = logits
        return np.allclose(tiled, expected, rtol=1e-5, atol=0)

    assert equals_whole(engine.halo)
    assert not equals_whole(engine.halo - engine.stride)


@pytest.mark.parametrize("depth", [3, 4])
def test_a_window_that_ends_between_two_steps_looks_as_far_as_the_whole_step(depth: int) -> None:
    model = summing_unet(depth)
    engine = TensorFlowEngine(model)
    assert engine.halo is not None
    first, last = 2 * engine.stride, 3 * engine.stride - 1
    scene = random_scene((last + engine.halo + 9, engine.stride), bands=1)
    scene.pixels[:] = 0
    scene.pixels[last + engine.halo] = 1
    expected = _at_once(model, scene, engine.stride)
    window = Window(first, 0, engine.stride // 2 + 1, engine.stride)
    ((piece, logits),) = Predictor(engine).probabilities(scene, window)
    assert piece == window and expected[window.slices].any()
    np.testing.assert_allclose(logits, expected[window.slices], rtol=1e-5)


@pytest.mark.parametrize("shape", [(101, 67), (64, 128)])
def test_strides_poolings_by_three_and_skips_tile_as_well(shape: tuple[int, int]) -> None:
    scene = random_scene(shape)
    scene.pixels[5:9, 10:30] = np.nan
    model = _strided_network()
    engine = TensorFlowEngine(model)
    expected = _at_once(model, scene, engine.stride)
    expected[5:9, 10:30] = np.nan
    tiled = np.empty((*shape, 3), np.float32)
    for window, probabilities in Predictor(engine, tile=2 * (engine.halo or 0) + 4 * engine.stride).probabilities(
        scene
    ):
        tiled[window.slices] = probabilities
    np.testing.assert_allclose(tiled, expected, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [1, 2])
def test_with_test_time_augmentation_a_turned_scene_gives_the_turned_map(flip: bool, turns: int) -> None:
    scene = random_scene((40, 64))
    turned = ToyScene(*(np.rot90(a[::-1] if flip else a, turns) for a in (scene.pixels, scene.labels)))
    network = _network(3)

    def mapped(scene: ToyScene, augment: bool) -> np.ndarray:
        ((_, probabilities),) = Predictor(TensorFlowEngine(network), augment).probabilities(scene)
        return probabilities

    expected = np.rot90(mapped(scene, True)[::-1] if flip else mapped(scene, True), turns)
    np.testing.assert_allclose(mapped(turned, True), expected, atol=1e-6)
    assert np.abs(mapped(turned, False) - expected).max() > 1e-3


def _gated_network() -> keras.Model:
    """Squeeze-and-excitation at the coarser of two resolutions."""
    keras.utils.set_random_seed(3)

    def features(x: keras.KerasTensor) -> keras.KerasTensor:
        fine = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        coarse = layers.MaxPooling2D(2)(fine)
        gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(coarse))
        return layers.Concatenate()([layers.UpSampling2D(2)(layers.Multiply()([coarse, gate])), fine])

    return with_input_and_head(features, 2, 3)


def test_a_network_that_sees_the_whole_image_is_blended() -> None:
    model = _gated_network()
    engine = TensorFlowEngine(model)
    scene = random_scene((75, 61))
    scene.pixels *= np.linspace(0, 3, 75)[:, None, None]
    scene.pixels[30:33, 7:50] = np.nan
    missing = np.isnan(scene.pixels[..., 0])
    predictor = Predictor(engine, tile=32)
    assert engine.halo is None and predictor.blends
    result = np.full((75, 61, 3), -1, np.float32)
    for window, probabilities in predictor.probabilities(scene):
        result[window.slices] = probabilities
    assert np.array_equal(np.isnan(result).all(-1), missing) and np.array_equal(np.isnan(result).any(-1), missing)
    np.testing.assert_allclose(result[~missing].sum(-1), 1, atol=1e-6)
    indexes = predictor.class_map(scene)
    assert np.array_equal(indexes == IGNORED_INDEX, missing)
    assert np.array_equal(indexes[~missing], result[~missing].argmax(-1))
    # A scene as small as a window is seen at once.
    small = random_scene((32, 20))
    ((_, found),) = Predictor(engine, tile=32).probabilities(small)
    np.testing.assert_allclose(found, _at_once(model, small, 2), atol=1e-6)


def test_a_head_is_fitted_on_features_as_blended_windows_have_them() -> None:
    model, scene = _gated_network(), random_scene((75, 61))
    positions = find_class_positions([scene], 3, seed=0)
    features, labels = sample_features(model, "final_conv", [scene], positions, 10**6, 0.0, seed=0, core=31)
    assert len(features) == len(labels) == 75 * 61 and scene.most_pixels_read <= 75 * 61
    body = keras.Model(model.input, model.get_layer("final_conv").input)
    expected = np.empty((75, 61, features.shape[1]), np.float32)
    for kept, seen in central(scene.shape, 32):
        expected[kept.slices] = np.array(body(scene.pixels[seen.slices][np.newaxis]))[0][kept.relative_to(seen).slices]
    directions = np.random.default_rng(0).normal(size=(features.shape[1], 9))
    found, wanted = (np.sort(table @ directions, axis=0) for table in (features, expected.reshape(features.shape)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_engine_finds_the_most_probable_class_of_the_place_alone() -> None:
    engine = TensorFlowEngine(_network(2))
    image = random_scene((48, 40)).pixels
    place = Window(7, 3, 30, 33)
    found = engine.probabilities(image, place)
    assert found.shape == (30, 33, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, engine.probabilities(image, whole((48, 40)))[place.slices], atol=1e-6)
    indexes = engine.indexes(image, place)
    assert indexes.dtype == np.uint8 and np.array_equal(indexes, found.argmax(-1))
    assert engine.precision == "float32" and (engine.classes, engine.stride) == (3, 4)


def test_pixels_without_data_stay_without_class() -> None:
    scene = random_scene((40, 30))
    scene.pixels[:7] = np.nan
    indexes = Predictor(TensorFlowEngine(_network(2))).class_map(scene)
    assert (indexes[:7] == IGNORED_INDEX).all() and (indexes[7:] < 3).all()


class _Counting:
    """An engine that counts what it is asked."""

    def __init__(self, engine: TensorFlowEngine) -> None:
        self.engine, self.calls = engine, 0

    def __getattr__(self, name: str) -> object:
        self.calls += name in ("indexes", "probabilities")
        return getattr(self.engine, name)


def test_tiles_without_data_cost_no_network() -> None:
    scene = random_scene((64, 128))
    scene.pixels[:, 64:] = np.nan
    engine = _Counting(TensorFlowEngine(_network(1)))
    predictor = Predictor(engine, tile=64 + 2 * engine.engine.halo)
    indexes = predictor.class_map(scene)
    assert engine.calls == 1 and (indexes[:, 64:] == IGNORED_INDEX).all() and (indexes[:, :64] < 3).all()
    for window, probabilities in predictor.probabilities(scene):
        assert np.isnan(probabilities).all() == (window.col == 64)
    assert engine.calls == 2


def test_where_a_network_gives_no_number_there_is_no_class() -> None:
    model = _network(2)
    model.get_layer("final_conv").bias.assign([np.nan, 0, 0])
    assert (Predictor(TensorFlowEngine(model)).class_map(random_scene((20, 20))) == IGNORED_INDEX).all()
