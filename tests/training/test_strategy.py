"""Several devices train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# Logical devices must be made before TensorFlow starts, hence a process of its own.
_CURVES = """
import json, sys
import keras, numpy as np, tensorflow as tf
from segapp.training.devices import make_repeatable, make_strategy
two = make_strategy("cpu:2")
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource
from segapp.data.statistics import band_statistics
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig
from tests.toy import ToyScene

rng = np.random.default_rng(0)
labels = np.kron(rng.integers(3, size=(8, 8)), np.ones((16, 16), int)).astype(np.uint8)
labels[:40, :40] = 255  # replicas see different numbers of labelled pixels
scene = ToyScene(rng.normal(size=(128, 128, 3)) + labels[..., None] % 3, labels)
stream = PatchStream(PatchSource([scene], 32, 0), Augmentation(), band_statistics([scene]))
config = OptimizerConfig(name="sgdm", momentum=0.9, l2=1e-4, decay=1e-3, clip=0.05, clip_by="parameter")

def curve(strategy):
    make_repeatable(0)
    with strategy.scope():
        model = unet(3, 3, UNetConfig(depth=2, filters=4, dropout=0, batch_norm=True))
        rates = tuple(1.0 + number % 3 for number, _ in enumerate(model.trainable_variables))
        factors = VariableFactors(rates, rates)
        rate = LearningRate(ScheduleConfig(name="constant", rate=0.015), 20, 20)
        optimizer = make_optimizer(config, rate, 0.9, factors.rate)
    loss = make_loss(LossConfig(dice=1), np.ones(3, np.float32))
    trainer = Trainer(model, optimizer, loss, config, strategy, factors)
    batches = iter(stream.batches(8))
    losses = [float(trainer.step(*next(batches)).loss) for _ in range(20)]
    with trainer.averaged_weights():
        averaged = float(np.abs(model.get_layer("bridge_conv_1").kernel.numpy()).sum())
    return losses, averaged

def dropped_out():
    # What each replica makes of the same patch in two steps, and the random states that they leave.
    make_repeatable(0)
    with two.scope():
        model = unet(1, 2, UNetConfig(depth=1, filters=4, dropout=0.5))
        optimizer = make_optimizer(config, LearningRate(ScheduleConfig(), 10, 10), 0)
    made = []
    def note(total):
        made.append(float(total))
        return np.float32(0)
    def watch(images, labels, logits):
        return tf.numpy_function(note, [tf.reduce_sum(logits)], tf.float32)
    loss = make_loss(LossConfig(), np.ones(2, np.float32))
    trainer = Trainer(model, optimizer, loss, config, two, distillation=watch)
    for _ in range(2):
        trainer.step(tf.ones((2, 8, 8, 1)), tf.zeros((2, 8, 8), tf.uint8))
    states = [variable.value.values for variable in model.variables if "seed_generator" in variable.path]
    return made, [[replica.numpy().tolist() for replica in state] for state in states]

json.dump({"one": curve(make_strategy("cpu:1")), "two": curve(two), "dropout": dropped_out()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def curves() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CURVES],
        # Sums are rounded by how many threads share them: the same everywhere.
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_devices_give_the_loss_curve_of_one(curves: dict[str, Any]) -> None:
    """Same global batch, dropout off; clipping by parameter, batch norm, rate factors and decay; 20 steps, 1e-4."""
    one, two = curves["one"], curves["two"]
    assert one[0][-1] < 0.9 * one[0][0]
    assert two[0] == pytest.approx(one[0], rel=1e-4)
    assert two[1] == pytest.approx(one[1], rel=1e-4)


def test_devices_drop_out_each_for_itself_and_leave_one_state(curves: dict[str, Any]) -> None:
    """So that a checkpoint holds the state of all."""
    made, states = curves["dropout"]
    assert len(set(made)) == 4
    assert len(states) == 2 and all(one == other and one[1] == 2 for one, other in states)
