"""The model card: what a model is and is for, what it was made of, how good it is, and where it must not be trusted.

Its fields are those of Mitchell et al. 2019 ("Model cards for model reporting", arXiv 1810.03993).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segapp.nets.config import UNetConfig

if TYPE_CHECKING:
    from segapp.model.model_spec import ModelSpec

METADATA = """---
library_name: keras
pipeline_tag: image-segmentation
tags: [segapp, semantic-segmentation, remote-sensing, multispectral, u-net]
---

"""
"""What model hubs read at the head of a card's file."""


def model_card(spec: ModelSpec) -> str:
    """The card of a model as Markdown, everything in it read off `spec`."""
    network = spec.network
    if isinstance(network, UNetConfig):
        kind = f"A U-Net of depth {network.depth} with {network.filters} first filters"
        if network.encoder != "plain":
            kind = f"A U-Net with the encoder {network.encoder}, depth {network.depth}, {network.filters} last filters"
    else:
        kind = f"A Keras network of {len(network.layers)} layers below its head"
    what = "their logarithms" if spec.normalization.logarithm else "them"
    units = sorted({band.unit for band in spec.bands})
    sections = [
        f"# {spec.name}",
        f"{kind} that maps {len(spec.bands)} bands to {len(spec.classes)} classes.",
        "## Use",
        "```\nsegapp predict --model FOLDER scene.tif --output classes.tif\n"
        "segapp finetune --base FOLDER --data dataset.toml --output models/new\n```",
        f"For maps of the classes below from images with the bands below, in {' and '.join(units)}, of places, seasons "
        "and sensors like those it was trained on, and as a base for others. Not for decisions about single pixels, "
        "nor where nobody has scored it on labels of the place in question.",
        "## Input",
        _table(
            ["band", "wavelength (nm)", "unit", "stored count to unit", "mean", "standard deviation"],
            [
                [
                    band.name,
                    "" if band.wavelength_nm is None else f"{band.wavelength_nm:g}",
                    band.unit,
                    f"x {band.scale:g} + {band.offset:g}",
                    f"{mean:.5g}",
                    f"{std:.5g}",
                ]
                for band, mean, std in zip(spec.bands, spec.normalization.mean, spec.normalization.std, strict=True)
            ],
        ),
        f"Trained on patches of {spec.patch_size} x {spec.patch_size} pixels. The network takes values in the unit "
        f"above and standardises {what} itself; pixels without data are NaN.",
        "## Classes",
        _table(
            ["id", "name", "colour"],
            [[str(c.id), c.name, color] for c, color in zip(spec.classes.classes, spec.classes.colors, strict=True)],
        ),
        f"Maps hold these ids; {spec.classes.nodata} means no data."
        + (
            f" Ignored in training and scoring: {', '.join(map(str, spec.classes.ignore))}."
            if spec.classes.ignore
            else ""
        ),
    ]
    if training := _training(spec.provenance):
        sections += ["## Training data", training]
    if spec.scores:
        sections.append("## Scores")
        for role, scores in spec.scores.items():
            sections += [f"### {role}", _score_table(scores)]
    if {"plan", "phases", "winner"} <= spec.provenance.keys():
        sections += ["## Transfer", *_transfer(spec.provenance)]
    if spec.limits:
        sections += ["## Limits", spec.limits]
    if spec.provenance:
        rows = [[key, str(value)] for key, value in spec.provenance.items() if isinstance(value, str | int)]
        sections += ["## Provenance", _table(["", ""], rows), "`model.json` holds the whole recipe and all scores."]
    return "\n\n".join(sections) + "\n"


def _training(provenance: dict[str, Any]) -> str:
    """What it was trained on, as far as that is known."""
    told = []
    if "training scenes" in provenance and "dataset" in provenance:
        told.append(f"{provenance['training scenes']} scenes of {provenance['dataset']}.")
    if "labels" in provenance:
        told.append(f"Labels: {provenance['labels']}.")
    if "encoder weights" in provenance:
        told.append(f"The encoder started from {provenance['encoder weights']}.")
    return " ".join(told)


def _score_table(scores: dict[str, Any]) -> str:
    overall = (
        f"Global accuracy {_number(scores['global_accuracy'])}, mean IoU {_number(scores['mean_iou'])}, "
        f"mean class accuracy {_number(scores['mean_accuracy'])}, kappa {_number(scores['kappa'])} "
        f"over {scores['pixels']:,} pixels of {scores['scenes']} scenes."
    )
    rows = [[c["name"], f"{c['pixels']:,}", _number(c["accuracy"]), _number(c["iou"])] for c in scores["classes"]]
    absent = f"\n\nAbsent from the reference: {', '.join(scores['absent'])}." if scores["absent"] else ""
    return overall + "\n\n" + _table(["class", "pixels", "accuracy", "IoU"], rows) + absent


def _transfer(provenance: dict[str, Any]) -> list[str]:
    """What a model was made from by transfer, and how each of its phases did."""
    plan = provenance["plan"]
    told = {
        "Bands that the base did not have": [band["name"] for band in plan["bands"] if band["base"] is None],
        "Classes that the base did not have": [entry["name"] for entry in plan["classes"] if not entry["base"]],
        "Classes that no label showed, kept as the base has them": plan["distilled"],
    }
    rows = []
    for line in provenance["phases"]:
        against = line["against"] or ""
        won = ("yes" if line["won"] else "no") if against else ""
        written = "yes" if line["phase"] == provenance["winner"] else ""
        rows.append([line["phase"], _number(line["accuracy"]), _number(line["mean_iou"]), against, won, written])
    held_out = ", a part of the training scenes that was held out" if plan["held_out"] else ""
    unguarded = "" if plan["guarded"] else " Nothing guarded the result: the last phase was written, won or not."
    if plan["phases"] and plan["phases"][-1]["held_out"]:
        unguarded = " The last learned those pixels, too, so that none were left to judge it on."
    return [
        f"From {plan['base']} by the strategy {plan['strategy']}. {plan['head']}",
        *(f"{what}: {', '.join(names)}." for what, names in told.items() if names),
        f"Each phase on validation pixels{held_out}.{unguarded}",
        _table(["phase", "accuracy", "mean IoU", "against", "won", "written"], rows),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
