"""A step that XLA is to compile, and cannot, is taken as it is."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.training.devices import make_repeatable, make_strategy
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig

SIZE, BANDS, CLASSES = 16, 2, 3


def _weights_after_steps(compiled: bool) -> list[np.ndarray]:
    make_repeatable(0)  # of what is repeatable to the bit, XLA compiles no network with poolings
    strategy, config = make_strategy(), OptimizerConfig(clip=1.0)
    with strategy.scope():
        model = unet(BANDS, CLASSES, UNetConfig(depth=2, filters=4, dropout=0.5), size=(SIZE, SIZE))
        optimizer = make_optimizer(config, LearningRate(ScheduleConfig(), 10, 10), 0.9)
    loss = make_loss(LossConfig(dice=1), np.ones(CLASSES, np.float32))
    trainer = Trainer(model, optimizer, loss, config, strategy, compiled=compiled)
    rng = np.random.default_rng(0)
    for _ in range(3):
        images = tf.constant(rng.random((2, SIZE, SIZE, BANDS), np.float32))
        trainer.step(images, tf.constant(rng.integers(0, CLASSES, (2, SIZE, SIZE), np.uint8)))
    return [np.array(variable) for variable in trainer.variables]


def test_where_xla_cannot_compile_a_training_goes_on_without() -> None:
    for ours, theirs in zip(_weights_after_steps(compiled=True), _weights_after_steps(compiled=False), strict=True):
        np.testing.assert_array_equal(ours, theirs)
