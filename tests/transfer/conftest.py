"""What the tests of transfer share: the tiny base, datasets that differ from its own, tiny strategies, a witness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import rasterio

from segapp.data.dataset import read_dataset
from segapp.data.statistics import band_statistics
from segapp.model.base import Base
from segapp.model.bundle import write_model
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from segapp.patches.memory import hold_in_memory
from segapp.patches.sampling import find_class_positions
from segapp.samples.landscape import BANDS, CLASSES
from segapp.transfer.base import read_base
from segapp.transfer.features import sample_features
from segapp.transfer.finetune import finetune
from segapp.transfer.head import fit_head
from segapp.transfer.network import set_head
from segapp.transfer.strategy import Strategy
from segapp.windows import whole

NAMES = [name for _, name, _ in CLASSES]
REFLECTANCE = 'scale = 0.0001\nunit = "reflectance"'
DECODER = {"head": 1, "decoder_stage_*": 1, "*": "frozen"}
HEAD = {"head": 1, "*": "frozen"}
Weights = dict[str, list[np.ndarray]]


class Stop(BaseException):
    """Ends a run where nothing that follows is of interest."""


class Witness(keras.callbacks.Callback):
    """Sees the steps of all phases, and the weights that each begins and ends with; stops after phase `stop_after`."""

    def __init__(self, stop_after: int = 0) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.begun: list[Weights] = []
        self.ended: list[Weights] = []
        self._stop_after = stop_after

    def on_train_begin(self, logs: object = None) -> None:
        self.steps.append(0)
        self.begun.append(weights_of(self.model))

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.steps[-1] += 1

    def on_train_end(self, logs: object = None) -> None:
        self.ended.append(weights_of(self.model))
        if len(self.ended) == self._stop_after:
            raise Stop


def weights_of(model: keras.Model) -> Weights:
    """The weights of each layer, moving statistics included."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def tiny_strategy(*phases: dict[str, Any], **settings: Any) -> Strategy:
    """12 steps on patches of 32 pixels without memory, with these phases; without any, the decoder and then all."""
    usual = (
        {"name": "decoder", "share": 0.4, "rate": 3e-3, "layers": DECODER},
        {"name": "all", "share": 0.6, "rate": 3e-3, "layers": {"*": 1}},
    )
    defaults = {
        "patch_size": 32,
        "batch": 4,
        "steps": 12,
        "average": 0.9,
        "optimizer": {"decay": 0.01, "clip": 1.0},
        "distillation": 0,
        "sampling": {"balance": 0.5},
        "validation": {"every": 4},
    }
    return Strategy(schema=1, **{"phases": phases or usual, **defaults, **settings})


UNGUARDED: dict[str, Any] = {
    "strategy": tiny_strategy(guard=False, distillation=1),
    "precision": "float32",
    "quiet": True,
}
"""Settings of the run `unguarded`."""


def write_dataset(
    file: Path,
    samples: Path,
    *,
    bands: Sequence[str] = BANDS,
    image: str = REFLECTANCE,
    classes: Sequence[str] = NAMES,
    roles: Sequence[str] = ("train", "val", "test"),
    images: Path | None = None,
    labels: Path | None = None,
) -> Path:
    """A dataset.toml like the samples': ids 1, 2, ... are `classes`; `images` holds a folder for each role."""
    chosen = f"bands = [{', '.join(map(repr, bands))}]" if bands else ""
    listed = "\n".join(f'  {{ id = {number}, name = "{name}" }},' for number, name in enumerate(classes, start=1))
    scenes = "\n".join(
        f'[[scenes]]\nimage = "{images or samples.parent}/{role}/*.tif"\n'
        f'labels = "{labels or samples.parent / "labels"}/{{name}}.tif"\nrole = "{role}"'
        for role in roles
    )
    head = f'schema = 1\nname = "new"\n[image]\n{chosen}\n{image}\n[classes]\nignore = [0]\n'
    file.write_text(f"{head}list = [\n{listed}\n]\n{scenes}\n")
    return file


def without(samples: Path, folder: Path, ids: Sequence[int]) -> Path:
    """The samples' labels with `ids` unlabelled."""
    folder.mkdir()
    for file in (samples.parent / "labels").glob("*.tif"):
        with rasterio.open(file) as source:
            labels, profile = source.read(), source.profile
        labels[np.isin(labels, ids)] = 0
        with rasterio.open(folder / file.name, "w", **profile) as target:
            target.write(labels)
    return folder


@pytest.fixture(scope="session")
def base_folder(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the samples' bands and classes: a random body with dropout and batch normalisation, whose moving
    statistics are not those of a fresh one, under a fitted head that sees the first class too often, so that there is
    something to gain. Not to be changed."""
    dataset = read_dataset(samples)
    scenes = hold_in_memory(dataset.scenes("train"))
    statistics = band_statistics(scenes)
    spec = ModelSpec(
        schema=2,
        name="base",
        network=UNetConfig(depth=1, filters=4, dropout=0.5, batch_norm=True),
        bands=dataset.bands,
        classes=dataset.classes,
        normalization=Normalization(mean=tuple(statistics.mean.tolist()), std=tuple(statistics.std.tolist())),
        patch_size=32,
    )
    keras.utils.set_random_seed(0)
    model = spec.build()
    for scene in scenes:
        for _ in range(20):
            model(scene.read(whole(scene.shape))[np.newaxis], training=True)
    positions = find_class_positions(scenes, len(dataset.classes), 0)
    features, labels = sample_features(model, spec.head, scenes, positions, 300, 0.5, 0)
    start = np.zeros((features.shape[1], len(dataset.classes))), np.zeros(len(dataset.classes))
    weights, biases = fit_head(features, labels, *start, penalty=0.1)
    biases[0] += 1
    set_head(model, spec.head, weights, biases)
    folder = tmp_path_factory.mktemp("bases") / "base"
    write_model(folder, model, spec)
    return folder


@pytest.fixture(scope="session")
def base(base_folder: Path) -> Base:
    """The tiny base, read; not to be changed."""
    return read_base(base_folder)


@pytest.fixture(scope="session")
def unguarded(base_folder: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Witness]:
    """The base after the usual two tiny phases with nothing that guards the result, and what was seen on the way."""
    output, witness = tmp_path_factory.mktemp("models") / "unguarded", Witness()
    finetune(base_folder, samples, output, callbacks=[witness], **UNGUARDED)
    return output, witness


@pytest.fixture
def dataset(samples: Path, tmp_path: Path) -> Callable[..., Path]:
    """`write_dataset` into a file of the test's own."""
    return lambda **settings: write_dataset(tmp_path / "new.toml", samples, **settings)


@pytest.fixture(scope="session")
def seven(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples' images with a band without a name behind the others."""
    folder = tmp_path_factory.mktemp("seven")
    for file in samples.parent.glob("*/scene_*.tif"):
        if file.parent.name == "labels":
            continue
        with rasterio.open(file) as source:
            image, profile, names = source.read(), source.profile, source.descriptions
        (folder / file.parent.name).mkdir(exist_ok=True)
        with rasterio.open(folder / file.parent.name / file.name, "w", **{**profile, "count": 7}) as target:
            target.write(np.concatenate([image, image[:1] // 3 + 50]))
            target.descriptions = (*names, None)
    return folder
