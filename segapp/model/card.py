"""The model card: intended use, bands, classes, training data, scores and limits of a model.

The fields are those of Mitchell et al. 2019 ("Model cards for model reporting", arXiv 1810.03993).
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
"""The YAML header that model hubs read."""


def network_sentence(spec: ModelSpec) -> str:
    """The kind and size of the network, its bands and its classes, as one sentence."""
    network = spec.network
    if not isinstance(network, UNetConfig):
        kind = f"A Keras network of {len(network.layers)} layers below its head"
    elif network.encoder == "plain":
        kind = f"A U-Net of depth {network.depth} with {network.filters} first filters"
    else:
        kind = f"A U-Net with the encoder {network.encoder}, depth {network.depth}, {network.filters} last filters"
    context = f" and a context branch of {spec.context} units" if spec.context else ""
    return f"{kind}{context} that maps {len(spec.bands)} bands to {len(spec.classes)} classes."


def model_card(spec: ModelSpec) -> str:
    """The model card as Markdown, made from `spec` alone."""
    standardised = "the logarithms of the values" if spec.normalization.logarithm else "the values"
    units = sorted({band.unit for band in spec.bands})
    sections = [
        f"# {spec.name}",
        network_sentence(spec),
        "## Use",
        "```\nsegapp predict --model FOLDER scene.tif --output classes.tif\n"
        "segapp finetune --base FOLDER --data dataset.toml --output models/new\n```",
        f"For maps of the classes below from images with the bands below, in {' and '.join(units)}, of places, seasons "
        "and sensors like those of the training data, and as a base for transfer. Not for decisions about single "
        "pixels, nor for places where it was not evaluated.",
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
        f"Trained on patches of {spec.patch_size} x {spec.patch_size} pixels. The input is in the unit above, NaN "
        f"where there is no data. The network's first layer standardises {standardised}.",
        "## Classes",
        _table(
            ["id", "name", "colour"],
            [[str(c.id), c.name, color] for c, color in zip(spec.classes.classes, spec.classes.colors, strict=True)],
        ),
        f"Maps contain these ids; {spec.classes.nodata} means no data."
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
        sections += ["## Provenance", _table(["", ""], rows), "`model.json` contains the recipe and all scores."]
    return "\n\n".join(sections) + "\n"


def _training(provenance: dict[str, Any]) -> str:
    sentences = []
    if "training scenes" in provenance and "dataset" in provenance:
        sentences.append(f"{provenance['training scenes']} scenes of {provenance['dataset']}.")
    if "labels" in provenance:
        sentences.append(f"Labels: {provenance['labels']}.")
    if "encoder weights" in provenance:
        sentences.append(f"The encoder was initialised with {provenance['encoder weights']}.")
    return " ".join(sentences)


def _score_table(scores: dict[str, Any]) -> str:
    overall = (
        f"Global accuracy {_number(scores['global_accuracy'])}, mean IoU {_number(scores['mean_iou'])}, "
        f"mean class accuracy {_number(scores['mean_accuracy'])}, kappa {_number(scores['kappa'])} "
        f"over {scores['pixels']:,} pixels of {scores['scenes']} scenes"
        f"{', computed in ' + scores['compute_precision'] if scores.get('compute_precision') else ''}."
    )
    rows = [[c["name"], f"{c['pixels']:,}", _number(c["accuracy"]), _number(c["iou"])] for c in scores["classes"]]
    absent = f"\n\nAbsent from the reference: {', '.join(scores['absent'])}." if scores["absent"] else ""
    return overall + "\n\n" + _table(["class", "pixels", "accuracy", "IoU"], rows) + absent


def _transfer(provenance: dict[str, Any]) -> list[str]:
    """The base, strategy, new bands and classes of a transfer, and the scores of its phases."""
    plan = provenance["plan"]
    changes = {
        "New bands": [band["name"] for band in plan["bands"] if band["base"] is None],
        "New classes": [entry["name"] for entry in plan["classes"] if not entry["base"]],
        "Classes absent from the labels, distilled from the base": plan["distilled"],
    }
    rows = []
    for line in provenance["phases"]:
        against = line["against"] or ""
        better = ("yes" if line["won"] else "no") if against else ""
        written = "yes" if line["phase"] == provenance["winner"] else ""
        rows.append([line["phase"], _number(line["accuracy"]), _number(line["mean_iou"]), against, better, written])
    scored = "Scores of each phase on validation pixels."
    if plan["folds"]:
        scored = (
            f"Scores of each phase in {plan['folds']} folds of the training scenes, with a third of the steps; the one "
            "that was written was then trained on all of them."
        )
    if not plan["guarded"]:
        scored = "Without the guard the last phase was written, better or not."
    return [
        f"From {plan['base']} by the strategy {plan['strategy']}. {plan['head']}",
        *(f"{title}: {', '.join(names)}." for title, names in changes.items() if names),
        scored,
        _table(["phase", "accuracy", "mean IoU", "compared with", "better", "written"], rows),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
