from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.boundary import boundary_f1
from segapp.evaluation.report import Evaluation, print_scores

CLASSES = ClassTable.model_validate(
    {"classes": [{"id": 10, "name": "tree"}, {"id": 300, "name": "grass"}, {"id": 80, "name": "water [deep]"}]}
)


def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Two scenes of tree (index 0) and grass (1), of different size, with an ignored corner; water is in neither."""
    pairs = []
    for size, shift in ((40, 1), (60, 5)):
        reference, prediction = np.zeros((2, size, size), np.uint8)
        reference[:, size // 2 :] = 1
        prediction[:, size // 2 + shift :] = 1
        reference[:4, :4] = IGNORED_INDEX
        pairs.append((reference, prediction))
    return pairs


def evaluated(boundaries: bool = True) -> Evaluation:
    evaluation = Evaluation(CLASSES, boundaries=boundaries)
    for reference, prediction in scenes():
        evaluation.add(reference, prediction)
    return evaluation


def test_scores_carry_file_ids_and_name_absent_classes() -> None:
    scores = evaluated().scores()
    assert [(c.id, c.name) for c in scores.classes] == [(10, "tree"), (300, "grass"), (80, "water [deep]")]
    assert scores.absent == ("water [deep]",)
    assert scores.scenes == 2
    assert scores.pixels == 40 * 40 + 60 * 60 - 2 * 16
    assert scores.classes[1].accuracy == pytest.approx(1 - (40 + 5 * 60) / (40 * 20 + 60 * 30))
    assert scores.confusion[1][0] == 40 + 5 * 60


def test_boundary_f1_is_averaged_over_classes_and_then_over_scenes() -> None:
    per_scene = np.array([boundary_f1(*pair, 3) for pair in scenes()])
    scores = evaluated().scores()
    assert scores.mean_boundary_f1 == pytest.approx(per_scene[:, :2].mean(axis=1).mean())
    assert scores.classes[0].boundary_f1 == pytest.approx(per_scene[:, 0].mean())
    assert math.isnan(scores.classes[2].boundary_f1)


def test_boundaries_can_be_left_out() -> None:
    with_boundaries, without = evaluated().scores(), evaluated(boundaries=False).scores()
    assert math.isnan(without.mean_boundary_f1)
    assert without.mean_iou == with_boundaries.mean_iou


def test_scores_are_json_with_null_for_what_is_not_defined() -> None:
    text = json.dumps(evaluated().scores().as_dict(), allow_nan=False)
    read = json.loads(text)
    assert read["classes"][2]["iou"] is None
    assert read["classes"][2]["pixels"] == 0
    assert read["confusion"][1][0] == 340


def test_no_scene_at_all_gives_scores_that_say_so() -> None:
    scores = Evaluation(CLASSES).scores()
    assert scores.absent == tuple(CLASSES.names)
    assert scores.as_dict()["global_accuracy"] is None


def test_the_table_shows_each_class_and_the_absent_ones() -> None:
    output = io.StringIO()
    print_scores(evaluated().scores(), Console(file=output, width=100))
    text = output.getvalue()
    assert "water [deep]" in text.splitlines()[-1]
    for line in ("tree", "300", "global accuracy", "kappa", "boundary F1"):
        assert line in text
