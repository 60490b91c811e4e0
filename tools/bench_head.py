"""Time a fitted head against gradient steps on the head: models/unet6 to the water mask on water12's transfer places.

    python tools/bench_head.py [--steps 300] [--pixels 20000] [--seed 0]

Both work on the same frozen body, favour rare classes as the strategy `head` does, and are scored on the same
validation scenes in the same run. The fit's time holds all it needs: finding the classes' pixels, the feature passes,
the search for the penalty. The steps' time holds the batches and the steps (AdamW, 8 patches of 128 pixels, a random
head), without tracing and without validation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import segapp
from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import read_dataset
from segapp.data.statistics import band_statistics
from segapp.inference.predictor import Predictor
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.patches.augmentation import Augmentation
from segapp.patches.memory import hold_in_memory
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource, find_class_positions
from segapp.scenes.scene import Scene
from segapp.training.validation import validate_on
from segapp.transfer.features import sample_features
from segapp.transfer.head import FittedHead, choose_penalty
from segapp.transfer.strategy import read_strategy

BASE = Path(__file__).parents[1] / "models" / "unet6"
DATA = Path(__file__).parent / "datasets" / "water12_water.toml"
RATES = (1e-3, 1e-2, 1e-1)
BATCH, PATCH = 8, 128


def with_new_head(base: keras.Model, classes: int) -> keras.Model:
    """The base's frozen body under a random head for other classes."""
    features = base.get_layer(base.spec.head).input
    logits = keras.layers.Conv2D(classes, 1, kernel_initializer="he_normal", dtype="float32", name="head")(features)
    model = keras.Model(base.inputs, keras.layers.Softmax(dtype="float32", name="softmax")(logits))
    for layer in model.layers:
        layer.trainable = layer.name == "head"
    return model


def fit(
    model: keras.Model,
    train: Sequence[Scene],
    val: Sequence[Scene],
    classes: int,
    pixels: int,
    balance: float,
    seed: int,
) -> tuple[FittedHead, float, float]:
    """Fit the head and set it; the head, and the seconds of the feature passes and of the search."""
    started = time.perf_counter()
    samples = [
        sample_features(model, "head", scenes, find_class_positions(scenes, classes, seed), pixels, balance, seed)
        for scenes in (train, val)
    ]
    sampled = time.perf_counter()
    dimensions = samples[0][0].shape[1]
    found = choose_penalty(*samples[0], np.zeros((dimensions, classes)), np.zeros(classes), *samples[1])
    model.get_layer("head").set_weights([found.weights[np.newaxis, np.newaxis], found.bias])
    return found, sampled - started, time.perf_counter() - sampled


def take_steps(model: keras.Model, stream: PatchStream, steps: int, rate: float, seed: int) -> float:
    """Train the head from random weights; the seconds from the first batch to the last step."""
    head = model.get_layer("head")
    keras.utils.set_random_seed(seed)
    start = [keras.initializers.HeNormal(seed)(head.kernel.shape), np.zeros(head.bias.shape)]
    optimizer = keras.optimizers.AdamW(rate)
    optimizer.build(head.trainable_variables)
    network = keras.Model(model.inputs, model.get_layer("softmax").input)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = network(images, training=False)
            counted = tf.cast(labels != IGNORED_INDEX, tf.float32)
            right = tf.where(labels != IGNORED_INDEX, tf.cast(labels, tf.int32), 0)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits)
            loss = tf.reduce_sum(losses * counted) / tf.reduce_sum(counted)
        optimizer.apply(tape.gradient(loss, head.trainable_variables), head.trainable_variables)

    step(*next(iter(stream.batches(BATCH))))  # traces
    head.set_weights(start)
    for variable in optimizer.variables[2:]:  # all but the step count and the rate
        variable.assign(tf.zeros_like(variable))
    optimizer.iterations.assign(0)
    started = time.perf_counter()
    for images, labels in stream.batches(BATCH).take(steps):
        step(images, labels)
    head.get_weights()  # waits for the last step
    return time.perf_counter() - started


@click.command()
@click.option("--steps", default=300, show_default=True)
@click.option("--pixels", default=20_000, show_default=True, help="Training pixels, and as many for validation.")
@click.option("--seed", default=0, show_default=True)
def main(steps: int, pixels: int, seed: int) -> None:
    """Fit, take steps at three rates, print a line each and the ratio of the times."""
    dataset = read_dataset(DATA)
    train, val = (hold_in_memory(dataset.scenes(role)) for role in ("train", "val"))
    classes = len(dataset.classes)
    base = segapp.load(BASE)
    model = with_new_head(base, classes)
    predictor = Predictor(TensorFlowEngine(model))
    table = Table(title=f"validation on {len(val)} scenes, {len(train)} to train on, {steps} steps")
    for column in ("head", "seconds", "mean IoU", "cross entropy"):
        table.add_column(column, justify="right")

    def score(name: str, seconds: float) -> float:
        result = validate_on(predictor, val, dataset.classes)
        table.add_row(name, f"{seconds:.2f}", f"{result.matrix.mean_iou:.4f}", f"{result.loss:.4f}")
        return float(result.matrix.mean_iou)

    sampling = read_strategy("head").sampling
    found, passes, search = fit(model, train, val, classes, pixels, sampling.balance, seed)
    fitted = score(f"fitted, penalty {found.penalty:g}", passes + search)
    source = PatchSource(train, PATCH, seed, sampling, find_class_positions(train, classes, seed))
    stream = PatchStream(source, Augmentation(), band_statistics(train))
    by_rate = []
    for rate in RATES:
        seconds = take_steps(model, stream, steps, rate, seed)
        by_rate.append((score(f"{steps} steps at {rate:g}", seconds), seconds))
    best, seconds = max(by_rate)
    console = Console(width=100)
    console.print(table)
    console.print(f"feature passes {passes:.2f} s, penalty search {search:.2f} s over {len(found.tried)} penalties")
    console.print(
        f"fitted against the best rate: {fitted - best:+.4f} mean IoU, {(passes + search) / seconds:.3f} of its time"
    )


if __name__ == "__main__":
    main()
