"""Scores in their JSON form, from an evaluation or from `model.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segapp.classes import ClassTable

Score = float | None
"""None where the score is undefined."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ClassRow(_Row):
    """The scores of one class."""

    id: int
    name: str
    pixels: int = Field(ge=0)
    accuracy: Score
    iou: Score
    precision: Score
    f1: Score
    boundary_f1: Score


class IntervalTable(_Row):
    """See `segapp.evaluation.intervals.Intervals`."""

    unit: str
    units: int
    global_accuracy: tuple[Score, Score]
    mean_iou: tuple[Score, Score]
    class_iou: tuple[tuple[Score, Score], ...]


class ScoreTable(_Row):
    """What `segapp evaluate --json` writes; see `segapp.evaluation.report.Scores`."""

    classes: tuple[ClassRow, ...]
    absent: tuple[str, ...]
    scenes: int
    pixels: int
    global_accuracy: Score
    mean_accuracy: Score
    mean_iou: Score
    weighted_iou: Score
    kappa: Score
    mean_f1: Score
    mean_boundary_f1: Score
    confusion: tuple[tuple[int, ...], ...]
    compute_precision: str | None = None
    intervals: IntervalTable | None = None

    @model_validator(mode="after")
    def _square(self) -> ScoreTable:
        if [len(row) for row in self.confusion] != [len(self.classes)] * len(self.classes):
            raise ValueError("the confusion matrix does not fit the classes")
        return self

    @property
    def intervals_in_words(self) -> str:
        """The 95 % intervals in a sentence; "" where there are none."""
        if self.intervals is None:
            return ""
        found = (self.intervals.global_accuracy, self.intervals.mean_iou)
        accuracy, iou = ("-" if None in pair else f"{pair[0]:.3f} to {pair[1]:.3f}" for pair in found)
        units = f"{self.intervals.units} {self.intervals.unit}s"
        return f" 95 % intervals over {units}: global accuracy {accuracy}, mean IoU {iou}."

    def reason_undefined(self, row: ClassRow, score: str) -> str:
        """Why this score of a class is undefined; "" where it is defined."""
        if getattr(row, score) is not None:
            return ""
        if not row.pixels:
            return "absent from the reference"
        if score == "boundary_f1":
            return "no boundary in any scene"
        return "predicted nowhere"


def stored_scores(scores: dict[str, Any], role: str, classes: ClassTable) -> ScoreTable | None:
    """The scores of `role` in `model.json`; None where they are missing, invalid or of other classes."""
    try:
        table = ScoreTable.model_validate(scores[role])
    except (KeyError, ValidationError):
        return None
    same_classes = [(row.id, row.name) for row in table.classes] == [(c.id, c.name) for c in classes.classes]
    return table if same_classes else None
