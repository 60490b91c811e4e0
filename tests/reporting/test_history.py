"""What a model directory remembers: logs by phase, the plan, and the scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from segapp.classes import ClassTable
from segapp.evaluation.report import Evaluation
from segapp.model.bundle import read_spec
from segapp.reporting.history import Transfer, stored_transfer, training_curves
from segapp.reporting.score_table import ScoreTable, stored_scores
from segapp.training.log_rows import LOG_FILE, read_log
from tests.reporting.conftest import LOG, plan_of, write_logs


def test_phases_follow_one_another_and_a_cut_off_line_is_left_out(tmp_path: Path) -> None:
    write_logs(tmp_path)
    curves = training_curves(tmp_path)
    assert [curve.phase for curve in curves] == ["1-decoder", "2-all"]
    assert curves[1].values("loss") == ([60, 80], [1.5, 1.25])
    assert curves[1].values("val_accuracy") == ([80], [0.5])
    assert curves[0].values("nosuch") == ([], [])


def test_the_tenth_phase_comes_after_the_ninth_and_other_folders_are_none(tmp_path: Path) -> None:
    for name in ("10-last", "9-before", "events", "old-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOG_FILE).write_text(f"{LOG}\n20,1,0.1,1,1,1,,,\n")
    assert [curve.phase for curve in training_curves(tmp_path)] == ["9-before", "10-last"]


def test_a_trainings_log_is_read_as_the_training_reads_it(trained: Path) -> None:
    (curve,) = training_curves(trained)
    rows = read_log(trained)
    assert curve.values("accuracy") == ([row.step for row in rows], [row.accuracy for row in rows])
    validated = [row for row in rows if row.val_mean_iou is not None]
    assert validated and curve.values("val_mean_iou")[1] == [row.val_mean_iou for row in validated]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage", b"step,loss\nnan,1\n", b"a,b\n1,2\n", b"step\nx\n"])
def test_a_log_that_is_none_gives_no_curve(content: bytes, tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(content)
    assert training_curves(tmp_path) == ()


def test_a_long_log_is_thinned_out(tmp_path: Path) -> None:
    lines = "\n".join(f"{20 * i},1,0.1,{i},0.5,1,,," for i in range(1, 30_001))
    (tmp_path / LOG_FILE).write_text(f"{LOG}\n{lines}\n")
    steps, values = training_curves(tmp_path)[0].values("loss")
    assert len(steps) == len(values) <= 2000
    assert np.array_equal(np.array(steps) / 20, values)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.is_required() for name, field in model.model_fields.items()}


def test_the_plan_that_finetune_writes_has_all_that_is_shown() -> None:
    from segapp.reporting import history
    from segapp.transfer import plan

    for written, shown in (
        (plan.Plan, history.StoredPlan),
        (plan.BandPlan, history.StoredBand),
        (plan.ClassPlan, history.StoredClass),
        (plan.BlockPlan, history.StoredBlock),
        (plan.PhasePlan, history.StoredPhase),
    ):
        assert set(_fields(shown)) <= set(_fields(written))


def test_a_plan_with_more_or_less_than_today_is_read() -> None:
    provenance = plan_of([(1, "water")])
    provenance["plan"]["of_tomorrow"] = {"x": 1}
    del provenance["plan"]["distilled"]
    transfer = stored_transfer(provenance)
    assert isinstance(transfer, Transfer) and transfer.plan.distilled == ()


@pytest.mark.parametrize("key", ["plan", "phases", "winner"])
def test_without_a_whole_plan_there_is_none(key: str) -> None:
    provenance = plan_of([(1, "water")])
    assert stored_transfer({name: value for name, value in provenance.items() if name != key}) is None
    assert stored_transfer({**provenance, key: 7}) is None


def test_scores_of_model_json_come_back_as_they_were_measured(trained: Path) -> None:
    spec = read_spec(trained)
    table = stored_scores(spec.scores, "test", spec.classes)
    assert table is not None and table.model_dump(mode="json") == spec.scores["test"]


def test_a_score_table_holds_exactly_what_evaluate_writes() -> None:
    """With a class that is absent, and one that is found nowhere."""
    classes = ClassTable.model_validate({"classes": [{"id": i, "name": str(i)} for i in (4, 5, 6)]})
    evaluation = Evaluation(classes)
    reference = np.zeros((30, 30), np.uint8)
    reference[:, 20:] = 1
    evaluation.add(reference, np.zeros((30, 30), np.uint8))
    written = evaluation.scores().as_dict()
    table = ScoreTable.model_validate(written)
    assert table.model_dump(mode="json") == json.loads(json.dumps(written))
    first, second, third = table.classes
    assert table.reason_undefined(first, "iou") == ""
    assert table.reason_undefined(second, "precision") == "predicted nowhere"
    assert table.reason_undefined(third, "f1") == "absent from the reference"


@pytest.mark.parametrize(
    "damage",
    [
        {"confusion": [[1]]},
        {"pixels": "many"},
        {"global_accuracy": math.inf},
        {"classes": []},
        {"mean_iou": {"x": 1}},
    ],
)
def test_damaged_scores_are_none(damage: dict[str, Any], trained: Path) -> None:
    spec = read_spec(trained)
    assert stored_scores({"test": {**spec.scores["test"], **damage}}, "test", spec.classes) is None
    assert stored_scores({}, "test", spec.classes) is None


def test_scores_of_other_classes_are_none(trained: Path) -> None:
    spec = read_spec(trained)
    renamed = [c.model_copy(update={"name": f"old {c.name}"}) for c in spec.classes.classes]
    other = ClassTable(classes=tuple(renamed), ignore=spec.classes.ignore, nodata=spec.classes.nodata)
    assert stored_scores(spec.scores, "test", other) is None
