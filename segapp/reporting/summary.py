"""The sections of a report that need no scores: the model, its training, its transfer and its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from segapp.model.bundle import WEIGHTS_FILE
from segapp.model.card import network_sentence
from segapp.model.model_spec import ModelSpec
from segapp.reporting import history_charts
from segapp.reporting.history import Curve, Transfer
from segapp.reporting.page import Chart, Section, format_score, join_names
from segapp.reporting.palette import Palette

_MOST_PAIRS = 4


def model_section(spec: ModelSpec, folder: Path, palette: Palette) -> Section:
    """Network, bands, classes and limits, from `model.json` and the weights file in `folder`."""
    values = "logarithms of the bands" if spec.normalization.logarithm else "bands"
    means = zip(spec.bands, spec.normalization.mean, spec.normalization.std, strict=True)
    labels = {"dataset": "Training data", "date": "Date", "base": "Base"}
    return {
        "name": spec.name,
        "folder": folder.resolve().name,
        "kind": network_sentence(spec),
        "palette": palette,
        "classes": spec.classes.classes,
        "similar_colors": _similar_colors(palette, spec.classes.names),
        "bands": [
            {
                "name": band.name,
                "wavelength": "" if band.wavelength_nm is None else f"{band.wavelength_nm:,.0f} nm",
                "unit": band.unit,
                "mean": f"{mean:.4g}",
                "std": f"{std:.4g}",
            }
            for band, mean, std in means
        ],
        "facts": [
            ("Size", _size(folder / WEIGHTS_FILE, spec.weights.dtype)),
            ("Input", f"{values}, standardised with the means and standard deviations of the training data"),
            ("Training patches", f"{spec.patch_size} x {spec.patch_size} pixels"),
            *((label, str(spec.provenance[key])) for key, label in labels.items() if spec.provenance.get(key)),
            ("Map values", f"class ids; {spec.classes.nodata} is no data"),
            ("Weights", f"SHA-256 {spec.weights.sha256[:16]}…" if spec.weights.sha256 else "no hash is stored"),
        ],
        "limits": spec.limits,
    }  # fmt: skip


def training_charts(curves: Sequence[Curve]) -> dict[str, Chart]:
    """Accuracy, loss and mean IoU over the steps of all phases; a chart without values is left out."""
    charts = {}
    for name, quantity, caption in (
        ("accuracy", "accuracy", "Accuracy, in training on patches, in validation on whole scenes."),
        ("loss", "loss", "Loss, in validation the cross entropy only."),
        ("val_iou", "mean_iou", "Mean IoU in validation."),
    ):
        figure = history_charts.training(curves, quantity)
        if figure.data:
            last = {trace.name: trace.y[-1] for trace in figure.data}
            ends = ", ".join(f"{kind} ends at {value:.3f}" for kind, value in last.items())
            charts[name] = Chart(figure, f"{caption} {ends}.", f"{caption} {ends[:1].upper()}{ends[1:]}.")
    return charts


def transfer_section(transfer: Transfer) -> tuple[Section, dict[str, Chart]]:
    """The plan of a transfer and the scores of its phases."""
    plan = transfer.plan
    changes = {
        "New bands": [band.name for band in plan.bands if band.base is None],
        "Removed bands": plan.dropped_bands,
        "Removed classes": plan.dropped_classes,
        "Classes absent from the labels, distilled from the base": plan.distilled,
    }
    scores = ", ".join(
        f"{line.phase} {format_score(line.accuracy)} and {format_score(line.mean_iou)}" for line in transfer.phases
    )
    chart = Chart(
        history_charts.phases(transfer.phases, transfer.winner),
        f"Validation accuracy and mean IoU after each phase: {scores}; {transfer.winner} was written.",
        f"Validation scores after each phase. The diamond, {transfer.winner}, was written.",
    )
    sentences = [f"{title}: {join_names(names)}." for title, names in changes.items() if names]
    return {"transfer": transfer, "transfer_changes": sentences}, {"phases": chart}


def provenance_section(provenance: Mapping[str, Any]) -> Section:
    """The records of the training run, and its recipe as JSON."""
    rows = [(key, str(value)) for key, value in provenance.items() if isinstance(value, str | int | float)]
    recipe = provenance.get("recipe")
    return {"provenance": rows, "recipe": json.dumps(recipe, indent=2, ensure_ascii=False) if recipe else ""}


def _similar_colors(palette: Palette, names: Sequence[str]) -> list[str]:
    pairs = [(names[first], names[second]) for first, second in palette.similar]
    if len(pairs) > _MOST_PAIRS:
        return [f"{len(pairs)} pairs of classes have nearly the same colour and differ by their hatch."]
    return [f"{one} and {two} have nearly the same colour and differ by their hatch." for one, two in pairs]


def _size(weights: Path, dtype: str) -> str:
    parameters = 0

    def count(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal parameters
        parameters += item.size if isinstance(item, h5py.Dataset) else 0

    try:
        with h5py.File(weights, "r") as file:
            file.visititems(count)
        return f"{parameters:,} parameters, {weights.stat().st_size / 1e6:.1f} MB as {dtype}"
    except OSError:
        return f"- ({weights.name} is missing or damaged)"
