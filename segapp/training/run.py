"""A training before its first step: scenes, statistics, patches, network and optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.dataset import Dataset
from segapp.errors import InputError
from segapp.model_spec import ModelSpec, Normalization
from segapp.patches.memory import hold_in_memory
from segapp.patches.pipeline import PatchStream, Stream
from segapp.patches.sampling import ClassPositions, PatchSource, find_class_positions
from segapp.patches.statistics import band_statistics
from segapp.scenes.scene import Scene
from segapp.training.devices import ComputePrecision, computing_in
from segapp.training.loop import Trainer
from segapp.training.losses import Memory, class_weights, make_loss
from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer
from segapp.training.recipe import Recipe
from segapp.windows import round_up


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


def prepare(dataset: Dataset, recipe: Recipe, seed: int, precision: ComputePrecision) -> Run:
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
    train_scenes = hold_in_memory(found)
    statistics = band_statistics(train_scenes)
    std = np.ones_like(statistics.std) if recipe.input == "zerocenter" else statistics.std
    positions = None
    if recipe.sampling.balance or recipe.loss.class_weights != "none":
        positions = find_class_positions(train_scenes, len(dataset.classes), seed)
        if not positions.share.any():
            raise InputError(f"{dataset.path}: the training scenes hold no labelled pixel; check classes and 'ignore'")
    spec = ModelSpec(
        schema=1,
        name=dataset.name,
        network=recipe.network,
        bands=dataset.bands,
        classes=dataset.classes,
        normalization=Normalization(
            mean=tuple(statistics.mean.tolist()),
            std=tuple(std.tolist()),
            logarithm=recipe.input == "log" and bool((statistics.mean > 0).all()),
        ),
        patch_size=recipe.patch_size,
    )
    return Run(
        dataset,
        recipe,
        seed,
        train_scenes,
        hold_in_memory(dataset.scenes("val", reach)),
        PatchStream(
            PatchSource(train_scenes, recipe.patch_size, seed, recipe.sampling, positions),
            recipe.augmentation,
            statistics,
        ),
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
        },
    )


def build_trainer(run: Run, strategy: tf.distribute.Strategy, precision: ComputePrecision) -> Trainer:
    """The network with fresh weights, its optimizer and loss, ready to take steps under `strategy`."""
    with strategy.scope(), computing_in(precision):
        return make_trainer(run, run.spec.build(), strategy, precision)


def make_trainer(
    run: Run,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    precision: ComputePrecision,
    factors: VariableFactors | None = None,
    memory: Memory | None = None,
    decided: np.ndarray | None = None,
) -> Trainer:
    """What takes steps with `model`, which was built under `strategy`; labels decide among `decided`, (K,) bool."""
    recipe = run.recipe
    share = run.positions.share if run.positions else np.ones(len(run.dataset.classes))
    factors = factors or VariableFactors.usual(model.trainable_variables)
    with strategy.scope():
        rate = LearningRate(recipe.schedule, run.total_steps, run.steps_per_epoch)
        optimizer = make_optimizer(recipe.optimizer, rate, recipe.average, factors.rate)
        if precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = make_loss(recipe.loss, class_weights(recipe.loss, share), decided)
    return Trainer(model, optimizer, loss, recipe.optimizer, strategy, factors, memory)
