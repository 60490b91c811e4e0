"""Frozen means frozen, to the bit, moving statistics included; and factors reach the variables they are meant for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from segapp.errors import InputError
from segapp.model.base import Base
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.training.devices import make_strategy
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.layer_settings import LayerFactors, LayerSetting
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig
from segapp.transfer.finetune import finetune
from tests.transfer.conftest import HEAD, Stop, Weights, Witness, tiny_strategy, weights_of

ALL = LayerFactors()
CONFIG = UNetConfig(depth=2, filters=4, dropout=0.5, batch_norm=True)


def _network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return unet(3, 4, CONFIG)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Not to be changed."""
    return _network()


def _treatments(network: keras.Model, layers: Mapping[str, LayerSetting]) -> dict[str, LayerSetting]:
    return {entry.layer: entry.setting for entry in assign_layer_settings(network, layers)}


def test_the_first_pattern_that_fits_decides(network: keras.Model) -> None:
    layers = {"bridge_conv_2": LayerFactors(weights=2), "bridge": LayerFactors(weights=3), "*": "frozen"}
    found = _treatments(network, layers)
    assert found["bridge_conv_2"] == LayerFactors(weights=2) and found["bridge_conv_1"] == LayerFactors(weights=3)
    assert set(_treatments(network, {"*": "frozen", **layers}).values()) == {"frozen"}


def test_every_layer_with_weights_or_dropout_is_treated_in_order(network: keras.Model) -> None:
    assigned = assign_layer_settings(network, {"*": ALL})
    names = [layer.name for layer in network.layers if layer.weights or "dropout" in layer.name]
    assert [entry.layer for entry in assigned] == [name for name in names if name != "input_normalization"]
    assert sum(entry.parameters for entry in assigned) == network.count_params()
    assert {"encoder_stage_2", "bridge", "head"} < {entry.block for entry in assigned}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"head": ALL}, "no pattern covers layer 'encoder_stage_1_conv_1' of encoder_stage_1; add one"),
        ({"encoder_*": ALL, "decoder_*": ALL, "head": ALL}, "no pattern covers layer 'bridge_conv_1' of bridge"),
        ({"decoder_stage_9": ALL, "*": ALL}, "the pattern 'decoder_stage_9' fits no layer; did you mean 'decoder_st"),
        ({"xyz": ALL, "*": ALL}, "'xyz' fits no layer; blocks are bridge, decoder_stage_1, .*, head"),
        ({"Head": ALL, "*": ALL}, "'Head' fits no layer; did you mean 'head'"),
    ],
)
def test_patterns_must_cover_every_layer_and_fit_some(
    network: keras.Model, layers: dict[str, LayerSetting], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        assign_layer_settings(network, layers, "phase 'mine'")
    assert str(error.value).startswith("phase 'mine': ")


def test_factors_stand_in_the_order_of_the_trainable_variables() -> None:
    model = _network()
    names = [layer.name for layer in model.layers if layer.weights and layer.name != "input_normalization"]
    layers: dict[str, LayerSetting] = {
        name: LayerFactors(weights=number, biases=number + 0.5, bias_l2=number + 0.25)
        for number, name in enumerate(names, start=1)
    }
    layers["bridge_conv_1"] = layers["decoder_stage_1_bn_1"] = "frozen"
    layers["*dropout"] = "frozen"
    factors = freeze(model, assign_layer_settings(model, layers))
    expected = []
    for variable in model.trainable_variables:
        name, kind = variable.path.split("/")[-2:]
        number = names.index(name) + 1
        expected.append({"kernel": (number, 1), "bias": (number + 0.5, number + 0.25)}.get(kind, (number, 0)))
    assert list(zip(factors.rate, factors.l2, strict=True)) == expected
    assert len(expected) == len(_network().trainable_variables) - 1 - 2


def _train(model: keras.Model, factors: VariableFactors, strategy: tf.distribute.Strategy, steps: int = 3) -> None:
    """Plain gradient descent on noise."""
    config = OptimizerConfig(name="sgdm", momentum=0)
    rate = LearningRate(ScheduleConfig(name="constant", rate=0.1), steps, steps)
    optimizer = make_optimizer(config, rate, 0, factors.rate)
    trainer = Trainer(model, optimizer, make_loss(LossConfig(), np.ones(4, np.float32)), config, strategy, factors)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(steps * 2, 16, 16, 3)).astype(np.float32)
    labels = rng.integers(4, size=(steps * 2, 16, 16)).astype(np.uint8)
    batches = iter(tf.data.Dataset.from_tensor_slices((images, labels)).batch(2))
    for _ in range(steps):
        trainer.step(*next(batches))


def test_a_layer_moves_by_its_factor() -> None:
    """The encoder's first convolution by next to nothing, of the head the biases alone, the bridge as usual."""
    strategy = make_strategy()
    with strategy.scope():
        model = unet(3, 4, UNetConfig(depth=1, filters=4, dropout=0))
    layers: dict[str, LayerSetting] = {
        "encoder_stage_1_conv_1": LayerFactors(weights=1e-30, biases=1e-30),
        "head": LayerFactors(weights=1e-30),
        "*": ALL,
    }
    before = weights_of(model)
    _train(model, freeze(model, assign_layer_settings(model, layers)), strategy)
    after = weights_of(model)
    moved = {name: [np.abs(a - b).max() for a, b in zip(after[name], before[name], strict=True)] for name in after}
    assert max(moved["encoder_stage_1_conv_1"]) < 1e-25 and min(moved["bridge_conv_1"]) > 1e-4
    assert moved["final_conv"][0] < 1e-25 and moved["final_conv"][1] > 1e-4


@pytest.mark.parametrize(("encoder", "bridge"), [("frozen", "frozen"), ("frozen", ALL), (ALL, "frozen"), (ALL, ALL)])
def test_features_are_dropped_in_trainable_blocks_only(encoder: LayerSetting, bridge: LayerSetting) -> None:
    model = _network()
    freeze(model, assign_layer_settings(model, {"encoder_*": encoder, "bridge": bridge, "*": "frozen"}))
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    outputs = [model.get_layer(name).output for name in ("encoder_stage_2_dropout", "bridge_dropout")]
    body = keras.Model(model.inputs[0], outputs)
    once, again = ([np.asarray(map_) for map_ in body(image, training=True)] for _ in range(2))
    same = [np.array_equal(a, b) for a, b in zip(once, again, strict=True)]
    assert same == [encoder == "frozen", encoder == bridge == "frozen"]


@pytest.mark.parametrize(
    "kind", [keras.layers.GaussianDropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise]
)
def test_other_layers_of_noise_are_silent_in_frozen_blocks(kind: type) -> None:
    image = keras.Input((None, None, 2))
    x = kind(0.5, name="noise")(keras.layers.Conv2D(3, 1, name="conv")(image))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="head")(x))
    pixels = np.ones((1, 4, 4, 2), np.float32)
    assert not np.array_equal(model(pixels, training=True), model(pixels, training=True))
    freeze(model, assign_layer_settings(model, {"*": "frozen"}))
    np.testing.assert_array_equal(model(pixels, training=True), model(pixels, training=False))


def test_a_layer_that_was_saved_as_untrainable_is_trained_where_the_strategy_says_so() -> None:
    model = _network()
    model.get_layer("bridge_conv_1").trainable = False
    factors = freeze(model, assign_layer_settings(model, {"bridge": LayerFactors(weights=2), "*": "frozen"}))
    trainable = [variable.path for variable in model.trainable_variables]
    assert "bridge_conv_1/kernel" in trainable and factors.rate == (2.0,) * len(trainable)


def _differences(before: Weights, after: Weights) -> set[str]:
    """Which weights outside the head are not the same to the bit."""
    kinds = {2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
    return {
        f"{name}/{kinds.get(len(arrays), ('kernel',))[number]}"
        for name, arrays in before.items()
        if not name.startswith("final_conv")
        for number, array in enumerate(arrays)
        if array.tobytes() != after[name][number].tobytes()
    }


def test_frozen_blocks_are_bit_identical_before_and_after(base: Base, unguarded: tuple[Path, Witness]) -> None:
    """Encoder and bridge are frozen in the first phase; in the second nothing is, and the same comparison tells."""
    _, witness = unguarded
    before = weights_of(base.model)
    for weights in (witness.begun[0], witness.ended[0]):
        assert not any(name.startswith(("encoder", "bridge")) for name in _differences(before, weights))
    trained = {name for name, arrays in before.items() if name.startswith("decoder") for _ in arrays}
    assert {name.split("/")[0] for name in _differences(before, witness.ended[0])} == trained
    everything = {name.split("/")[0] for name in _differences(before, witness.ended[1])}
    assert everything == set(before) - {"input_normalization", "final_conv"}


@pytest.mark.parametrize("frozen", [True, False])
def test_while_only_the_head_trains_all_else_stays_unless_the_freeze_is_removed(
    frozen: bool, base: Base, base_folder: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the model that is written, which is the average of the weights."""
    if not frozen:
        unfrozen = lambda model, _: VariableFactors.usual(model.trainable_variables)  # noqa: E731
        monkeypatch.setattr("segapp.transfer.candidates.freeze", unfrozen)
    head = {"name": "head", "rate": 3e-3, "layers": HEAD}
    strategy = tiny_strategy(head, head="copied", steps=4, guard=False, validation={"every": 2})
    before, witness = weights_of(base.model), Witness(stop_after=0 if frozen else 1)
    settings: dict[str, Any] = {"strategy": strategy, "callbacks": [witness], "quiet": True}
    if frozen:
        written = weights_of(finetune(base_folder, samples, tmp_path / "new", **settings))
        assert not _differences(before, written)
        assert not np.array_equal(written["final_conv_2"][0], before["final_conv"][0])
    else:
        with pytest.raises(Stop):
            finetune(base_folder, samples, tmp_path / "new", **settings)
    kinds = {name.split("/")[1] for name in _differences(before, witness.ended[0])}
    everything = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}
    assert kinds == (set() if frozen else everything)
    assert not np.array_equal(witness.begun[0]["final_conv_2"][0], witness.ended[0]["final_conv_2"][0])
