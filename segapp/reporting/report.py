"""`segapp report`: one HTML page of what a model is, how good it is, where it is wrong, what transfer changed."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import segapp
from segapp import terminal
from segapp.data.dataset import Dataset, read_dataset
from segapp.errors import InputError
from segapp.model.bundle import read_spec
from segapp.model.model_spec import ModelSpec
from segapp.reporting.about import model_section, provenance_section, training_charts, transfer_section
from segapp.reporting.comparison import Comparison
from segapp.reporting.comparison import compare as compare_scores
from segapp.reporting.history import stored_transfer, training_curves
from segapp.reporting.measure import PATCH
from segapp.reporting.page import Chart, render, write
from segapp.reporting.palette import Palette
from segapp.reporting.scoretable import ScoreTable, stored_scores
from segapp.reporting.sections import (
    area_section,
    calibration_section,
    comparison_section,
    gallery_section,
    score_section,
    tiles,
    told,
)
from segapp.reporting.study import Study, study
from segapp.scenes.blocks import ROLES, Role

DEFAULT_OUTPUT = Path("report.html")
_TITLES = {
    "model": "The model",
    "scores": "Scores",
    "comparison": "Before and now",
    "confusion": "Confusion",
    "gallery": "Patches",
    "areas": "Areas",
    "calibration": "Calibration",
    "training": "Training",
    "transfer": "Transfer",
    "provenance": "How it was made",
}


def report(
    model: str | Path,
    data: str | Path | Dataset | None = None,
    *,
    compare: str | Path | None = None,
    output: str | Path | None = None,
    role: Role = "test",
    quiet: bool = False,
) -> Path:
    """Write one HTML page, complete in itself, about the model directory `model`; returns where it lies.

    With `data` the model is scored on its scenes with `role`, and every number is that of `evaluate`; without, the
    page tells what the model directory knows, and no network is loaded. `compare` is another model directory, as the
    base of a transfer: it is scored on the same scenes, its bands and classes matched by name. `output` is
    "report.html" unless given; an older report is replaced when the new one is whole.

    Raises InputError when a file cannot be read, or model and data do not fit, before any work is done.
    """
    file = _target(Path(output) if output is not None else DEFAULT_OUTPUT)
    folder, spec = Path(model), read_spec(Path(model))
    other = None if compare is None else (Path(compare), read_spec(Path(compare)))
    dataset = data if isinstance(data, Dataset) or data is None else read_dataset(Path(data))
    palette = Palette.of(spec.classes)
    found: Study | None = None
    if dataset is not None:
        console = terminal.console(stderr=True, quiet=quiet)
        found = study((folder, spec), dataset, role, palette, other, console)
        scores: ScoreTable | None = ScoreTable.model_validate(found.measured.scores.as_dict())
    else:
        role = role if role in spec.scores else next((r for r in ROLES if r in spec.scores), role)
        scores = stored_scores(spec.scores, role, spec.classes)
    comparison = _comparison(scores, spec, role, other[1], found) if other and scores else None

    page: dict[str, Any] = {**model_section(spec, folder, palette), **provenance_section(spec.provenance)}
    charts: dict[str, Chart] = {}

    def add(part: tuple[dict[str, Any], dict[str, Chart]]) -> None:
        page.update(part[0])
        charts.update(part[1])

    page |= dict.fromkeys(("scores", "comparison", "calibration", "transfer"))
    page |= {"gallery": [], "areas": [], "tiles": [], "told": []}
    page |= _lines(spec, dataset, role, scores, other)
    charts |= training_charts(training_curves(folder))
    transfer = stored_transfer(spec.provenance)
    if transfer:
        add(transfer_section(transfer))
    reliability = found.measured.reliability if found else None
    if scores:
        page |= {"scores": scores, "tiles": tiles(scores, reliability, comparison)}
        page["told"] = told(scores, reliability, comparison)
        add(score_section(scores, palette))
        add(area_section(scores, found.measured.hectares if found else None, palette))
    if comparison:
        add(comparison_section(comparison, palette))
    if found and scores:
        page |= gallery_section(found.gallery, len(spec.classes), PATCH)
        add(calibration_section(found.measured.reliability, scores))
    page |= {"version": segapp.__version__, "date": datetime.datetime.now().astimezone().date().isoformat()}
    absent = {"scores": not scores, "confusion": not scores} | {
        key: not page[key] for key in ("comparison", "gallery", "areas", "calibration")
    }
    page["sections"] = [(key, title) for key, title in _TITLES.items() if not absent.get(key)]
    write(render(page, charts, scores.model_dump(mode="json") if scores else None), file)
    return file


def _target(output: Path) -> Path:
    """Raise InputError, before any work is done, where no page can be written to `output`."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{output}: a report is a web page; give an --output that ends in .html")
    if output.is_dir():
        raise InputError(f"{output}: is a folder; give the name of a file in it")
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{output}: its folder does not exist; make it first")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{output}: cannot be written to {parent}; give an --output in a folder you may write to")
    return output


def _comparison(
    scores: ScoreTable, spec: ModelSpec, role: Role, other: ModelSpec, found: Study | None
) -> Comparison | None:
    """The other model beside this one: both measured, or both as their directories tell."""
    if found and found.before:
        before: ScoreTable | None = ScoreTable.model_validate(found.before.scores.as_dict())
    else:
        before = stored_scores(other.scores, role, other.classes)
    return compare_scores(scores, before, other, spec.classes) if before else None


def _lines(
    spec: ModelSpec,
    dataset: Dataset | None,
    role: Role,
    scores: ScoreTable | None,
    other: tuple[Path, ModelSpec] | None,
) -> dict[str, str]:
    """What the scores were measured on, and for each part that may be left out, why."""
    scored = "No scores: model.json holds none of its own classes."
    scenes = f"{scores.scenes} scene{'s' * (scores.scenes != 1)}, {scores.pixels:,} pixels" if scores else ""
    if dataset is not None:
        scored = f"Scored on {scenes} of {dataset.name} with the role {role}."
    elif scores:
        scored = f"Scored on {scenes} with the role {role}, when it was made: the numbers are those of model.json."
    compared, its = "", other[1].name if other else ""
    if other:
        compared = f"Before is {its} ({other[0]}), now is {spec.name}."
        compared += " Both were scored on the same scenes." if dataset is not None else (
            " The numbers are those that each was delivered with; where the reference pixels differ, they are not "
            "compared."
        )  # fmt: skip
    planned = "plan" in spec.provenance
    return {
        "scored": scored,
        "no_scores": "There are no scores: model.json holds none. Give --data to measure them.",
        "no_gallery": "Without --data there are no patches, no areas in hectares and no calibration: they take a look "
        "at the scenes.",
        "compared": compared,
        "no_comparison": f"{its} cannot be set beside {spec.name}: scores of both are needed. Give --data to measure "
        "them."
        if other
        else "",
        "no_transfer": "The plan in model.json cannot be read by this version."
        if planned
        else "This model was not made by transfer: model.json holds no plan.",
    }
