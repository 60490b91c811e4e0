"""A training before its first step: scenes, statistics, patches, network and optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.configuration import validate
from segapp.data.comparison import unlike, unlike_each_other
from segapp.data.dataset import Dataset
from segapp.data.leakage import leaks
from segapp.data.statistics import BandStatistics, band_statistics
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec, Normalization, as_rows
from segapp.model.second_moments import band_second_moments
from segapp.nets.encoders.features import classifier_layers
from segapp.nets.encoders.weights import EncoderWeights, load_encoder_weights
from segapp.nets.precision import ComputePrecision, computing_in
from segapp.patches.memory import hold_in_memory
from segapp.patches.pipeline import PatchStream, Stream
from segapp.patches.sampling import ClassPositions, PatchSource, find_class_positions
from segapp.scenes.blocks import Role
from segapp.scenes.scene import Scene
from segapp.training.devices import pays_to_compile
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.layer_settings import LayerFactors, LayerSetting
from segapp.training.loop import Trainer
from segapp.training.losses import Distillation, class_weights, make_loss
from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer
from segapp.training.recipe import NO_WEIGHTS, Recipe
from segapp.windows import grid, round_up, whole

Show = Callable[[Any], None]
PRETRAINED = LayerFactors(weights=0.1, biases=0.1)
"""How an encoder that starts from weights trains where the recipe does not say: slower than what starts at random."""


@dataclass(frozen=True)
class Run:
    """What a run is made of. `settings` are those that must be the same for an interrupted run to go on."""

    dataset: Dataset
    recipe: Recipe
    seed: int
    train_scenes: Sequence[Scene]
    val_scenes: Sequence[Scene]
    stream: Stream
    positions: ClassPositions | None
    spec: ModelSpec
    steps_per_epoch: int
    total_steps: int
    settings: dict[str, Any]
    notes: Sequence[str] = ()
    """What looks wrong, and is to be said before the first step."""


def prepare(
    dataset: Dataset, recipe: Recipe, seed: int, precision: ComputePrecision, weights: EncoderWeights | None = None
) -> Run:
    """Read what must be known before the first step. Raises InputError where the training data does not suffice."""
    size, stride = recipe.patch_size, 2**recipe.network.depth
    if size % stride:
        raise InputError(
            f"recipe: a patch size of {size} does not divide by {stride}, as the network's poolings need; "
            f"use {round_up(size, stride)}"
        )
    reach = math.ceil(size * (1 + recipe.augmentation.scale))
    found = dataset.scenes("train", reach)
    if not found:
        raise InputError(f'{dataset.path}: no scene has the role train; give one that role, or split = "blocks"')
    reader = dataset.image.reader
    train_scenes = hold_in_memory(found) if reader == "h5py" else found
    statistics = band_statistics(train_scenes)
    if not any(map(_has_label, train_scenes)):
        raise InputError(f"{dataset.path}: the training scenes hold no labelled pixel; check classes and 'ignore'")
    std = np.ones_like(statistics.std) if recipe.input == "zerocenter" else statistics.std
    positions = None
    if recipe.sampling.balance or recipe.loss.class_weights != "none":
        positions = find_class_positions(train_scenes, len(dataset.classes), seed)
    described = {
        "schema": 2,
        "name": dataset.name,
        "network": recipe.network,
        "bands": dataset.bands,
        "images": dataset.reading,
        "classes": dataset.classes,
        "normalization": Normalization(
            mean=tuple(statistics.mean.tolist()),
            std=tuple(std.tolist()),
            logarithm=recipe.input == "log" and bool((statistics.mean > 0).all()),
        ),
        "patch_size": recipe.patch_size,
    }
    spec = validate(ModelSpec, described, dataset.path)
    spec = spec.model_copy(update={"second_moments": as_rows(band_second_moments(spec.normalization, train_scenes))})
    source = PatchSource(train_scenes, recipe.patch_size, seed, recipe.sampling, positions)
    stream = PatchStream(source, recipe.augmentation, statistics, reader=reader)
    if reader != "h5py":
        stream.batches(recipe.batch)  # what it cannot read is reported now
    return Run(
        dataset,
        recipe,
        seed,
        train_scenes,
        hold_in_memory(dataset.scenes("val", reach)),
        stream,
        positions,
        spec,
        recipe.steps_per_epoch(len(train_scenes)),
        recipe.total_steps(len(train_scenes)),
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            "precision": precision,
            "training scenes": len(train_scenes),
            "bands": [band.model_dump(mode="json") for band in dataset.bands],
            "classes": dataset.classes.model_dump(mode="json"),
            "encoder weights": weights and weights.sha256,
        },
        notes=(*leaks(dataset), *dataset.remarks(), *_unlike_training(dataset, statistics)),
    )


def _has_label(scene: Scene) -> bool:
    """Whether a pixel with data carries a class; most scenes tell by their first rows."""
    strips = grid(whole(scene.shape), 256, scene.shape[1])
    return any((scene.valid(strip) & (scene.read_labels(strip) != IGNORED_INDEX)).any() for strip in strips)


def _unlike_training(dataset: Dataset, statistics: BandStatistics) -> list[str]:
    """What differs among training scenes, and in the roles that judge the network from training."""
    roles: tuple[Role, ...] = ("val", "test")
    found = (unlike(dataset.scenes(role), dataset.bands, statistics.mean, statistics.std) for role in roles)
    return [
        *unlike_each_other(dataset.scenes("train"), dataset.bands),
        *(f"{note}; check the scale, offset and order of bands in {dataset.path}" for note in found if note),
    ]


def build_network(
    run: Run, strategy: tf.distribute.Strategy, precision: ComputePrecision, weights: EncoderWeights | None, show: Show
) -> keras.Model:
    """The network with fresh weights, or with `weights` in its encoder: a table of these is passed to `show`."""
    with strategy.scope(), computing_in(precision):
        model = run.spec.build()
        if weights:
            show(load_encoder_weights(model, weights, run.spec.bands))
    return model


def start_trainer(
    run: Run, model: keras.Model, strategy: tf.distribute.Strategy, precision: ComputePrecision, first: int = 0
) -> Trainer:
    """What takes the steps from `first` on with a network of `build_network`, each layer treated as the recipe says."""
    recipe = run.recipe
    encoder: list[str] = []
    if recipe.encoder_weights != NO_WEIGHTS:
        encoder = [layer.name for layer in classifier_layers(model, recipe.network.encoder).values()]
    settings: dict[str, LayerSetting]
    if first < recipe.unfreeze_step(len(run.train_scenes)):
        settings = {**dict.fromkeys(encoder, "frozen"), **recipe.rates}
    else:
        settings = {**recipe.rates, **dict.fromkeys(encoder, PRETRAINED)}
    factors = freeze(model, assign_layer_settings(model, settings, "recipe: rates", otherwise=LayerFactors()))
    if not model.trainable_variables:
        raise InputError("recipe: rates: all layers are frozen; leave one to train")
    return make_trainer(run, model, strategy, precision, factors, first=first)


def make_trainer(
    run: Run,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    precision: ComputePrecision,
    factors: VariableFactors,
    distillation: Distillation | None = None,
    decided: np.ndarray | None = None,
    first: int = 0,
) -> Trainer:
    """What takes the steps from `first` on with `model`, which was built under `strategy`.

    Labels decide among `decided`, (K,) bool.
    """
    recipe = run.recipe
    share = run.positions.share if run.positions else np.ones(len(run.dataset.classes))
    with strategy.scope():
        rate = LearningRate(recipe.schedule, run.total_steps, run.steps_per_epoch, first)
        optimizer = make_optimizer(recipe.optimizer, rate, recipe.average, factors.rate)
        if precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = make_loss(recipe.loss, class_weights(recipe.loss, share), decided)
    compiled = pays_to_compile(recipe, run.total_steps, strategy)
    return Trainer(model, optimizer, loss, recipe.optimizer, strategy, factors, distillation, compiled)
