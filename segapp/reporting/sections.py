"""What a report says of scores: numbers as they are, sentences in words, and the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segapp.reporting import figures
from segapp.reporting.calibration import BINS, Reliability
from segapp.reporting.comparison import OVERALL, Comparison
from segapp.reporting.gallery import Shown
from segapp.reporting.page import MOST_NAMES, Chart, Section, listed, shown
from segapp.reporting.palette import Palette
from segapp.reporting.pictures import confidence_scale
from segapp.reporting.scoretable import ScoreTable

_TILES = ("global_accuracy", "mean_iou", "mean_f1", "kappa")
_MISTAKES = 3
_CALIBRATED = 0.01


def score_section(scores: ScoreTable, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """The score table, the confusion matrix, and what they say in words."""
    notes = [f"- in the table: {reason}." for reason in _reasons(scores)]
    if scores.absent:
        notes.append(f"Absent from the reference and left out of the means: {listed(scores.absent)}.")
    bars = ", ".join(f"{row.name} {shown(row.iou)}" for row in scores.classes[:MOST_NAMES])
    charts = {
        "iou": Chart(
            figures.class_bars(scores, palette),
            f"Bar chart of the IoU of each class: {bars}; the table beside it holds all numbers.",
            "IoU by class.",
        ),
        "confusion": Chart(
            figures.confusion(scores),
            "Confusion matrix, rows by reference, columns by prediction; the table below it holds the counts.",
            "Per cent of each class's reference pixels; the counts show under the pointer."
            + (" Columns come in the order of the rows." if len(scores.classes) > figures.CELLS_WITH_TEXT else ""),
        ),
    }
    section = {"overall": [(key, OVERALL[key]) for key in ("global_accuracy", "weighted_iou", "kappa")]}
    return {**section, "notes": notes, "mistakes": _mistakes(scores)}, charts


def told(scores: ScoreTable, reliability: Reliability | None, comparison: Comparison | None) -> list[str]:
    """The report in a few sentences."""
    sentences = []
    if scores.global_accuracy is not None:
        sentences.append(f"{100 * scores.global_accuracy:.1f} % of {scores.pixels:,} labelled pixels get their class.")
    known = sorted((row.iou, row.name) for row in scores.classes if row.iou is not None)
    if len(known) > 1:
        (low, worst), (high, best) = known[0], known[-1]
        sentences.append(f"Found best: {best} (IoU {high:.3f}); found least: {worst} (IoU {low:.3f}).")
    if comparison and comparison.comparable:
        gains = [pair.gain for pair in comparison.classes if pair.gain is not None]
        up, down = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        common = f"{len(gains)} common class{'es' * (len(gains) != 1)}"
        moved = f"{up} of {common} gained, {down} lost" if up or down else "no class changed"
        change = next(pair for pair in comparison.overall if pair.label == OVERALL["mean_iou"])
        if change.gain is not None:
            sentences.append(
                f"Against {comparison.name}, mean IoU went from {change.before:.3f} to {change.after:.3f} "
                f"({change.gain:+.3f}); {moved}."
            )
        elif gains:
            sentences.append(f"Against {comparison.name}, {moved}.")
    if reliability and scores.global_accuracy is not None:
        sentences.append(f"Its confidence is {_off(reliability.mean_confidence - scores.global_accuracy)}.")
    return sentences


def tiles(scores: ScoreTable, reliability: Reliability | None, comparison: Comparison | None) -> list[Section]:
    """The overall scores that stand large on top."""
    pairs = {pair.label: pair for pair in comparison.overall} if comparison else {}
    found = []
    for label, value in [
        *((OVERALL[key], getattr(scores, key)) for key in _TILES),
        *([(CALIBRATION_ERROR, reliability.error)] if reliability else []),
    ]:
        pair = pairs.get(label)
        before, gain = (pair.before, pair.gain) if pair else (None, None)
        found.append({"label": label, "after": value, "before": before, "gain": gain})
    return found


CALIBRATION_ERROR = "Calibration error"


def comparison_section(comparison: Comparison, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """Another model and this one, class by class."""
    notes = list(dict.fromkeys(f"{pair.label}: {pair.why}." for pair in comparison.classes if pair.why))
    notes += list(
        dict.fromkeys(
            f"All classes: {pair.why}, so it has no overall scores here." for pair in comparison.overall if pair.why
        )
    )
    if comparison.lost:
        notes.append(f"Classes that only {comparison.name} has: {listed(comparison.lost)}.")
    told = [f"{pair.label} {shown(pair.before)} to {shown(pair.after)}" for pair in comparison.classes[:MOST_NAMES]]
    chart = Chart(
        figures.gains(comparison, palette),
        f"The IoU of each class before and now: {', '.join(told)}; the table below holds all numbers.",
        "A ring is the model before, a disc this one; classes are matched by name.",
    )
    return {"comparison": comparison, "comparison_notes": notes}, {"gains": chart}


def gallery_section(gallery: Mapping[str, Sequence[Shown]], classes: int, side: int) -> Section:
    """The patches, and how their pictures are to be read."""
    return {
        "gallery": list(gallery.items()),
        "gallery_lead": f"Patches of at most {side} x {side} pixels, ranked by the share of labelled pixels that get "
        "their class. Images are stretched from the 2nd to the 98th percentile of each band; what shows the "
        "hatched ground has no data, no label, or a class that this model does not have.",
        "least_confidence": f"{1 / classes:.2g}",
        "ramp": confidence_scale(),
    }


def area_section(scores: ScoreTable, hectares: np.ndarray | None, palette: Palette) -> tuple[Section, dict[str, Chart]]:
    """Class areas over the scored pixels, by reference and by prediction."""
    counts = np.array(scores.confusion, np.int64)
    values = np.array([counts.sum(axis=1), counts.sum(axis=0)]) if hectares is None else hectares
    unit = "pixels" if hectares is None else "hectares"
    places = 0 if hectares is None else 2
    rows = [
        {
            "name": row.name,
            "reference": reference,
            "predicted": predicted,
            "shown": (f"{reference:,.{places}f}", f"{predicted:,.{places}f}"),
            "difference": 100 * (predicted - reference) / reference if reference else None,
        }
        for row, reference, predicted in zip(scores.classes, *values.tolist(), strict=True)
    ]
    lead = f"In {unit}, over the {scores.pixels:,} pixels that have a label and a prediction."
    if hectares is None:
        lead += " Not in hectares: that takes scenes with a coordinate reference system."
    chart = Chart(
        figures.areas([row.name for row in scores.classes], values, unit, palette),
        f"Bar chart of the area of each class in {unit}, by reference and by prediction; the table holds all numbers.",
        "The upper, full bar is the reference, the lower, pale one the prediction.",
    )
    return {"areas": rows, "areas_lead": lead}, {"areas": chart}


def calibration_section(reliability: Reliability, scores: ScoreTable) -> tuple[Section, dict[str, Chart]]:
    """The reliability curve."""
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
    lead = ""
    if scores.global_accuracy is not None:
        off = _off(reliability.mean_confidence - scores.global_accuracy)
        lead = f"Over all pixels, the model's confidence is {off}."
    chart = Chart(
        figures.reliability(reliability),
        f"Reliability curve: the share of right pixels over their confidence; expected calibration error "
        f"{reliability.error:.3f}. The table beside it holds all numbers.",
        "Share of right pixels over confidence, and below it how many pixels have that confidence.",
    )
    error = {"error": _none(reliability.error), "mean_confidence": _none(reliability.mean_confidence)}
    return {"calibration": error, "calibration_lead": lead, "bins": bins}, {"reliability": chart}


def _reasons(scores: ScoreTable) -> list[str]:
    """Why which scores of which classes are not defined; classes that are absent are told apart."""
    reasons = []
    for key, label in (("precision", "precision"), ("boundary_f1", "boundary F1")):
        for why in ("predicted nowhere", "no boundary in any scene"):
            names = [row.name for row in scores.classes if scores.why_none(row, key) == why]
            if names:
                reasons.append(f"{label} of {listed(names)}, {why}")
    return reasons


def _mistakes(scores: ScoreTable) -> list[tuple[str, str, str, str]]:
    """Share, count, reference and prediction of the confusions that most pixels suffered."""
    names = [row.name for row in scores.classes]
    found = [
        (count, 100 * count / scores.classes[r].pixels, r, p)
        for r, row in enumerate(scores.confusion)
        for p, count in enumerate(row)
        if r != p and count
    ]
    found.sort(reverse=True)
    return [(f"{share:.0f} %", f"{count:,}", names[r], names[p]) for count, share, r, p in found[:_MISTAKES]]


def _off(difference: float) -> str:
    """In words how much surer a network is than right."""
    points = f"{100 * abs(difference):.1f} percentage points"
    if abs(difference) < _CALIBRATED:
        return f"right to {points}"
    return f"{points} too high: it is surer than it is right" if difference > 0 else f"{points} too low"


def _none(value: float) -> float | None:
    return None if np.isnan(value) else value
