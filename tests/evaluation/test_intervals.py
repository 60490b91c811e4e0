"""Intervals hold the scores of other scenes of the kind, and are not given where there are too few."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segapp.evaluation.intervals import bootstrap
from segapp.evaluation.report import Evaluation
from tests.evaluation.test_report import CLASSES


def _scenes(number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 2, 2) confusion counts of scenes that differ in how many pixels are right."""
    share = rng.beta(16, 4, number)
    right = rng.binomial(1000, share[:, np.newaxis], (number, 2))
    return np.array([[[a, 1000 - a], [1000 - b, b]] for a, b in right])


def test_the_accuracy_of_all_such_scenes_lies_within_as_often_as_is_said() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        found = bootstrap(_scenes(40, rng), "scene", seed)
        assert found is not None
        held += found.global_accuracy[0] <= 0.8 <= found.global_accuracy[1]
    assert 0.9 <= held / 300 <= 0.98


def test_intervals_hold_the_score_itself_and_more_scenes_make_them_narrower() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for number in (10, 1000):
        counts = _scenes(number, rng)
        found = bootstrap(counts, "scene")
        assert found is not None and found.units == number
        total = counts.sum(0)
        accuracy = np.trace(total) / total.sum()
        assert found.global_accuracy[0] < accuracy < found.global_accuracy[1]
        widths.append(found.global_accuracy[1] - found.global_accuracy[0])
    assert widths[1] < widths[0] / 4


def test_a_class_that_no_scene_shows_is_left_out() -> None:
    counts = np.zeros((9, 3, 3), int)
    counts[:, 0, 0] = counts[:, 1, 1] = 50
    counts[:, 0, 1] = np.arange(9)
    found = bootstrap(counts, "scene")
    assert found is not None and all(map(math.isnan, found.class_iou[2]))
    assert 0.8 < found.mean_iou[0] < found.mean_iou[1] < 1


@pytest.mark.parametrize(
    ("scenes", "side", "unit", "units"),
    [(9, 40, "scene", 9), (1, 300, "block", 16), (2, 200, "block", 18), (3, 64, None, 0)],
)
def test_blocks_stand_for_scenes_where_these_are_few(scenes: int, side: int, unit: str | None, units: int) -> None:
    rng = np.random.default_rng(0)
    evaluation = Evaluation(CLASSES, boundaries=False)
    for _ in range(scenes):
        reference = rng.integers(0, len(CLASSES), (side, side), np.uint8)
        evaluation.add(reference, np.where(rng.random((side, side)) < 0.3, 0, reference).astype(np.uint8))
    found = evaluation.scores().intervals
    assert (found.unit, found.units) == (unit, units) if found else unit is None
