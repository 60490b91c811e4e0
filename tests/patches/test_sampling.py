"""Patches are cut as a pure function of seed and index, where asked, and padded where a scene ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.patches.sampling import PatchSource, Sampling, find_class_positions, read_padded
from segapp.windows import Window
from tests.toy import ToyScene, random_scene


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_a_patch_is_a_pure_function_of_seed_and_index(seed: int, index: int) -> None:
    scenes = [random_scene((40, 50)), random_scene((30, 30), seed=1)]
    first, again = (PatchSource(scenes, 16, seed).cut(index) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_different_indexes_and_seeds_give_different_patches() -> None:
    scenes = [random_scene((200, 200))]
    patches = [PatchSource(scenes, 8, seed).cut(index)[0].tobytes() for seed in (0, 1) for index in range(20)]
    assert len(set(patches)) > 35


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    origin=st.tuples(st.integers(-15, 15), st.integers(-15, 15)),
)
@settings(max_examples=60, deadline=None)
def test_beyond_the_scene_is_no_data_and_no_label(shape: tuple[int, int], origin: tuple[int, int]) -> None:
    scene = random_scene(shape)
    window = Window(*origin, 17, 13)
    if window.intersect(Window(0, 0, *shape)).empty:
        return
    pixels, labels = read_padded(scene, window)
    frame = np.full((80, 80, 2), np.nan, np.float32)
    frame[30 : 30 + shape[0], 30 : 30 + shape[1]] = scene.pixels
    names = np.full((80, 80), IGNORED_INDEX, np.uint8)
    names[30 : 30 + shape[0], 30 : 30 + shape[1]] = scene.labels
    place = window.shift(30, 30).slices
    np.testing.assert_array_equal(pixels, frame[place])
    np.testing.assert_array_equal(labels, names[place])


def test_pixels_without_data_carry_no_label() -> None:
    scene = random_scene((16, 16))
    scene.pixels[3, 4] = np.nan
    labels = PatchSource([scene], 16, 0).cut(0)[1]
    assert labels[3, 4] == IGNORED_INDEX
    assert np.count_nonzero(labels == IGNORED_INDEX) == 1


def test_a_scene_smaller_than_a_patch_is_padded_all_round() -> None:
    pixels, labels = PatchSource([random_scene((10, 40))], 20, 0).cut(5)
    assert pixels.shape == (20, 20, 2)
    assert np.isnan(pixels[:5]).all() and np.isnan(pixels[15:]).all() and not np.isnan(pixels[5:15]).any()
    assert (labels[:5] == IGNORED_INDEX).all()


def test_balanced_patches_hold_a_rare_class_far_more_often() -> None:
    labels = np.zeros((300, 300), np.uint8)
    labels[100:104, 200:204] = 1
    scene = ToyScene(np.zeros((300, 300, 1)), labels)
    positions = find_class_positions([scene], 3, seed=0)
    np.testing.assert_allclose(positions.share, [1 - 16 / 90000, 16 / 90000, 0])

    def share_with_rare(balance: float) -> float:
        source = PatchSource([scene], 16, 0, Sampling(balance=balance), positions)
        return float(np.mean([(source.cut(i)[1] == 1).any() for i in range(200)]))

    assert share_with_rare(0.0) < 0.1
    assert share_with_rare(1.0) == pytest.approx(0.5, abs=0.15)


def test_patches_with_too_few_labels_are_drawn_again() -> None:
    labels = np.full((100, 100), IGNORED_INDEX, np.uint8)
    labels[:, :50] = 0
    source = PatchSource([ToyScene(np.zeros((100, 100, 1)), labels)], 10, 0, Sampling(minimum_labelled=0.9))
    shares = [np.mean(source.cut(i)[1] == 0) for i in range(50)]
    assert np.mean(np.array(shares) >= 0.9) > 0.9


def test_large_scenes_are_read_by_window_only() -> None:
    scene = random_scene((1000, 1000))
    source = PatchSource([scene], 32, 0)
    for index in range(20):
        source.cut(index)
    assert scene.most_pixels_read == 32 * 32


def test_no_training_scene_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="role train"):
        PatchSource([], 16, 0)


def test_kept_positions_are_a_uniform_sample_of_their_class() -> None:
    labels = np.zeros((700, 400), np.uint8)
    labels[:, 200:] = 1
    positions = find_class_positions([ToyScene(np.zeros((700, 400, 1)), labels)], 2, seed=0)
    for index in (0, 1):
        rows, cols = positions.row[index], positions.col[index]
        assert len(rows) == 20_000 and len({*zip(rows.tolist(), cols.tolist(), strict=True)}) == 20_000
        assert (labels[rows, cols] == index).all()
        shares = np.histogram(rows, bins=7, range=(0, 700))[0] / 20_000
        np.testing.assert_allclose(shares, 1 / 7, atol=0.02)
