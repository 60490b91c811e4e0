"""`segapp report`: one HTML page with the scores, errors, training curves and transfer of a model."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segapp import terminal
from segapp.data.dataset import Dataset, read_dataset
from segapp.errors import InputError
from segapp.evaluation.evaluate import other_precision
from segapp.model.bundle import read_spec
from segapp.model.model_spec import ModelSpec
from segapp.reporting.comparison import Comparison
from segapp.reporting.comparison import compare as compare_scores
from segapp.reporting.history import stored_transfer, training_curves
from segapp.reporting.measure import PATCH
from segapp.reporting.page import Chart, render, write
from segapp.reporting.palette import Palette
from segapp.reporting.results import Results, compute_results
from segapp.reporting.score_table import ScoreTable, stored_scores
from segapp.reporting.sections import (
    area_section,
    calibration_section,
    comparison_section,
    findings,
    gallery_section,
    headline_scores,
    score_section,
)
from segapp.reporting.summary import model_section, provenance_section, training_charts, transfer_section
from segapp.scenes.blocks import ROLES, Role
from segapp.version import VERSION

if TYPE_CHECKING:
    from segapp.nets.precision import Precision

_TITLES = {
    "model": "Model",
    "scores": "Scores",
    "comparison": "Comparison",
    "confusion": "Confusion matrix",
    "gallery": "Patches",
    "areas": "Areas",
    "calibration": "Calibration",
    "training": "Training",
    "transfer": "Transfer",
    "provenance": "Provenance",
}


def report(
    model: str | Path,
    data: str | Path | Dataset | None = None,
    *,
    compare: str | Path | None = None,
    output: str | Path = "report.html",
    role: Role = "test",
    precision: Precision = "auto",
    quiet: bool = False,
) -> Path:
    """Write a self-contained HTML page about the model directory `model`; returns its path.

    With `data` the model is evaluated on the scenes with `role`, with the same scores as `evaluate`. Without it the
    page shows the scores in the model directory, and no network is loaded. `compare` is another model directory, for
    example the base of a transfer: it is evaluated on the same scenes, its bands and classes matched by name.
    `precision` is what both compute in, as in `evaluate`. An existing `output` is replaced
    only by a complete one.

    Raises InputError before any work when a file cannot be read, or when model and data do not match.
    """
    file = _checked_output(Path(output))
    folder, spec = Path(model), read_spec(Path(model))
    other = None if compare is None else (Path(compare), read_spec(Path(compare)))
    dataset = data if isinstance(data, Dataset) or data is None else read_dataset(Path(data))
    palette = Palette.of(spec.classes)
    results: Results | None = None
    if dataset is not None:
        console = terminal.console(stderr=True, quiet=quiet)
        results = compute_results((folder, spec), dataset, role, palette, other, precision, console)
        scores: ScoreTable | None = ScoreTable.model_validate(results.measured.scores.as_dict())
    else:
        role = role if role in spec.scores else next((r for r in ROLES if r in spec.scores), role)
        scores = stored_scores(spec.scores, role, spec.classes)
    comparison = _comparison(scores, spec, role, other[1], results) if other and scores else None

    page: dict[str, Any] = {**model_section(spec, folder, palette), **provenance_section(spec.provenance)}
    page |= dict.fromkeys(("scores", "comparison", "calibration", "transfer"))
    page |= {"gallery": [], "areas": [], "headline": [], "findings": []}
    page |= _notes(spec, dataset, role, scores, other)
    if results and (note := other_precision(spec, role, results.measured.scores)):
        page["scored"] += f" {note[0].upper()}{note[1:]}."
    if not results and other and scores and (before := stored_scores(other[1].scores, role, other[1].classes)):
        formats = before.compute_precision, scores.compute_precision
        if None not in formats and formats[0] != formats[1]:
            page["compared"] += f" Before was computed in {formats[0]}, after in {formats[1]}."
    charts: dict[str, Chart] = training_charts(training_curves(folder))

    def add(section: dict[str, Any], section_charts: dict[str, Chart]) -> None:
        page.update(section)
        charts.update(section_charts)

    if transfer := stored_transfer(spec.provenance):
        add(*transfer_section(transfer))
    if scores:
        reliability = results.measured.reliability if results else None
        page["scores"] = scores
        page["headline"] = headline_scores(scores, reliability, comparison)
        page["findings"] = findings(scores, reliability, comparison)
        add(*score_section(scores, palette))
        add(*area_section(scores, results.measured.hectares if results else None, palette))
    if comparison:
        add(*comparison_section(comparison, palette))
    if results and scores:
        page |= gallery_section(results.gallery, len(spec.classes), PATCH)
        add(*calibration_section(results.measured.reliability, scores))
    page |= {"version": VERSION, "date": datetime.datetime.now().astimezone().date().isoformat()}
    absent = {"scores": not scores, "confusion": not scores} | {
        key: not page[key] for key in ("comparison", "gallery", "areas", "calibration")
    }
    page["sections"] = [(key, title) for key, title in _TITLES.items() if not absent.get(key)]
    write(render(page, charts, scores.model_dump(mode="json") if scores else None), file)
    return file


def _checked_output(output: Path) -> Path:
    """`output`; raises InputError if no page can be written there."""
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
    scores: ScoreTable, spec: ModelSpec, role: Role, other: ModelSpec, results: Results | None
) -> Comparison | None:
    """Compare the measured scores of both models, or the stored ones; None without scores of the other model."""
    if results and results.before:
        before: ScoreTable | None = ScoreTable.model_validate(results.before.scores.as_dict())
    else:
        before = stored_scores(other.scores, role, other.classes)
    return compare_scores(scores, before, other, spec.classes) if before else None


def _notes(
    spec: ModelSpec,
    dataset: Dataset | None,
    role: Role,
    scores: ScoreTable | None,
    other: tuple[Path, ModelSpec] | None,
) -> dict[str, str]:
    """The origin of the scores, and the reason for each part that may be missing."""
    scored = "No scores: model.json has none of these classes."
    scenes = f"{scores.scenes} scene{'s' * (scores.scenes != 1)}, {scores.pixels:,} pixels" if scores else ""
    computed = f", computed in {scores.compute_precision}" if scores and scores.compute_precision else ""
    if dataset is not None:
        scored = f"Scored on {scenes} of {dataset.name} with the role {role}{computed}."
    elif scores:
        scored = f"Scored on {scenes} with the role {role}{computed}, after training; "
        scored += "the scores are those of model.json."
    scored += scores.intervals_in_words if scores else ""
    compared = no_comparison = ""
    if other:
        compared = f"Before: {other[1].name} ({other[0]}). After: {spec.name}." + (
            " Both were scored on the same scenes."
            if dataset is not None
            else " The scores are those of each model.json; they are compared only for equal reference pixels."
        )
        no_comparison = (
            f"{other[1].name} and {spec.name} cannot be compared: scores of both are needed. Give --data to measure "
            "them."
        )
    return {
        "scored": scored,
        "no_scores": "There are no scores in model.json. Give --data to measure them.",
        "no_gallery": "Patches, areas in hectares and calibration need the scenes: give --data.",
        "compared": compared,
        "no_comparison": no_comparison,
        "no_transfer": "The plan in model.json cannot be read by this version."
        if "plan" in spec.provenance
        else "This model was not made by transfer: model.json has no plan.",
    }
