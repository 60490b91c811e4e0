"""The training history in a model directory: the log, the log of each phase, and the plan of the transfer."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from segapp.training.log_rows import LogRow, read_log

_MOST_POINTS = 2000
_PHASE = re.compile(r"(\d+)-.+")


@dataclass(frozen=True)
class Curve:
    """The rows of a log. `first_step` is the number of steps of the earlier phases."""

    phase: str
    """Empty for training without phases."""
    first_step: int
    rows: tuple[LogRow, ...]

    def values(self, name: str) -> tuple[list[float], list[float]]:
        """The steps, counted over all phases, and the values of a column; at most `_MOST_POINTS` points."""
        points = ((self.first_step + row.step, getattr(row, name, None)) for row in self.rows)
        known = [(step, value) for step, value in points if value is not None and not math.isnan(value)]
        known = known[:: -(-len(known) // _MOST_POINTS) or 1]
        return [step for step, _ in known], [value for _, value in known]


def training_curves(folder: Path) -> tuple[Curve, ...]:
    """The curves of a model directory, one for training without phases, else one per phase; empty without a log."""
    phases = sorted(
        (int(match[1]), path) for path in folder.iterdir() if path.is_dir() and (match := _PHASE.fullmatch(path.name))
    )
    curves: list[Curve] = []
    for name, place in [("", folder), *((path.name, path) for _, path in phases)]:
        rows: list[LogRow] = []
        with suppress(OSError):
            rows = read_log(place)
        if rows:
            before = curves[-1] if curves else None
            first = before.first_step + before.rows[-1].step if before else 0
            curves.append(Curve(name, first, tuple(rows)))
    return tuple(curves)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StoredBand(_Stored):
    """A band, and the base's band whose filters it uses."""

    name: str
    base: str | None


class StoredClass(_Stored):
    """A class, the base classes that it is matched with, and its labelled training pixels."""

    id: int
    name: str
    base: tuple[str, ...]
    pixels: int


class StoredBlock(_Stored):
    """The layer setting of a block in a phase."""

    block: str
    setting: str
    parameters: int


class StoredPhase(_Stored):
    """A phase of the plan."""

    name: str
    steps: int
    rate: float
    blocks: tuple[StoredBlock, ...]


class StoredPlan(_Stored):
    """The reported part of a `segapp.transfer.plan.Plan`; a plan of another version may have more or fewer keys."""

    base: str
    strategy: str
    description: str
    bands: tuple[StoredBand, ...]
    classes: tuple[StoredClass, ...]
    dropped_bands: tuple[str, ...] = ()
    dropped_classes: tuple[str, ...] = ()
    distilled: tuple[str, ...] = ()
    head: str = ""
    folds: int = 0
    context: int = 0
    guarded: bool = True
    phases: tuple[StoredPhase, ...]


class PhaseScore(_Stored):
    """The validation scores of a phase, the candidate `against` which it was compared, and whether it was better."""

    phase: str
    accuracy: float | None
    mean_iou: float | None
    against: str | None
    won: bool


class Transfer(_Stored):
    """The plan of a transfer, the scores of its phases, and the phase that was written."""

    plan: StoredPlan
    phases: tuple[PhaseScore, ...]
    winner: str


def stored_transfer(provenance: dict[str, Any]) -> Transfer | None:
    """The transfer in the provenance of `model.json`; None where there was none or it is invalid."""
    try:
        return Transfer.model_validate(provenance)
    except ValidationError:
        return None
