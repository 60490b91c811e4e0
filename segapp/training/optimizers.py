"""Optimizers, learning-rate schedules, coupled L2 and gradient clipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from segapp.training.recipe import OptimizerConfig, ScheduleConfig


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of a `ScheduleConfig` at each step: linear warm-up, then constant, piecewise or cosine.

    The optimizer's first step is step `first` of the training.
    """

    def __init__(self, config: ScheduleConfig, total_steps: int, steps_per_epoch: int, first: int = 0) -> None:
        self.config = config
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.first = first

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        config = self.config
        step = tf.cast(step, tf.float32) + self.first
        warmup = config.warmup * self.total_steps
        if config.name == "cosine":
            progress = (step - warmup) / max(1.0, self.total_steps - warmup)
            factor = 0.5 * (1 + tf.cos(3.141592653589793 * tf.clip_by_value(progress, 0.0, 1.0)))
        elif config.name == "piecewise":
            drops = tf.floor(step / (config.drop_epochs * self.steps_per_epoch))
            factor = tf.pow(config.drop_factor, drops)
        else:
            factor = tf.ones_like(step)
        rising = (step + 1) / max(1.0, warmup)
        return config.rate * tf.where(step < warmup, rising, factor)

    def get_config(self) -> dict[str, object]:
        """The schedule's arguments, as Keras wants them for saving."""
        return {
            "config": self.config,
            "total_steps": self.total_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "first": self.first,
        }


@dataclass(frozen=True)
class VariableFactors:
    """How each of a network's trainable variables is treated, in their order: factors of the learning rate (and with
    it of decoupled decay), and of the coupled L2 penalty."""

    rate: tuple[float, ...]
    l2: tuple[float, ...]

    @classmethod
    def usual(cls, variables: Sequence[keras.Variable]) -> VariableFactors:
        """All at the same rate; kernels are pulled by L2, biases are not, as in MATLAB."""
        return cls((1.0,) * len(variables), tuple(float(variable.name == "kernel") for variable in variables))


class _RateFactors:
    """Gives a Keras optimizer a factor of the learning rate for each variable.

    Gradients cannot be scaled instead: Adam divides the scale out again. Keras' decoupled decay has a path of its own
    that knows one rate only, so it is done here.
    """

    rate_factors: tuple[float, ...] = ()

    def rate_of(self, variable: tf.Variable, learning_rate: tf.Tensor) -> tf.Tensor:
        """The variable's own learning rate."""
        factor = self.rate_factors[self._get_variable_index(variable)] if self.rate_factors else 1.0  # type: ignore[attr-defined]
        return learning_rate if factor == 1 else learning_rate * factor

    def decay(self, variable: tf.Variable, rate: tf.Tensor) -> None:
        """Take decoupled decay's step, where the variable has decay."""
        if self.weight_decay is not None and self._use_weight_decay(variable):  # type: ignore[attr-defined]
            variable.assign_sub(variable * (self.weight_decay * rate))  # type: ignore[attr-defined]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Done in `update_step`."""

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        """As in Keras, with the step's weight worked out once, not for each variable."""
        weight = tf.where(tf.equal(self.iterations, 0), 1.0, 1.0 - self.ema_momentum)  # type: ignore[attr-defined]
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):  # type: ignore[attr-defined]
            average.assign_sub(weight * (average - variable))


class FactoredSGD(_RateFactors, keras.optimizers.SGD):
    """SGD with momentum and rate factors."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Take one variable's step."""
        rate = self.rate_of(variable, learning_rate)
        self.decay(variable, rate)
        super().update_step(gradient, variable, rate)


class FactoredAdam(_RateFactors, keras.optimizers.Adam):
    """Adam with rate factors; AdamW where it has weight decay.

    TensorFlow's own kernel takes a variable's step at once. Keras takes a dozen for it, and works out the powers of
    beta anew for each variable: on a GPU that was two thirds of what a step of a small network launches.
    """

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable], learning_rate: tf.Tensor
    ) -> None:
        step = tf.cast(self.iterations + 1, tf.float32)
        powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        super()._backend_update_step(grads, trainable_variables, (learning_rate, *powers))

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tuple[tf.Tensor, ...]) -> None:
        """Take one variable's step; `learning_rate` holds the rate and the powers of both betas."""
        learning_rate, first, second = learning_rate
        rate = self.rate_of(variable, learning_rate)
        self.decay(variable, rate)
        number = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[number].value.handle,
            v=self._velocities[number].value.handle,
            beta1_power=first,
            beta2_power=second,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def make_optimizer(
    config: OptimizerConfig, rate: LearningRate, average: float, rate_factors: Sequence[float] = ()
) -> keras.Optimizer:
    """The Keras optimizer; with `average` above 0 it keeps an exponential moving average of the weights.

    `rate_factors` holds one factor of the rate for each variable it will be built for; left out, all are 1. Decoupled
    decay leaves biases and normalisation parameters alone.
    """
    ema = {"use_ema": average > 0, "ema_momentum": average or 0.99}
    if config.name == "sgdm":
        optimizer = FactoredSGD(rate, momentum=config.momentum, weight_decay=config.decay or None, **ema)
    else:
        optimizer = FactoredAdam(rate, weight_decay=config.decay or None, **ema)
    optimizer.rate_factors = tuple(rate_factors)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def regularise_and_clip(
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    factors: VariableFactors,
    config: OptimizerConfig,
    loss_scale: tf.Tensor,
) -> list[tf.Tensor]:
    """Add the gradient of the coupled L2 penalty, then clip: MATLAB's order.

    `gradients` are those of the loss times `loss_scale` (1 unless float16 needs more), already summed over replicas.
    """
    if config.l2:
        gradients = [
            gradient + loss_scale * config.l2 * factor * tf.convert_to_tensor(variable) if factor else gradient
            for gradient, variable, factor in zip(gradients, variables, factors.l2, strict=True)
        ]
    if config.clip is None:
        return list(gradients)
    limit = loss_scale * config.clip
    if config.clip_by == "global":
        return list(tf.clip_by_global_norm(gradients, limit)[0])
    return [tf.clip_by_norm(gradient, limit) for gradient in gradients]
