"""What a report says of the model itself: what it is, how it was trained, transferred and made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from segapp.model.bundle import WEIGHTS_FILE
from segapp.model.model_spec import ModelSpec
from segapp.nets.config import UNetConfig
from segapp.nets.encoders.registry import PLAIN
from segapp.reporting import figures
from segapp.reporting.history import Curve, Transfer
from segapp.reporting.page import Chart, Section, listed, shown
from segapp.reporting.palette import Palette

_MOST_PAIRS = 4


def model_section(spec: ModelSpec, folder: Path, palette: Palette) -> Section:
    """What the model is, from `model.json` and the size of its weights."""
    network = spec.network
    if isinstance(network, UNetConfig):
        kind = f"A U-Net of depth {network.depth} with {network.filters} first filters"
        kind += "" if network.encoder == PLAIN else f" and the encoder {network.encoder}"
    else:
        kind = f"A Keras network of {len(network.layers)} layers below its head"
    taken = "logarithms of the bands" if spec.normalization.logarithm else "the bands"
    means = zip(spec.bands, spec.normalization.mean, spec.normalization.std, strict=True)
    return {
        "name": spec.name,
        "folder": folder.resolve().name,
        "kind": f"{kind} that maps {len(spec.bands)} bands to {len(spec.classes)} classes.",
        "palette": palette,
        "classes": spec.classes.classes,
        "alike": _alike(palette, spec.classes.names),
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
            ("Sees", f"{taken}, each less its mean and over its standard deviation"),
            ("Trained on", f"patches of {spec.patch_size} x {spec.patch_size} pixels"),
            *_told_of(spec.provenance, {"dataset": "Training data", "date": "Made on", "base": "Transferred from"}),
            ("Maps hold", f"class ids; {spec.classes.nodata} is no data"),
            ("Weights", f"SHA-256 {spec.weights.sha256[:16]}…" if spec.weights.sha256 else "no hash is stored"),
        ],
        "limits": spec.limits,
    }  # fmt: skip


def training_charts(curves: Sequence[Curve]) -> dict[str, Chart]:
    """The curves of all phases."""
    charts = {}
    for name, quantity, caption in (
        ("accuracy", "accuracy", "Accuracy: in training on patches, in validation on whole scenes."),
        ("loss", "loss", "Loss: in validation the cross entropy alone."),
        ("val_iou", "mean_iou", "Mean IoU in validation."),
    ):
        figure = figures.training(curves, quantity)
        if figure.data:
            last = {trace.name: trace.y[-1] for trace in figure.data}
            ends = ", ".join(f"{kind} ends at {value:.3f}" for kind, value in last.items())
            charts[name] = Chart(figure, f"{caption} {ends}.", f"{caption} {ends[:1].upper()}{ends[1:]}.")
    return charts


def transfer_section(transfer: Transfer) -> tuple[Section, dict[str, Chart]]:
    """The plan of a transfer and the score after each phase."""
    plan = transfer.plan
    lines = {
        "Bands new to the base": [band.name for band in plan.bands if band.base is None],
        "Bands of the base that are not used": plan.dropped_bands,
        "Classes of the base that end here": plan.dropped_classes,
        "Classes that no label showed, kept as the base has them": plan.remembered,
    }
    scores = ", ".join(f"{line.phase} {shown(line.accuracy)} and {shown(line.mean_iou)}" for line in transfer.phases)
    chart = Chart(
        figures.phases(transfer.phases, transfer.winner),
        f"Validation accuracy and mean IoU after each phase: {scores}; {transfer.winner} was written.",
        f"Validation scores after each phase; the diamond, {transfer.winner}, was written.",
    )
    told = [f"{what}: {listed(names)}." for what, names in lines.items() if names]
    return {"transfer": transfer, "transfer_told": told}, {"phases": chart}


def provenance_section(provenance: Mapping[str, Any]) -> Section:
    """How the model was made, as far as it tells."""
    rows = [(key, str(value)) for key, value in provenance.items() if isinstance(value, str | int | float)]
    recipe = provenance.get("recipe")
    return {"provenance": rows, "recipe": json.dumps(recipe, indent=2, ensure_ascii=False) if recipe else ""}


def _alike(palette: Palette, names: Sequence[str]) -> list[str]:
    """Which classes' colours can hardly be told apart."""
    pairs = [(names[first], names[second]) for first, second in palette.alike]
    if len(pairs) > _MOST_PAIRS:
        return [f"{len(pairs)} pairs of classes have nearly the same colour: their hatches tell them apart."]
    return [f"{one} and {two} have nearly the same colour: the hatch tells {two} from {one}." for one, two in pairs]


def _told_of(provenance: Mapping[str, Any], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, str(provenance[key])) for key, label in labels.items() if provenance.get(key)]


def _size(weights: Path, dtype: str) -> str:
    """How many numbers a network has, and how large their file is."""
    numbers = 0

    def count(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal numbers
        numbers += item.size if isinstance(item, h5py.Dataset) else 0

    try:
        with h5py.File(weights, "r") as file:
            file.visititems(count)
        return f"{numbers:,} parameters, {weights.stat().st_size / 1e6:.1f} MB as {dtype}"
    except OSError:
        return f"- ({weights.name} is missing or damaged)"
