"""A model directory in the making: `<output>.partial`, which gets its name when it is whole."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras

from segapp.data.dataset import Dataset
from segapp.data.fingerprint import Fingerprint
from segapp.errors import InputError, without_secrets
from segapp.evaluation.evaluate import score_scenes
from segapp.inference.loading import open_predictor
from segapp.inference.settings import RunSettings
from segapp.locks import only_maker
from segapp.model.bundle import load, write_description
from segapp.nets.precision import ComputePrecision
from segapp.scenes.scene import Scene
from segapp.training.checkpoint import read_settings
from segapp.training.display import Display
from segapp.training.recipe import Recipe
from segapp.training.versions import versions


@contextmanager
def claimed(output: Path, resume: bool) -> Iterator[Path]:
    """The folder to work in until `output` is whole; inside, no other run may claim it.

    Raises InputError when `output` exists or cannot be made, when another run makes it, or when an interrupted run lies
    there and is not to be resumed.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or give another --output")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError(f"{output}: cannot be made in {nearest}; give an --output in a folder you may write to")
    partial = output.with_name(output.name + ".partial")
    with _folder_made(output.parent), only_maker(output):
        if output.exists():
            raise InputError(f"{output}: was made by another run meanwhile; remove it or give another --output")
        if partial.exists() and not resume:
            raise InputError(f"{partial}: holds an interrupted run; go on with --resume, or remove it")
        yield partial


@contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """`folder`, which is gone in the end if it is new and nothing came into it."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()


def check_same_settings(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError if the interrupted run had other settings than the one that is to go on."""
    before = read_settings(checkpoint)
    for key, value in settings.items():
        if before.get(key) != value:
            raise InputError(
                f"{checkpoint.parent}: was run with another {key}; resume with the same settings, or remove it"
            )


def deliver(
    partial: Path,
    output: Path,
    dataset: Dataset,
    val_scenes: Sequence[Scene],
    provenance: Mapping[str, Any],
    precision: ComputePrecision,
    display: Display,
) -> keras.Model:
    """Score the model in `partial`, computing in `precision`, complete its card, and give the folder its name."""
    predictor, spec = open_predictor(partial, RunSettings(precision=precision))
    scores = {}
    for role, scenes in (("val", val_scenes), ("test", dataset.scenes("test"))):
        if scenes:
            display.say(f"scoring {len(scenes)} {role} scenes")
            scores[role] = score_scenes(predictor, scenes, dataset.classes).as_dict()
    spec = spec.model_copy(update={"scores": scores, "provenance": dict(provenance)})
    write_description(partial, spec)  # and not the weights: a kill between the two would leave no model
    try:
        partial.rename(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); the model lies in {partial}") from None
    display.say(f"model directory: {output}")
    return load(output)


def provenance_of(
    command: str,
    dataset: Dataset,
    data: Fingerprint,
    scenes: int,
    recipe: Recipe,
    seed: int,
    precision: ComputePrecision,
    devices: str,
    replicas: int,
) -> dict[str, Any]:
    """How a model was made: data, settings, versions. Paths in it start from its "folder"."""
    read = {} if data.dataset_sha256 else {"image rules": dataset.image.model_dump(mode="json", exclude_defaults=True)}
    return {
        "command": without_secrets(command),
        "folder": str(Path.cwd()),
        "dataset": dataset.path,
        **data.as_provenance(),
        **read,
        "training scenes": scenes,
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "precision": precision,
        "devices": devices,
        "replicas": replicas,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **versions(),
    }
