"""What a model directory remembers of its training: the log, that of each phase, and the plan of its transfer."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from segapp.training.log_rows import LogRow, read_log

_POINTS = 2000
"""A longer curve is thinned out."""
_PHASE = re.compile(r"(\d+)-.+")


@dataclass(frozen=True)
class Curve:
    """The lines of a log. `first_step` counts earlier phases' steps."""

    phase: str
    """Empty for a training without phases."""
    first_step: int
    rows: tuple[LogRow, ...]

    def values(self, name: str) -> tuple[list[float], list[float]]:
        """Steps from the beginning of all, and the values of a column where it has any."""
        points = ((self.first_step + row.step, getattr(row, name, None)) for row in self.rows)
        known = [(step, value) for step, value in points if value is not None and not math.isnan(value)]
        known = known[:: -(-len(known) // _POINTS) or 1]
        return [step for step, _ in known], [value for _, value in known]


def training_curves(folder: Path) -> tuple[Curve, ...]:
    """The logs of a model directory: its own, or those of its phases, in order; empty where there is none."""
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
    """A band, and the base's band whose filters it took."""

    name: str
    base: str | None


class StoredClass(_Stored):
    """A class, the base classes that it continues, and its labelled training pixels."""

    id: int
    name: str
    base: tuple[str, ...]
    pixels: int


class StoredBlock(_Stored):
    """What a phase did to a block."""

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
    """What is shown of a plan (`segapp.transfer.plan.Plan`); one that another version wrote may have more or less."""

    base: str
    strategy: str
    description: str
    bands: tuple[StoredBand, ...]
    classes: tuple[StoredClass, ...]
    dropped_bands: tuple[str, ...] = ()
    dropped_classes: tuple[str, ...] = ()
    remembered: tuple[str, ...] = ()
    head: str = ""
    held_out: bool = False
    guarded: bool = True
    phases: tuple[StoredPhase, ...]


class PhaseScore(_Stored):
    """What a phase scored on validation pixels, whom it met, and whether it won."""

    phase: str
    accuracy: float | None
    mean_iou: float | None
    against: str | None
    won: bool


class Transfer(_Stored):
    """How a model was made of another."""

    plan: StoredPlan
    phases: tuple[PhaseScore, ...]
    winner: str


def stored_transfer(provenance: dict[str, Any]) -> Transfer | None:
    """The transfer that `model.json` tells of; None where there was none, or it cannot be read."""
    try:
        return Transfer.model_validate(provenance)
    except ValidationError:
        return None
