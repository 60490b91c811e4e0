"""`segapp evaluate`: the scores of a model on labelled scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segapp.bands import names_of
from segapp.classes import ClassTable
from segapp.data.dataset import Dataset, read_dataset
from segapp.errors import InputError
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.evaluation.report import Evaluation, Scores
from segapp.scenes.blocks import Role
from segapp.scenes.scene import Scene
from segapp.terminal import console
from segapp.windows import whole

if TYPE_CHECKING:
    from segapp.inference.predictor import Predictor
    from segapp.model.model_spec import ModelSpec
    from segapp.nets.precision import Precision


def evaluate(
    model: str | Path,
    data: str | Path | Dataset,
    *,
    role: Role = "test",
    test_time_augmentation: bool = False,
    precision: Precision = "auto",
) -> Scores:
    """Score the model directory `model` on the scenes of `data` that have `role`.

    With `test_time_augmentation` every scene is mapped in its eight orientations, and probabilities are averaged.
    Warns on stderr where bands look swapped or in another unit, and where the model predicts one class everywhere; a
    note says if the scores in model.json were computed in another precision. Raises InputError when the model's bands
    or classes are not the dataset's, or no scene has the role.
    """
    from segapp.model.bundle import read_spec

    dataset = data if isinstance(data, Dataset) else read_dataset(Path(data))
    spec = read_spec(Path(model))
    scenes = dataset.scenes(role)
    if not scenes:
        raise InputError(f"{dataset.path}: no scene has the role {role}; choose --role {' or '.join(dataset.roles)}")
    check_fits(spec, dataset, str(model))

    from segapp.data.comparison import unlike
    from segapp.inference.loading import open_predictor
    from segapp.inference.settings import RunSettings

    note = unlike(scenes, spec.bands, np.array(spec.normalization.mean), np.array(spec.normalization.std))
    if note:
        _say(f"warning: {note}; check the scale, offset and order of bands in {dataset.path}")
    settings = RunSettings(precision=precision, test_time_augmentation=test_time_augmentation)
    predictor, _ = open_predictor(Path(model), settings)
    scores = score_scenes(predictor, scenes, spec.classes)
    only = only_class(ConfusionMatrix(spec.classes, np.array(scores.confusion)))
    if only:
        _say(f"warning: {model}: every pixel of these scenes is predicted as {only}, but the labels have other classes")
    if not test_time_augmentation and (note := other_precision(spec, role, scores)):
        _say(f"note: {model}: {note}")
    return scores


def other_precision(spec: ModelSpec, role: str, scores: Scores) -> str:
    """A note where model.json has scores of the same scenes that were computed in another precision; else ""."""
    recorded = spec.scores.get(role)
    if not isinstance(recorded, dict) or not recorded.get("compute_precision"):
        return ""
    same_scenes = (recorded.get("scenes"), recorded.get("pixels")) == (scores.scenes, scores.pixels)
    before = recorded["compute_precision"]
    if not same_scenes or before == scores.compute_precision:
        return ""
    return (
        f"the {role} scores in model.json were computed in {before}, these in {scores.compute_precision}, so they "
        f"differ a little; --precision {before} computes them again"
    )


def score_scenes(predictor: Predictor, scenes: Sequence[Scene], classes: ClassTable) -> Scores:
    """All scores of a network over whole scenes, boundary F1 included."""
    evaluation = Evaluation(classes, compute_precision=predictor.precision)
    for scene in scenes:
        evaluation.add(scene.read_labels(whole(scene.shape)), predictor.class_map(scene))
    return evaluation.scores()


def only_class(matrix: ConfusionMatrix) -> str | None:
    """The class that every pixel was given although the reference shows more than one; None where there is none."""
    given = np.flatnonzero(matrix.counts.sum(axis=0))
    return matrix.classes.names[given[0]] if len(given) == 1 and matrix.present.sum() > 1 else None


def _say(text: str) -> None:
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def check_fits(spec: ModelSpec, dataset: Dataset, model: str) -> None:
    """Raise InputError if the model was trained on other bands or classes than the dataset's."""
    if names_of(spec.bands) != names_of(dataset.bands):
        raise InputError(
            f"{dataset.path}: its bands are {', '.join(names_of(dataset.bands))}, but {model} takes "
            f"{', '.join(names_of(spec.bands))}; choose them under [image] bands and names"
        )
    for ours, theirs in zip(spec.bands, dataset.bands, strict=True):
        if ours.unit != theirs.unit:
            raise InputError(
                f"{dataset.path}: band '{theirs.name}' is in {theirs.unit}, but {model} takes {ours.unit}; "
                "set scale, offset and unit under [image]"
            )
    own, other = ([f"{c.id} {c.name}" for c in table.classes] for table in (spec.classes, dataset.classes))
    if own != other:
        same = sorted(own) == sorted(other)
        remedy = "list them in the model's order" if same else "give a dataset with the model's ids and names"
        raise InputError(
            f"{dataset.path}: its classes ({', '.join(other)}) are not those of {model} ({', '.join(own)}); {remedy}"
        )
