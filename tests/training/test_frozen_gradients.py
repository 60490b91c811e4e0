"""A step computes no gradient that nothing takes: counted in the graph that runs."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from segapp.nets.config import UNetConfig
from segapp.nets.graph import calls
from segapp.nets.unet import unet
from segapp.training.devices import make_strategy
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.layer_settings import LayerFactors
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig

SIZE, BANDS, CLASSES = 16, 2, 3


def _network_and_its_step(pattern: str) -> tuple[keras.Model, list[tf.Operation]]:
    """A network of which only the layers that fit `pattern` are trainable, and the operations that a step runs."""
    strategy, config = make_strategy(), OptimizerConfig(clip=1.0)
    with strategy.scope():
        model = unet(BANDS, CLASSES, UNetConfig(depth=2, filters=4), size=(SIZE, SIZE))
        factors = freeze(model, assign_layer_settings(model, {pattern: LayerFactors()}, otherwise="frozen"))
        optimizer = make_optimizer(config, LearningRate(ScheduleConfig(), 10, 10), 0.9, factors.rate)
    plain, graphs = make_loss(LossConfig(dice=1), np.ones(CLASSES, np.float32)), []

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        graphs.append(tf.compat.v1.get_default_graph())  # the step's own, while it is traced
        return plain(logits, labels)

    trainer = Trainer(model, optimizer, loss, config, strategy, factors)
    trainer.step(tf.zeros((2, SIZE, SIZE, BANDS)), tf.zeros((2, SIZE, SIZE), tf.uint8))
    waiting = [tensor.op for tensor in graphs[-1].outputs] + list(graphs[-1].control_outputs)
    found: dict[str, tf.Operation] = {}
    while waiting:  # what no output asks for is traced, but TensorFlow does not run it
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return model, list(found.values())


def _layer_of(operation: tf.Operation, layers: set[str]) -> str:
    """The one of `layers` that an operation belongs to; Keras may append a number to its name."""
    parts = {part for name in operation.name.split("/") for part in (name, re.sub(r"_\d+$", "", name))}
    return next(iter(parts & layers))


def _downstream_of(model: keras.Model, layers: set[str]) -> set[str]:
    """The layers that see what one of `layers` makes."""
    made, found = set(), set()
    for call in calls(model):
        if made.intersection(call.inputs):
            found.add(call.operation.name)
        if call.operation.name in layers or made.intersection(call.inputs):
            made.add(call.output)
    return found


@pytest.mark.parametrize("pattern", ["head", "decoder_stage_*", "encoder_stage_2_conv_1", "*"])
def test_gradients_end_at_the_lowest_trainable_layer(pattern: str) -> None:
    model, running = _network_and_its_step(pattern)
    convolutions = {layer.name for layer in model.layers if "kernel" in [w.name for w in layer.weights]}
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trained
    backward = [op for op in running if "gradient_tape" in op.name]
    of_kernels = {_layer_of(op, convolutions) for op in backward if op.type == "Conv2DBackpropFilter"}
    assert of_kernels == trained
    of_inputs = {_layer_of(op, convolutions) for op in backward if op.type in ("Conv2DBackpropInput", "Conv2D")}
    assert of_inputs == _downstream_of(model, trained) & convolutions
