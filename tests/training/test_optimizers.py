"""Schedules, coupled L2 and clipping do what MATLAB's options of the same names do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer, regularise_and_clip
from segapp.training.recipe import OptimizerConfig, ScheduleConfig


def _rates(steps: list[int], **settings: object) -> list[float]:
    schedule = LearningRate(ScheduleConfig(rate=0.5, **settings), total_steps=100, steps_per_epoch=10)  # type: ignore[arg-type]
    return [float(schedule(tf.constant(step))) for step in steps]


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    assert _rates([0, 4, 9, 10, 99], name="constant", warmup=0.1) == pytest.approx([0.05, 0.25, 0.5, 0.5, 0.5])


def test_a_piecewise_rate_drops_every_so_many_epochs() -> None:
    rates = _rates([0, 19, 20, 39, 40], name="piecewise", drop_epochs=2, drop_factor=0.1)
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_a_cosine_rate_falls_to_nothing() -> None:
    assert _rates([0, 50, 100], name="cosine") == pytest.approx([0.5, 0.25, 0.0], abs=1e-7)


def _variables() -> tuple[list[keras.Variable], list[tf.Tensor]]:
    kernel = keras.Variable(np.full((2, 2), 3.0, np.float32), name="kernel")
    bias = keras.Variable(np.full(2, 3.0, np.float32), name="bias")
    return [kernel, bias], [tf.fill((2, 2), 4.0), tf.fill((2,), 4.0)]


def test_l2_pulls_kernels_and_leaves_biases() -> None:
    variables, gradients = _variables()
    config = OptimizerConfig(l2=0.1)
    kernel, bias = regularise_and_clip(gradients, variables, VariableFactors.usual(variables), config, tf.ones(()))
    np.testing.assert_allclose(kernel, 4 + 0.1 * 3)
    np.testing.assert_allclose(bias, 4)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_clipping_by_parameter_bounds_each_after_l2(scale: float) -> None:
    variables, gradients = _variables()
    config = OptimizerConfig(l2=0.1, clip=0.05, clip_by="parameter")
    clipped = regularise_and_clip(
        [g * scale for g in gradients], variables, VariableFactors.usual(variables), config, tf.constant(scale)
    )
    for gradient in clipped:
        assert np.linalg.norm(gradient) / scale == pytest.approx(0.05, rel=1e-5)


def test_clipping_by_all_keeps_the_direction() -> None:
    variables, gradients = _variables()
    kernel, bias = regularise_and_clip(
        gradients, variables, VariableFactors.usual(variables), OptimizerConfig(clip=1.0), tf.ones(())
    )
    assert np.sqrt(np.sum(kernel**2) + np.sum(bias**2)) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(kernel[0, 0], bias[0])


def test_small_gradients_are_not_clipped() -> None:
    variables, gradients = _variables()
    for by in ("parameter", "global"):
        clipped = regularise_and_clip(
            gradients, variables, VariableFactors.usual(variables), OptimizerConfig(clip=100, clip_by=by), tf.ones(())
        )  # type: ignore[arg-type]
        np.testing.assert_array_equal(clipped[0], gradients[0])


def test_sgdm_steps_as_matlab_documents() -> None:
    variables, _ = _variables()
    schedule = LearningRate(ScheduleConfig(name="constant", rate=0.1), 10, 10)
    optimizer = make_optimizer(OptimizerConfig(name="sgdm", momentum=0.9), schedule, average=0)
    optimizer.build(variables)
    weight, velocity = 3.0, 0.0
    for gradient in (4.0, -1.0, 2.0):
        optimizer.apply([tf.fill((2, 2), gradient), tf.fill((2,), gradient)], variables)
        velocity = 0.9 * velocity - 0.1 * gradient
        weight += velocity
    np.testing.assert_allclose(variables[0].numpy(), weight, rtol=1e-6)


def test_decoupled_decay_leaves_biases() -> None:
    variables, _ = _variables()
    schedule = LearningRate(ScheduleConfig(name="constant", rate=0.1), 10, 10)
    optimizer = make_optimizer(OptimizerConfig(name="adamw", decay=0.5), schedule, average=0)
    optimizer.build(variables)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros((2,))], variables)
    np.testing.assert_allclose(variables[0].numpy(), 3 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_allclose(variables[1].numpy(), 3)


def test_a_bias_is_pulled_by_l2_if_its_factor_says_so() -> None:
    variables, gradients = _variables()
    factors = VariableFactors(rate=(1, 1), l2=(0, 0.5))
    kernel, bias = regularise_and_clip(gradients, variables, factors, OptimizerConfig(l2=0.1), tf.ones(()))
    np.testing.assert_allclose(kernel, 4)
    np.testing.assert_allclose(bias, 4 + 0.5 * 0.1 * 3)


@pytest.mark.parametrize("name", ["sgdm", "adam", "adamw"])
def test_a_rate_factor_equals_a_rate_of_its_own(name: str) -> None:
    """Kernel at a tenth of the rate, bias at twice: as one optimizer for each, decoupled decay included."""

    def after(rate: float, factors: tuple[float, ...]) -> list[np.ndarray]:
        variables, _ = _variables()
        schedule = LearningRate(ScheduleConfig(name="constant", rate=rate), 10, 10)
        optimizer = make_optimizer(OptimizerConfig(name=name, decay=0.5), schedule, 0, factors)  # type: ignore[arg-type]
        optimizer.build(variables)
        for gradient in (4.0, -1.0, 2.0):
            optimizer.apply([tf.fill((2, 2), gradient), tf.fill((2,), gradient)], variables)
        return [variable.numpy() for variable in variables]

    kernel, bias = after(0.1, (0.1, 2))
    np.testing.assert_allclose(kernel, after(0.01, ())[0], rtol=1e-6)
    np.testing.assert_allclose(bias, after(0.2, ())[1], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_steps_and_averages_as_kerass_own(decay: float) -> None:
    ours, theirs = _variables()[0], _variables()[0]
    config = OptimizerConfig(name="adamw", decay=decay)
    rate = LearningRate(ScheduleConfig(name="constant", rate=0.01), total_steps=100, steps_per_epoch=10)
    mine = make_optimizer(config, rate, average=0.9)
    keras_own = keras.optimizers.Adam(0.01, weight_decay=decay or None, use_ema=True, ema_momentum=0.9)
    keras_own.exclude_from_weight_decay(var_names=["bias"])
    rng = np.random.default_rng(0)
    for _ in range(10):
        gradients = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in ours]
        mine.apply_gradients(zip(gradients, ours, strict=True))
        keras_own.apply_gradients(zip(gradients, theirs, strict=True))
        states = ([variable for variable in own.variables if len(variable.shape)] for own in (mine, keras_own))
        for one, other in zip([*ours, *next(states)], [*theirs, *next(states)], strict=True):
            np.testing.assert_allclose(np.array(one), np.array(other), rtol=2e-5, atol=1e-8)
