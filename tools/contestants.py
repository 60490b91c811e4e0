"""The contestants of the transfer experiments: each by name, brought to a dataset unless it was, with its test scores.

All start from `models/unet6`, but "from scratch" (the default recipe) and "random forest" (which sees single pixels).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from forest import forest_scores

import segapp
from segapp.data.dataset import Dataset
from segapp.model.bundle import read_spec
from segapp.training.recipe import Recipe, read_recipe
from segapp.transfer.strategy import Strategy, read_strategy

BASE = Path(__file__).parents[1] / "models" / "unet6"
DATASETS = Path(__file__).parent / "datasets"
FROZEN_FORUM, FOREST, SCRATCH = "forum, layers frozen", "random forest", "from scratch"


@dataclass(frozen=True)
class Result:
    """Test scores of one run. `iou` is by class, None where the reference does not show it.

    `winner` is the phase whose model the guard wrote, and `phases` is what each scored on validation data.
    """

    seed: int
    accuracy: float
    mean_iou: float
    iou: dict[str, float | None]
    winner: str | None = None
    phases: Sequence[dict[str, Any]] = ()


def settings_of(name: str, steps: int | None, patch: int | None) -> Recipe:
    """The strategy or recipe of a contestant with these steps and patch size, None for its own."""
    given: dict[str, Any] = {"steps": steps, "patch_size": patch}
    if name == SCRATCH:
        if steps:  # the recipe's average would still hold much of the random start after a few hundred
            given |= {"average": 0.0, "validation": {"every": max(1, steps // 5)}}
        return read_recipe("default", given)
    if name != FROZEN_FORUM:
        return read_strategy(name, given)
    forum = read_strategy("forum", given)
    phases = [p.model_copy(update={"layers": {**p.layers, "*": "frozen"}}) for p in forum.phases]
    return forum.model_copy(update={"phases": tuple(phases)})


def run(
    name: str, dataset: Dataset, folder: Path, seed: int, *, steps: int | None = None, patch: int | None = None
) -> Result:
    """The result of a contestant whose run lies in `folder`, or is made there: interrupted ones go on.

    Raises click.ClickException for bad input, and when the run in `folder` was made with other settings.
    """
    if name == FOREST:
        return _forest(dataset, folder, seed)
    settings = settings_of(name, steps, patch)
    if not folder.exists():
        click.echo(f"{folder}: {name}, seed {seed}")
        try:
            if isinstance(settings, Strategy):
                segapp.finetune(BASE, dataset, folder, strategy=settings, seed=seed, resume=True, quiet=True)
            else:
                segapp.train(dataset, folder, recipe=settings, seed=seed, resume=True, quiet=True)
        except segapp.InputError as error:
            raise click.ClickException(str(error)) from None
        keras.utils.clear_session()
    spec = read_spec(folder)
    before, now = spec.provenance["recipe"], json.loads(settings.model_dump_json())
    changed = [key for key in now if before.get(key) != now[key] and key != "description"]
    if changed:
        raise click.ClickException(f"{folder}: was made with another {', '.join(changed)}; remove it to run it again")
    scores = spec.scores["test"]
    return Result(
        seed,
        scores["global_accuracy"],
        scores["mean_iou"],
        {c["name"]: c["iou"] for c in scores["classes"]},
        spec.provenance.get("winner"),
        spec.provenance.get("phases", ()),
    )


def base_result(dataset: Dataset) -> Result:
    """The base's own test scores; its bands and classes must be the dataset's."""
    scores = segapp.evaluate(BASE, dataset).as_dict()
    return Result(0, scores["global_accuracy"], scores["mean_iou"], {c["name"]: c["iou"] for c in scores["classes"]})


def mean(results: Sequence[Result], score: str = "mean_iou") -> float:
    """The mean of a score over the seeds."""
    return float(np.mean([getattr(one, score) for one in results]))


def shown(results: Sequence[Result], score: str = "mean_iou") -> str:
    """The mean of a score over the seeds, and the worst and the best."""
    values = [getattr(one, score) for one in results]
    spread = f" ({min(values):.3f}..{max(values):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def write_figures(file: Path, figures: dict[str, Any]) -> None:
    """Write nested dicts and lists with results in them as JSON."""
    file.write_text(json.dumps(figures, indent=1, default=asdict) + "\n", encoding="utf-8")


def _forest(dataset: Dataset, folder: Path, seed: int) -> Result:
    file = folder / "result.json"
    if not file.exists():
        click.echo(f"{folder}: {FOREST}, seed {seed}")
        scores = forest_scores(dataset, seed).as_dict()
        iou = {c["name"]: c["iou"] for c in scores["classes"]}
        folder.mkdir(parents=True, exist_ok=True)
        write_figures(file, asdict(Result(seed, scores["global_accuracy"], scores["mean_iou"], iou)))
    return Result(**json.loads(file.read_text(encoding="utf-8")))
