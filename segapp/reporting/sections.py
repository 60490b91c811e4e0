"""The sections of a report about scores: numbers and sentences for the template, and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segapp.reporting import score_charts
from segapp.reporting.calibration import BINS, Reliability
from segapp.reporting.comparison import OVERALL, Comparison
from segapp.reporting.gallery import GalleryPatch
from segapp.reporting.page import MOST_NAMES, Chart, Section, format_score, join_names
from segapp.reporting.palette import Palette
from segapp.reporting.pictures import confidence_scale
from segapp.reporting.score_table import ScoreTable

CALIBRATION_ERROR = "Calibration error"
_HEADLINE = ("global_accuracy", "mean_iou", "mean_f1", "kappa")
_MOST_CONFUSIONS = 3
_CALIBRATED = 0.01


def score_section(scores: ScoreTable, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """The score table, the confusion matrix, and notes about undefined scores."""
    notes = [f"- in the table: {reason}." for reason in _undefined(scores)]
    if scores.absent:
        notes.append(f"Absent from the reference and left out of the means: {join_names(scores.absent)}.")
    bars = ", ".join(f"{row.name} {format_score(row.iou)}" for row in scores.classes[:MOST_NAMES])
    large = len(scores.classes) > score_charts.MOST_CELLS_WITH_TEXT
    charts = {
        "iou": Chart(
            score_charts.class_bars(scores, palette),
            f"Bar chart of the IoU of each class: {bars}; all numbers are in the table beside it.",
            "IoU by class.",
        ),
        "confusion": Chart(
            score_charts.confusion(scores),
            "Confusion matrix, rows by reference, columns by prediction; all counts are in the table below.",
            "Per cent of the reference pixels of each class; point at a cell for the counts."
            + (" Columns are in the order of the rows." if large else ""),
        ),
    }
    section = {"overall": [(key, OVERALL[key]) for key in ("global_accuracy", "weighted_iou", "kappa")]}
    return {**section, "notes": notes, "confusions": _largest_confusions(scores)}, charts


def findings(scores: ScoreTable, reliability: Reliability | None, comparison: Comparison | None) -> list[str]:
    """The main results as a few sentences."""
    sentences = []
    if scores.global_accuracy is not None:
        sentences.append(f"{100 * scores.global_accuracy:.1f} % of {scores.pixels:,} labelled pixels are correct.")
    known = sorted((row.iou, row.name) for row in scores.classes if row.iou is not None)
    if len(known) > 1:
        (low, worst), (high, best) = known[0], known[-1]
        sentences.append(f"Best class: {best} (IoU {high:.3f}); worst class: {worst} (IoU {low:.3f}).")
    if comparison and comparison.comparable:
        gains = [pair.gain for pair in comparison.classes if pair.gain is not None]
        up, down = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        common = f"{len(gains)} common class{'es' * (len(gains) != 1)}"
        changes = f"of {common} {up} improved and {down} got worse" if up or down else "no class changed"
        overall = next(pair for pair in comparison.overall if pair.label == OVERALL["mean_iou"])
        if overall.gain is not None:
            sentences.append(
                f"Compared with {comparison.name}, mean IoU changed from {overall.before:.3f} to {overall.after:.3f} "
                f"({overall.gain:+.3f}); {changes}."
            )
        elif gains:
            sentences.append(f"Compared with {comparison.name}, {changes}.")
    if reliability and scores.global_accuracy is not None:
        sentences.append(_confidence_sentence(reliability, scores.global_accuracy))
    return sentences


def headline_scores(
    scores: ScoreTable, reliability: Reliability | None, comparison: Comparison | None
) -> list[Section]:
    """The overall scores at the top of the page."""
    pairs = {pair.label: pair for pair in comparison.overall} if comparison else {}
    values = {OVERALL[key]: getattr(scores, key) for key in _HEADLINE}
    if reliability:
        values[CALIBRATION_ERROR] = reliability.error
    headline = []
    for label, value in values.items():
        pair = pairs.get(label)
        before, gain = (pair.before, pair.gain) if pair else (None, None)
        headline.append({"label": label, "after": value, "before": before, "gain": gain})
    return headline


def comparison_section(comparison: Comparison, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """The scores of another model and of the reported one, class by class."""
    notes = [f"{pair.label}: {pair.reason}." for pair in comparison.classes if pair.reason]
    notes += [f"All classes: {pair.reason}, so it has no overall scores." for pair in comparison.overall if pair.reason]
    if comparison.removed:
        notes.append(f"Classes of {comparison.name} only: {join_names(comparison.removed)}.")
    scores = ", ".join(
        f"{pair.label} {format_score(pair.before)} to {format_score(pair.after)}"
        for pair in comparison.classes[:MOST_NAMES]
    )
    chart = Chart(
        score_charts.gains(comparison, palette),
        f"The IoU of each class before and after: {scores}; all numbers are in the table below.",
        f"Rings: {comparison.name}; discs: this model. Classes are matched by name.",
    )
    return {"comparison": comparison, "comparison_notes": list(dict.fromkeys(notes))}, {"gains": chart}


def gallery_section(gallery: Mapping[str, Sequence[GalleryPatch]], classes: int, side: int) -> Section:
    """The patches, and the explanation of their pictures."""
    return {
        "gallery": list(gallery.items()),
        "gallery_lead": f"Patches of at most {side} x {side} pixels, ranked by accuracy. Each band is stretched from "
        "its 2nd to its 98th percentile. Hatched pixels have no data, no label, or a class that this model does not "
        "have.",
        "least_confidence": f"{1 / classes:.2g}",
        "confidence_scale": confidence_scale(),
    }


def area_section(scores: ScoreTable, hectares: np.ndarray | None, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """The area of each class over the scored pixels, by reference and by prediction; `hectares` is (2, K) or None."""
    counts = np.array(scores.confusion, np.int64)
    values = np.array([counts.sum(axis=1), counts.sum(axis=0)]) if hectares is None else hectares
    unit, digits = ("pixels", 0) if hectares is None else ("hectares", 2)
    rows = [
        {
            "name": row.name,
            "reference": reference,
            "predicted": predicted,
            "formatted": (f"{reference:,.{digits}f}", f"{predicted:,.{digits}f}"),
            "difference": 100 * (predicted - reference) / reference if reference else None,
        }
        for row, reference, predicted in zip(scores.classes, *values.tolist(), strict=True)
    ]
    lead = f"In {unit}, over the {scores.pixels:,} pixels with a label and a prediction."
    if hectares is None:
        lead += " Areas in hectares need scenes with a coordinate reference system."
    chart = Chart(
        score_charts.areas([row.name for row in scores.classes], values, unit, palette),
        f"Bar chart of the area of each class in {unit}, by reference and by prediction; all numbers are in the table.",
        "Full bars: reference; pale bars: prediction.",
    )
    return {"areas": rows, "areas_lead": lead}, {"areas": chart}


def calibration_section(reliability: Reliability, scores: ScoreTable) -> tuple[Section, dict[str, Chart]]:
    """The reliability curve and the expected calibration error."""
    bins = [
        {
            "range": f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}",
            "pixels": int(reliability.pixels[i]),
            "confidence": float(reliability.confidence[i]),
            "accuracy": float(reliability.accuracy[i]),
        }
        for i in range(BINS)
        if reliability.pixels[i]
    ]
    accuracy = scores.global_accuracy
    chart = Chart(
        score_charts.reliability(reliability),
        "Reliability curve: accuracy over confidence; expected calibration error "
        f"{reliability.error:.3f}. All numbers are in the table beside it.",
        "Accuracy over confidence; below it the share of pixels with that confidence.",
    )
    section = {
        "calibration": {
            "error": _none_if_nan(reliability.error),
            "mean_confidence": _none_if_nan(reliability.mean_confidence),
        },
        "calibration_lead": "" if accuracy is None else _confidence_sentence(reliability, accuracy),
        "bins": bins,
    }
    return section, {"reliability": chart}


def _undefined(scores: ScoreTable) -> list[str]:
    """The reasons of undefined scores, except those of absent classes."""
    reasons = []
    for key, label in (("precision", "precision"), ("boundary_f1", "boundary F1")):
        for reason in ("predicted nowhere", "no boundary in any scene"):
            names = [row.name for row in scores.classes if scores.reason_undefined(row, key) == reason]
            if names:
                reasons.append(f"{label} of {join_names(names)}, {reason}")
    return reasons


def _largest_confusions(scores: ScoreTable) -> list[tuple[str, str, str, str]]:
    """Share, count, reference and prediction of the confusions with the most pixels."""
    names = [row.name for row in scores.classes]
    cells = [
        (count, 100 * count / scores.classes[r].pixels, r, p)
        for r, row in enumerate(scores.confusion)
        for p, count in enumerate(row)
        if r != p and count
    ]
    cells.sort(reverse=True)
    return [(f"{share:.0f} %", f"{count:,}", names[r], names[p]) for count, share, r, p in cells[:_MOST_CONFUSIONS]]


def _confidence_sentence(reliability: Reliability, accuracy: float) -> str:
    difference = reliability.mean_confidence - accuracy
    points = f"{100 * abs(difference):.1f} percentage points"
    if abs(difference) < _CALIBRATED:
        return f"The mean confidence differs by only {points} from the accuracy."
    return f"The mean confidence is {points} {'higher' if difference > 0 else 'lower'} than the accuracy."


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
