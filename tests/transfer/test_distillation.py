"""What the base says is kept where labels do not speak; they decide among the classes that they show."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from segapp.classes import IGNORED_INDEX
from segapp.transfer.distillation import distil, uncertainty_weights

RNG = np.random.default_rng(0)
TOLD, SAID = (2 * RNG.normal(size=(2, 5, 6, 5)).astype(np.float32) for _ in range(2))
CARRIED = np.array([True, True, False, True, True])
SHOWN = np.array([True, False, True, True, False])
"""Classes 0 and 3 are the base's and present, 1 and 4 the base's and not present, 2 is new."""
NONE = np.zeros(5)
LABELS = RNG.choice([0, 2, 3, IGNORED_INDEX], size=(2, 5, 6)).astype(np.uint8)


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    """A network whose logits are its image, where that is valid."""
    image = keras.Input((None, None, 5))
    return keras.Model(image, keras.layers.Softmax(name="softmax")(keras.ops.nan_to_num(image)))


def _loss(
    teacher: keras.Model,
    said: np.ndarray | tf.Variable = SAID,
    told: np.ndarray = TOLD,
    labels: np.ndarray = LABELS,
    weight: float = 1.0,
    uncertainty: np.ndarray = NONE,
) -> tf.Tensor:
    return distil(teacher, CARRIED, SHOWN, weight, uncertainty)(
        tf.constant(told), tf.constant(labels), tf.convert_to_tensor(said)
    )


def _divergence(told: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Of each pixel, over the classes that carry over."""
    return entropy(softmax(told[..., CARRIED], -1), softmax(said[..., CARRIED], -1), axis=-1)


def _divergence_where_labelled(told: np.ndarray, said: np.ndarray) -> np.ndarray:
    """The same, with the classes that labels show as one."""
    parts = []
    for logits in (told, said):
        probability = softmax(logits[..., CARRIED].astype(np.float64), -1)
        parts.append(np.stack([probability[..., [0, 2]].sum(-1), probability[..., 1], probability[..., 3]], -1))
    return entropy(*parts, axis=-1)


def test_unlabelled_pixels_keep_the_divergence_of_every_class_that_carries_over(teacher: keras.Model) -> None:
    nothing = np.full_like(LABELS, IGNORED_INDEX)
    assert float(_loss(teacher, labels=nothing)) == pytest.approx(_divergence(TOLD, SAID).mean(), rel=1e-5)
    assert float(_loss(teacher, labels=nothing, weight=3)) == pytest.approx(3 * _divergence(TOLD, SAID).mean(), 1e-5)


def test_where_there_is_a_label_the_shown_classes_count_together_and_each_unseen_by_itself(
    teacher: keras.Model,
) -> None:
    everywhere = np.where(LABELS == IGNORED_INDEX, 0, LABELS).astype(np.uint8)
    expected = _divergence_where_labelled(TOLD, SAID)
    assert float(_loss(teacher, labels=everywhere)) == pytest.approx(expected.mean(), rel=1e-5)
    mixed = np.where(LABELS == IGNORED_INDEX, _divergence(TOLD, SAID), expected)
    assert float(_loss(teacher)) == pytest.approx(mixed.mean(), rel=1e-5)


def test_labels_are_free_to_say_which_of_the_shown_classes_it_is(teacher: keras.Model) -> None:
    """Probability moves from class 0 to 3, both present: nothing is forgotten."""
    said = TOLD.copy()
    shares = softmax(TOLD[..., [0, 3]], -1)
    together = np.log(np.exp(TOLD[..., 0]) + np.exp(TOLD[..., 3]))
    said[..., 0], said[..., 3] = together + np.log(shares[..., 1]), together + np.log(shares[..., 0])
    labels = np.zeros_like(LABELS)
    assert float(_loss(teacher, said, labels=labels)) == pytest.approx(0, abs=1e-6)
    assert float(_loss(teacher, said, labels=np.full_like(LABELS, IGNORED_INDEX))) > 0.1


def test_a_doubted_class_is_held_to_the_bases_word_on_it_everywhere(teacher: keras.Model) -> None:
    plain, doubtful = (
        float(_loss(teacher)),
        float(_loss(teacher, uncertainty=np.array([0, 0, 7.0, 0.5, 0]))),
    )
    told, said = (softmax(logits[..., CARRIED].astype(np.float64), -1)[..., 2] for logits in (TOLD, SAID))
    expected = entropy(*(np.stack([p, 1 - p], -1) for p in (told, said)), axis=-1).mean()
    assert doubtful - plain == pytest.approx(0.5 * expected, rel=1e-4)


def test_a_class_is_doubted_the_more_the_fewer_its_labels_and_not_where_it_has_none() -> None:
    assert (np.diff(uncertainty_weights(np.array([1, 10_000, 100_000, 10**9]))) < 0).all()
    assert uncertainty_weights(np.array([0, 20 * 64 * 64])).tolist() == [0, 1]


def test_nothing_is_lost_where_the_network_says_what_the_base_does(teacher: keras.Model) -> None:
    said = TOLD + RNG.normal(size=(2, 5, 6, 1)).astype(np.float32)  # logits have no absolute level
    said[..., 2] = 9  # nor has the base a word on the new class
    assert float(_loss(teacher, said, uncertainty=np.ones(5))) == pytest.approx(0, abs=1e-6)


def test_an_unseen_class_that_was_lowered_is_pulled_back_up(teacher: keras.Model) -> None:
    lowered = TOLD.copy()
    lowered[..., 1] -= 3
    logits = tf.Variable(lowered)
    with tf.GradientTape() as tape:
        loss = _loss(teacher, logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[..., 1] < 0).all() and (gradient[..., [0, 3, 4]] > 0).all() and not gradient[..., 2].any()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-7)


def test_invalid_pixels_do_not_count_and_send_no_gradient(teacher: keras.Model) -> None:
    told, said = TOLD.copy(), SAID.copy()
    told[:, 2:] = np.nan
    logits = tf.Variable(said)
    with tf.GradientTape() as tape:
        loss = _loss(teacher, logits, told)
    assert float(loss) == pytest.approx(float(_loss(teacher, SAID[:, :2], TOLD[:, :2], LABELS[:, :2])), rel=1e-5)
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all() and not gradient[:, 2:].any() and gradient[:, :2].any()
    assert float(_loss(teacher, told=np.full_like(TOLD, np.nan))) == 0


def test_logits_far_apart_give_finite_numbers(teacher: keras.Model) -> None:
    logits = tf.Variable(SAID * 1000)
    with tf.GradientTape() as tape:
        loss = _loss(teacher, logits, TOLD * 1000)
    expected = log_softmax(SAID[..., CARRIED] * 1000.0, -1).min()
    assert 0 < float(loss) < -expected and np.isfinite(tape.gradient(loss, logits)).all()


# Logical devices must be made before TensorFlow starts, hence a process of its own.
_CURVES = """
import json, sys
import keras, numpy as np
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
from segapp.training.optimizers import LearningRate, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig
from segapp.transfer.distillation import distil
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.layer_settings import LayerFactors
from tests.toy import ToyScene

rng = np.random.default_rng(0)
labels = np.kron(rng.integers(3, size=(8, 8)), np.ones((16, 16), int)).astype(np.uint8)
labels[labels == 2] = 255  # no label shows class 2, and replicas see different numbers of labelled pixels
scene = ToyScene(rng.normal(size=(128, 128, 3)) + labels[..., None] % 3, labels)
scene.pixels[:20, :50] = np.nan
stream = PatchStream(PatchSource([scene], 32, 0), Augmentation(), band_statistics([scene]))
config = OptimizerConfig(name="adamw", decay=1e-3, clip=1.0)
shared, present = np.array([True, True, True]), np.array([True, True, False])
layers = {"encoder_stage_1": "frozen", "bridge": LayerFactors(weights=0.3, biases=0.6), "*": LayerFactors()}

def curve(strategy):
    make_repeatable(0)
    with strategy.scope():
        teacher, model = (unet(3, 3, UNetConfig(depth=1, filters=4, dropout=0)) for _ in range(2))
    factors = freeze(model, assign_layer_settings(model, layers))
    frozen = model.get_layer("encoder_stage_1_conv_1").get_weights()[0]
    with strategy.scope():
        rate = LearningRate(ScheduleConfig(name="constant", rate=0.01), 6, 6)
        optimizer = make_optimizer(config, rate, 0.9, factors.rate)
    loss = make_loss(LossConfig(dice=0.5), np.ones(3, np.float32), present)
    memory = distil(teacher, shared, present, 1.0, np.array([0.1, 0.3, 0.2]))
    trainer = Trainer(model, optimizer, loss, config, strategy, factors, memory)
    batches = iter(stream.batches(8))
    losses = [float(trainer.step(*next(batches)).loss) for _ in range(6)]
    with trainer.averaged_weights():
        averaged = float(np.abs(model.get_layer("bridge_conv_1").kernel.numpy()).sum())
    assert np.array_equal(model.get_layer("encoder_stage_1_conv_1").get_weights()[0], frozen)
    return losses, averaged

json.dump({"one": curve(make_strategy("cpu:1")), "two": curve(two)}, sys.stdout)
"""


def test_two_devices_take_the_transfer_steps_of_one() -> None:
    """Same global batch: distillation, frozen blocks, factors, clipping, decay and an average; 6 steps, 1e-4."""
    done = subprocess.run(
        [sys.executable, "-c", _CURVES],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    curves = json.loads(done.stdout)
    assert curves["one"][0][-1] < 0.95 * curves["one"][0][0]
    assert curves["two"][0] == pytest.approx(curves["one"][0], rel=1e-4)
    assert curves["two"][1] == pytest.approx(curves["one"][1], rel=1e-4)
