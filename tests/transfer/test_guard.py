"""The guard judges on pixels that lie apart from those trained on, and is not impressed by luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.scenes.blocks import Block
from segapp.scenes.scene import Scene
from segapp.transfer.folds import folds
from segapp.transfer.guard import Candidate, PseudoLabelledScene, is_significantly_better, tile_counts
from segapp.windows import Window, whole
from tests.toy import ToyScene, random_scene

CLASSES = ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in range(1, 4)]})
GAP = 8
"""Pixels between what is trained on and what is held out of the same scene."""


def _places(count: int, places: Sequence[int]) -> tuple[list[ToyScene], dict[str, str]]:
    scenes = [random_scene((40, 40), seed=number) for number in range(count)]
    for number, scene in enumerate(scenes):
        scene.name = str(number)
    return scenes, {str(number): f"place {place}" for number, place in enumerate(places)}


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30).filter(lambda places: len(set(places)) > 1))
def test_each_place_is_held_out_whole_once(places: list[int]) -> None:
    scenes, groups = _places(len(places), places)
    splits = folds(scenes, groups)
    assert len(splits) == min(3, len(set(places)))
    held_out: list[int] = []
    for train, val in splits:
        trained, held = ({places[int(scene.name)] for scene in part} for part in (train, val))
        assert trained and held and not trained & held and len(train) + len(val) == len(scenes)
        held_out.extend(held)
    assert sorted(held_out) == sorted(set(places))


def test_scenes_without_a_group_are_places_of_their_own() -> None:
    scenes, _ = _places(4, [])
    assert [len(val) for _, val in folds(scenes)] == [2, 1, 1]


@given(st.lists(st.tuples(st.integers(24, 90), st.integers(24, 90)), min_size=1, max_size=4))
def test_of_one_place_opposite_ends_of_each_scene_are_held_out_with_a_gap(shapes: list[tuple[int, int]]) -> None:
    scenes = [random_scene(shape) for shape in shapes]
    for number, scene in enumerate(scenes):
        scene.name = str(number)
    splits = folds(scenes, {scene.name: "here" for scene in scenes})
    assert len(splits) == 2
    ends: dict[int, list[Window]] = {}
    for split in splits:
        for number, (scene, train, val) in enumerate(zip(scenes, *split, strict=True)):
            assert isinstance(train, Block) and isinstance(val, Block)
            assert train.window.grow(GAP).intersect(val.window).empty
            for block in (train, val):
                assert not block.window.empty and block.window.intersect(whole(scene.shape)) == block.window
            assert abs(0.2 * np.prod(scene.shape) - np.prod(val.shape)) <= min(scene.shape)
            np.testing.assert_array_equal(val.read_labels(whole(val.shape)), scene.labels[val.window.slices])
            ends.setdefault(number, []).append(val.window)
    assert all(first.intersect(second).empty for first, second in ends.values())


@given(st.tuples(st.integers(60, 90), st.integers(30, 60)), st.integers(0, 40), st.booleans())
def test_of_a_scene_with_few_labels_both_parts_have_some(shape: tuple[int, int], start: int, lying: bool) -> None:
    """As of a scene with a few polygons in a corner."""
    scene = random_scene(shape)
    labels = np.full(shape, IGNORED_INDEX)
    labels[start : start + 20, 10:15] = 1
    scene.labels = labels.astype(np.uint8)
    if lying:
        scene = ToyScene(np.swapaxes(scene.pixels, 0, 1), scene.labels.T)
    for (train,), (val,) in folds([scene]):
        counts = [int((part.read_labels(whole(part.shape)) == 1).sum()) for part in (train, val)]
        assert counts[1] == 20 and counts[0] >= 40


@pytest.mark.parametrize("turns", range(4))
def test_the_first_end_is_the_one_where_both_parts_show_most_classes(turns: int) -> None:
    """Water at one end only: held out at any other, the guard would see nothing but land."""
    labels = np.zeros((100, 60), np.uint8)
    labels[70:] = 1
    scene = random_scene((100, 60))
    scene = ToyScene(np.rot90(scene.pixels, turns), np.rot90(labels, turns))
    (train,), (val,) = folds([scene])[0]
    present = [set(np.unique(part.read_labels(whole(part.shape)))) for part in (train, val)]
    assert present == [{0, 1}, {0, 1}]


def test_a_scene_without_labels_is_parted_by_its_area() -> None:
    scene = random_scene((100, 50))
    scene.labels[:] = IGNORED_INDEX
    (train,), (val,) = folds([scene])[0]
    assert (train.shape, val.shape) == ((72, 50), (20, 50))


TILES = st.lists(
    st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3), min_size=1, max_size=12
)


def _candidate(name: str, tiles: Sequence[np.ndarray] | np.ndarray) -> Candidate:
    return Candidate(name, np.array(tiles, np.int64).reshape(-1, 3, 3))


def _predicted(reference: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Counts (T, 3, 3) of tiles with `reference` (T, 3) pixels, of which `right` (T, 3) are found, the rest taken for
    the next class."""
    counts = np.zeros((len(reference), 3, 3), np.int64)
    for index in range(3):
        counts[:, index, index] = right[:, index]
        counts[:, index, (index + 1) % 3] = (reference - right)[:, index]
    return counts


@given(TILES, st.integers(0, 99))
def test_an_equal_model_never_wins(tiles: list[list[list[int]]], seed: int) -> None:
    counts = np.array(tiles) + np.eye(3, dtype=int)
    assert not is_significantly_better(_candidate("a", counts), _candidate("b", counts.copy()), 0.9, seed=seed)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), min_size=1, max_size=10), st.integers(0, 99))
def test_a_worse_model_never_wins(tiles: list[tuple[int, int]], seed: int) -> None:
    reference = np.full((len(tiles), 3), 80)
    right = np.array([[hits, hits + 5, hits + 9] for hits, _ in tiles])
    fewer = np.array([[lost, lost // 2, 0] for _, lost in tiles])
    better, worse = _predicted(reference, right), _predicted(reference, np.maximum(right - fewer, 0))
    assert not is_significantly_better(_candidate("worse", worse), _candidate("better", better), 0.9, seed=seed)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=10)
def test_a_gain_in_every_tile_wins(tiles: int, gain: int, seed: int) -> None:
    reference = np.full((tiles, 3), 100)
    right = np.random.default_rng(seed).integers(10, 60, (tiles, 3))
    assert is_significantly_better(
        _candidate("new", _predicted(reference, right + gain)), _candidate("old", _predicted(reference, right)), 0.9
    )


@given(st.integers(10, 40), st.integers(0, 99))
@settings(max_examples=10)
def test_a_gain_in_one_tile_of_many_does_not_win(tiles: int, seed: int) -> None:
    reference, right = np.full((tiles, 3), 100), np.full((tiles, 3), 50)
    luckier = right.copy()
    luckier[seed % tiles] = 100
    old, new = _candidate("old", _predicted(reference, right)), _candidate("new", _predicted(reference, luckier))
    assert new.scores(CLASSES).global_accuracy > old.scores(CLASSES).global_accuracy
    assert not is_significantly_better(new, old, 0.9, seed=seed) and is_significantly_better(new, old, 0.5, seed=seed)


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_who_wins_is_the_same_each_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = (_candidate(n, _predicted(np.full((9, 3), 50), rng.integers(20, 50, (9, 3)))) for n in ("old", "new"))
    won = is_significantly_better(new, old, 0.9, seed=3)
    assert is_significantly_better(new, old, 0.9, seed=3) == won and not (
        won and is_significantly_better(old, new, 0.9, seed=3)
    )


def test_a_gain_that_is_asked_for_must_be_reached() -> None:
    old = _candidate("old", np.array([[[90, 10, 0], [10, 90, 0], [0, 0, 0]]]))
    new = _candidate("new", np.array([[[91, 9, 0], [10, 90, 0], [0, 0, 0]]]))
    assert is_significantly_better(new, old, 0.9) and not is_significantly_better(new, old, 0.9, gain=0.05)


def test_a_model_that_diverged_gives_no_class_and_loses() -> None:
    nothing, old = _candidate("new", np.empty((0, 3, 3))), _candidate("old", np.eye(3)[np.newaxis] * 9)
    assert not is_significantly_better(nothing, old, 0.9) and is_significantly_better(old, nothing, 0.9)
    assert not is_significantly_better(nothing, nothing, 0.9)


class _Says:
    """Predicts the given map, whatever it is present."""

    def __init__(self, indexes: np.ndarray) -> None:
        self.indexes = indexes
        self.asked = 0

    def class_map(self, scene: Scene) -> np.ndarray:
        self.asked += 1
        return self.indexes


def _remembered(labels: list[int], said: list[int], classes: list[int]) -> list[int]:
    scene = ToyScene(np.zeros((1, len(labels), 2)), np.array([labels]))
    distilled = PseudoLabelledScene(scene, _Says(np.array([said], np.uint8)), np.array(classes))  # type: ignore[arg-type]
    np.testing.assert_array_equal(scene.labels, [labels])
    return distilled.read_labels(Window(0, 0, 1, len(labels)))[0].tolist()


def test_labels_speak_first_and_where_there_are_none_the_base_of_its_classes() -> None:
    i = IGNORED_INDEX
    assert _remembered([0, 1, i, i, i, i], [2, 2, 2, 0, 1, i], classes=[2, 1]) == [0, 1, 2, i, 1, i]


def test_the_base_is_not_asked_where_every_pixel_has_a_label() -> None:
    scene, base = random_scene((5, 5)), _Says(np.zeros((5, 5), np.uint8))
    distilled = PseudoLabelledScene(scene, base, np.arange(3))  # type: ignore[arg-type]
    assert not base.asked
    np.testing.assert_array_equal(distilled.read_labels(Window(1, 2, 3, 2)), scene.labels[1:4, 2:4])


def test_tiles_add_up_to_the_scenes_and_those_without_a_label_are_left_out() -> None:
    scene = random_scene((150, 70))
    scene.labels[:64, :64] = IGNORED_INDEX
    said = np.random.default_rng(1).integers(3, size=(150, 70)).astype(np.uint8)
    counts = tile_counts(_Says(said), [scene, scene], CLASSES)  # type: ignore[arg-type]
    assert counts.shape == (2 * (3 * 2 - 1), 3, 3)
    known = scene.labels != IGNORED_INDEX
    expected = np.histogram2d(scene.labels[known], said[known], bins=3)[0]
    np.testing.assert_array_equal(counts.sum(0), 2 * expected)
