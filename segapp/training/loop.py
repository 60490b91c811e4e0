"""The training loop: the same for one device and for several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.training.losses import Distillation, Loss
from segapp.training.optimizers import VariableFactors, regularise_and_clip
from segapp.training.recipe import OptimizerConfig


@dataclass(frozen=True)
class StepResult:
    """What one step gives, as tensors that need not be computed yet: the loss and the share of right pixels."""

    loss: tf.Tensor
    accuracy: tf.Tensor


class Trainer:
    """Takes steps with a network under a strategy.

    Gradients are summed over the replicas, then regularised and clipped, then applied, so that several replicas do
    what one would do with the same global batch.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        loss: Loss,
        config: OptimizerConfig,
        strategy: tf.distribute.Strategy,
        factors: VariableFactors | None = None,
        distillation: Distillation | None = None,
        compiled: bool = False,
    ) -> None:
        """`distillation`, where given, is added to the loss; `compiled` has XLA compile the gradients, where it can."""
        self.model, self.optimizer, self.strategy = model, optimizer, strategy
        self._loss, self._config, self._distillation = loss, config, distillation
        self._factors = factors or VariableFactors.usual(model.trainable_variables)
        with strategy.scope():
            model.optimizer = optimizer
            optimizer.build(model.trainable_variables)
        self._logits = keras.Model(model.inputs, model.get_layer("softmax").input)
        self._random_states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
        averages = getattr(optimizer, "inner_optimizer", optimizer).use_ema  # float16 wraps it to scale the loss
        self._average = keras.callbacks.SwapEMAWeights() if averages else None
        if self._average:
            self._average.set_model(model)
        self._use(compiled)

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that moves while training: weights, statistics, random state, the optimizer's state."""
        return [*self.model.variables, *self.optimizer.variables]

    def step(self, images: tf.Tensor, labels: tf.Tensor) -> StepResult:
        """Take one step on this worker's batch, (batch, size, size, C) and (batch, size, size), split over its replicas
        in order."""
        try:
            return StepResult(*self._distributed_step(images, labels))
        except tf.errors.OpError:
            if not self._compiled:
                raise
            self._use(compiled=False)  # XLA lacks an operator or a tool of CUDA's; nothing has changed yet
            return StepResult(*self._distributed_step(images, labels))

    def _use(self, compiled: bool) -> None:
        self._compiled = compiled
        self._gradients = tf.function(self._gradients_of, jit_compile=True) if compiled else self._gradients_of
        self._distributed_step = tf.function(self._step)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.learning_rate)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the model holds the moving average of its weights, where one is kept."""
        if self._average is None:
            yield
            return
        self._average.on_test_begin()
        try:
            yield
        finally:
            self._average.on_test_end()

    @contextmanager
    def _random_numbers_of_its_own(self) -> Iterator[None]:
        """Inside, a replica drops out otherwise than its neighbours; before and after, all hold the same state."""
        replica = tf.distribute.get_replica_context()
        states = self._random_states if replica.num_replicas_in_sync > 1 else []
        for state in states:
            state.assign(state + tf.stack([tf.cast(replica.replica_id_in_sync_group, state.dtype), 0]))
        yield
        for state in states:
            state.assign(state - tf.stack([tf.cast(replica.replica_id_in_sync_group, state.dtype), 0]))

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, right, counted = self.strategy.run(self._replica_step, (images, labels))
        reduce = self.strategy.reduce
        right, counted = (reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in (right, counted))
        return reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None), right / tf.maximum(counted, 1.0)

    def _part(self, values: tf.Tensor) -> tf.Tensor:
        """The part of the worker's batch that this replica takes."""
        here = len(self.strategy.extended.worker_devices)
        if here == 1:
            return values
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        with tf.device("CPU:0"):  # so that no device gets more than its part
            return tf.reshape(values, (here, -1, *values.shape[1:]))[number % here]

    def _replica_step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, labels = (self._part(values) for values in (images, labels))
        variables = self.model.trainable_variables
        scale = self.optimizer.scale_loss(tf.ones(()))
        with self._random_numbers_of_its_own():
            gradients, loss, right, counted = self._gradients(images, labels, scale)
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        if replicas > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients = regularise_and_clip(gradients, variables, self._factors, self._config, scale)
        if replicas > 1:  # Keras sums over the replicas once more
            gradients = [gradient / replicas for gradient in gradients]
        # A step that cannot be compiled must not count: nothing moves before its gradients are there.
        with tf.control_dependencies(gradients if self._compiled else []):
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, right, counted

    def _gradients_of(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        """The gradients of the loss times `scale`, the loss, and how many pixels are right and how many are counted."""
        with tf.GradientTape() as tape:
            logits = self._logits(images, training=True)
            loss = self._loss(logits, labels)
            if self._distillation is not None:
                loss += self._distillation(images, labels, logits)
            scaled = loss * scale
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        counted = tf.cast(labels != IGNORED_INDEX, tf.float32)
        predicted = tf.cast(tf.argmax(logits, -1), tf.uint8)
        right = tf.reduce_sum(tf.cast(predicted == labels, tf.float32))
        return gradients, loss, right, tf.reduce_sum(counted)
