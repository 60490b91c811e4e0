"""Make a model again and compare: ``python tools/reproduce.py models/x [--output build/reproduced]``.

Exits with 0 where the weights are the same to the bit, with 1 where they are not, and with 2 where it cannot be tried.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import segapp
from segapp.configuration import validate
from segapp.data.dataset import Dataset, read_dataset
from segapp.data.fingerprint import Fingerprint, fingerprint
from segapp.model.bundle import load, read_spec
from segapp.model.model_spec import ModelSpec
from segapp.remote import address_of, fetched
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.training.recipe import NO_WEIGHTS, Recipe
from segapp.training.versions import VERSIONS, versions, weights_sha256
from segapp.transfer.base import read_base
from segapp.transfer.strategy import Strategy

if TYPE_CHECKING:
    import keras

_OF_TRAINING_ALONE = ("network", "encoder_weights", "freeze", "unfreeze_at", "rates")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/reproduced"), show_default=True)
def main(model: Path, output: Path) -> None:
    """Train or finetune MODEL again as its model.json says, into --output, and compare the weights."""
    try:
        same = reproduce(model, output)
    except segapp.InputError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if same else 1)


def reproduce(folder: Path, output: Path) -> bool:
    """Make the model in `folder` again in `output`; whether its weights are the same to the bit.

    Raises InputError where its model.json does not say how, and where the data, the base or the encoder's weights are
    no longer what they were.
    """
    provenance = read_spec(folder).provenance
    if not {"recipe", "dataset", "seed", "precision"} <= provenance.keys():
        raise segapp.InputError(f"{folder}: its model.json holds no recipe; only trained and finetuned models do")
    if "oneDNN" in provenance:  # TensorFlow, which is not imported yet, asks for it once
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1" if provenance["oneDNN"] == "on" else "0"
    original = load(folder)
    for line in _other_versions(provenance):
        print(f"note: {line}")
    dataset = _dataset(folder, original.spec)
    unlabelled = [_found(provenance, file) for file in provenance.get("unlabelled", ())]
    before = Fingerprint.of_provenance(provenance)
    if before is None:
        print("note: the fingerprint of its data is unknown; it was made before segapp kept any")
    elif difference := before.first_difference(fingerprint(dataset, unlabelled)):
        raise segapp.InputError(f"{dataset.path}: {difference} since {folder} was made; bring back what was there")
    settings: dict[str, Any] = {
        "seed": provenance["seed"],
        "precision": provenance["precision"],
        "devices": provenance.get("devices", "auto"),
        "resume": True,
        "command": "python tools/reproduce.py",
    }
    if "plan" in provenance:
        again = segapp.finetune(
            _base(provenance),
            dataset,
            output,
            strategy=_recipe(Strategy, folder, provenance),
            class_map=provenance.get("class map"),
            unlabelled=unlabelled,
            new_bands=provenance.get("new bands"),
            head_layer=provenance.get("head layer"),
            **settings,
        )
    else:
        again = segapp.train(dataset, output, recipe=_recipe(Recipe, folder, provenance), **settings)
    devices, now = provenance.get("replicas", 1), again.spec.provenance["replicas"]
    if devices != now:
        print(f"note: made on {devices} devices, again on {now}: sums are taken in another order")
    return _compare(original, again)


def _other_versions(provenance: Mapping[str, Any]) -> list[str]:
    """A line for each of the versions that the model was made with and that are others now."""
    now = versions()
    return [
        f"made with {name} {provenance[name]}, this is {now[name]}: the last digits may differ"
        for name in VERSIONS
        if name in provenance and provenance[name] != now[name]
    ]


def _found(provenance: Mapping[str, Any], path: str) -> Path:
    """The path as seen from the folder that the run was started in; where nothing is there, from this one."""
    if address := address_of(path):
        return fetched(address)
    there = Path(provenance.get("folder", "."), path)
    return there if there.exists() else Path(path)


def _dataset(folder: Path, spec: ModelSpec) -> Dataset:
    """The dataset.toml, or where there was none, the bare images and labels."""
    provenance = spec.provenance
    path = _found(provenance, provenance["dataset"])
    if "image rules" not in provenance:
        return read_dataset(path)
    rules = validate(ImageRules, provenance["image rules"], f"{folder}: image rules")
    members: list[Any] = []
    for role, files in provenance["files"].items():
        image, labels = [path.parent / file for file in files][:2]
        scene = open_scene([image], rules, label_file=labels, label_rules=LabelRules(), classes=spec.classes)
        members.append((role if role in ("train", "val", "test") else None, scene))
    return Dataset(spec.name, str(path), spec.classes, members[0][1].bands, tuple(members), rules)


def _recipe(kind: Any, folder: Path, provenance: Mapping[str, Any]) -> Any:
    """The recipe or strategy with all its settings, and with the encoder's weights where they lie."""
    settings = dict(provenance["recipe"])
    settings["schema"] = settings.pop("schema_version", 1)
    if kind is Strategy:  # which lists the network's settings, but takes none: they are the base's
        settings = {key: value for key, value in settings.items() if key not in _OF_TRAINING_ALONE}
    recipe = validate(kind, settings, f"{folder}: recipe")
    if recipe.encoder_weights == NO_WEIGHTS:
        return recipe
    from segapp.nets.encoders.weights import read_encoder_weights

    source = recipe.encoder_weights
    source = str(_found(provenance, source)) if Path(source).suffix else source
    if read_encoder_weights(recipe.network.encoder, source).sha256 != provenance.get("encoder weights sha256"):
        raise segapp.InputError(f"{source}: holds other weights than when {folder} was made; bring back the file")
    return recipe.model_copy(update={"encoder_weights": source})


def _base(provenance: Mapping[str, Any]) -> Path:
    path = _found(provenance, provenance["base"])
    base = read_base(path, provenance.get("head layer"))
    if "base sha256" not in provenance:
        print("note: the fingerprint of its base is unknown; it was made before segapp kept any")
    elif weights_sha256(base.model.get_weights()) != provenance["base sha256"]:
        raise segapp.InputError(f"{path}: holds other weights than the base had; bring back the model that it was")
    return path


def _compare(before: keras.Model, after: keras.Model) -> bool:
    """Say whether both have the same weights, and if not, how far they and their scores are apart."""
    pairs = list(zip(before.weights, after.weights, strict=False))
    if [weight.shape for weight in before.weights] != [weight.shape for weight in after.weights]:
        print("not reproduced: the networks have other layers")
        return False
    apart = {a.path: float(np.max(np.abs(np.subtract(a, b, dtype=np.float64)), initial=0)) for a, b in pairs}
    if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        print(f"reproduced: {before.count_params():,} weights, bit-identical")
        return True
    farthest = max(apart, key=lambda path: apart[path])
    print(f"not reproduced: weights differ by up to {apart[farthest]:.3g} (in {farthest})")
    for role, scores in before.spec.scores.items():
        now = after.spec.scores.get(role)
        for score in ("global_accuracy", "mean_iou"):
            if now is not None and scores[score] is not None and now[score] is not None:
                print(f"{role} {score.replace('_', ' ')}: {scores[score]:.4f} then, {now[score]:.4f} now")
    return False


if __name__ == "__main__":
    main()
