"""The model card: what a model is, what it was made of, how good it is, and where it must not be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segapp.model_spec import ModelSpec


def model_card(spec: ModelSpec) -> str:
    """The card of a model as Markdown, everything in it read off `spec`."""
    network = spec.network
    sections = [
        f"# {spec.name}",
        f"A U-Net of depth {network.depth} with {network.filters} first filters that maps {len(spec.bands)} bands to "
        f"{len(spec.classes)} classes.",
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
        "above and standardises them itself; pixels without data are NaN.",
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
    if spec.scores:
        sections.append("## Scores")
        for role, scores in spec.scores.items():
            sections += [f"### {role}", _score_table(scores)]
    if spec.limits:
        sections += ["## Limits", spec.limits]
    if spec.provenance:
        rows = [[key, str(value)] for key, value in spec.provenance.items() if not isinstance(value, dict)]
        sections += ["## Provenance", _table(["", ""], rows), "`model.json` holds the whole recipe and all scores."]
    return "\n\n".join(sections) + "\n"


def _score_table(scores: dict[str, Any]) -> str:
    overall = (
        f"Global accuracy {_number(scores['global_accuracy'])}, mean IoU {_number(scores['mean_iou'])}, "
        f"mean class accuracy {_number(scores['mean_accuracy'])}, kappa {_number(scores['kappa'])} "
        f"over {scores['pixels']:,} pixels of {scores['scenes']} scenes."
    )
    rows = [[c["name"], f"{c['pixels']:,}", _number(c["accuracy"]), _number(c["iou"])] for c in scores["classes"]]
    absent = f"\n\nAbsent from the reference: {', '.join(scores['absent'])}." if scores["absent"] else ""
    return overall + "\n\n" + _table(["class", "pixels", "accuracy", "IoU"], rows) + absent


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
