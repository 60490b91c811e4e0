"""A pretrained encoder is frozen, released, trained at rates of its own, resumed and transferred."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import segapp
from segapp.cli import main
from segapp.errors import InputError
from segapp.nets.adapt import adapt_kernel, band_mixing
from segapp.nets.encoders.features import classifier_layers
from segapp.training.recipe import Recipe, read_recipe
from segapp.transfer.finetune import finetune, plan_finetune
from segapp.transfer.strategy import Strategy, read_strategy
from tests.nets.vgg16_weights import fetch_or_skip

ENCODER = "mobilenetv2"
NETWORK = {"encoder": ENCODER, "depth": 2, "filters": 4, "dropout": 0.5}
STEPS, RELEASED = 16, 8
Weights = dict[str, list[np.ndarray]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for the encoder."""
    keras.utils.set_random_seed(5)
    file = tmp_path_factory.mktemp("weights") / "mobilenetv2.weights.h5"
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(file)
    return file


def _recipe(weights: Path | None, **changes: Any) -> Recipe:
    given: dict[str, Any] = {
        "schema": 1,
        "patch_size": 32,
        "batch": 4,
        "steps": STEPS,
        "average": 0.9,
        "network": NETWORK,
        "augmentation": {"noise": 0.1},
        "optimizer": {"decay": 0.01, "clip": 1.0},
        "validation": {"every": 4, "keep": "last"},
    }
    if weights:
        given["encoder_weights"] = str(weights)
    return Recipe(**{**given, **changes})


class Witness(keras.callbacks.Callback):
    """Sees the encoder's weights before the first step and after each of `steps`; interrupts the run after `stop`."""

    def __init__(self, steps: tuple[int, ...] = (), stop: int = 0) -> None:
        super().__init__()
        self.seen: dict[int, Weights] = {}
        self._steps, self._stop, self._done = steps, stop, 0

    def on_train_begin(self, logs: object = None) -> None:
        self.seen[0] = _encoder(self.model)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._done += 1
        if self._done in self._steps:
            self.seen[self._done] = _encoder(self.model)
        if self._done == self._stop:
            raise KeyboardInterrupt


def _encoder(model: keras.Model) -> Weights:
    return {name: layer.get_weights() for name, layer in classifier_layers(model, ENCODER).items()}


def _same(one: Weights, other: Weights) -> set[bool]:
    """Whether the weights of the layers are the same to the bit, moving statistics included."""
    return {a.tobytes() == b.tobytes() for name in one for a, b in zip(one[name], other[name], strict=True)}


FROZEN: dict[str, Any] = {"freeze": "encoder", "unfreeze_at": 0.5}


@pytest.fixture(scope="module")
def frozen_first(weights: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Witness]:
    """A model whose encoder was frozen for half of the steps, and what was seen on the way; not to be changed."""
    output, witness = tmp_path_factory.mktemp("models") / "model", Witness((RELEASED, RELEASED + 1, STEPS))
    segapp.train(samples, output, recipe=_recipe(weights, **FROZEN), callbacks=[witness], quiet=True)
    return output, witness


def test_a_frozen_encoder_stays_to_the_bit_until_it_is_released(frozen_first: tuple[Path, Witness]) -> None:
    seen = frozen_first[1].seen
    assert _same(seen[0], seen[RELEASED]) == {True}
    assert _same(seen[RELEASED], seen[RELEASED + 1]) == {False}


def test_without_an_end_the_encoder_stays_to_the_last(weights: Path, samples: Path, tmp_path: Path) -> None:
    """Also in the model that is written, which is the average of the weights."""
    witness = Witness()
    recipe = _recipe(weights, freeze="encoder", steps=4)
    model = segapp.train(samples, tmp_path / "model", recipe=recipe, callbacks=[witness], quiet=True)
    assert _same(witness.seen[0], _encoder(model)) == {True}


def test_interrupted_at_and_after_the_release_it_ends_bit_identical(
    weights: Path, samples: Path, tmp_path: Path, frozen_first: tuple[Path, Witness]
) -> None:
    """Interrupted after steps 10 and 14, it goes on after steps 8, with the encoder still frozen there, and 12."""
    output, recipe = tmp_path / "model", _recipe(weights, **FROZEN)
    for stop in (10, 14 - RELEASED):
        with pytest.raises(KeyboardInterrupt):
            segapp.train(samples, output, recipe=recipe, resume=True, callbacks=[Witness(stop=stop)], quiet=True)
        assert not output.exists()
    model = segapp.train(samples, output, recipe=recipe, resume=True, quiet=True)
    for found, expected in zip(model.weights, segapp.load(frozen_first[0]).weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=found.path)


def test_the_model_tells_its_encoder_and_where_its_weights_come_from(
    weights: Path, frozen_first: tuple[Path, Witness]
) -> None:
    import hashlib

    provenance = json.loads((frozen_first[0] / "model.json").read_text())["provenance"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    expected = {"encoder": ENCODER, "encoder weights": str(weights), "encoder weights sha256": digest}
    assert expected.items() <= provenance.items()
    card = (frozen_first[0] / "README.md").read_text()
    assert all(f"| {key} | {value} |" in card for key, value in expected.items())


def _moved(weights: Path, samples: Path, folder: Path, **changes: Any) -> dict[str, float]:
    """How far one step of plain gradient descent moves the kernels of an encoder's, a decoder's and the last layer."""
    names = [f"encoder_stage_2_{ENCODER}_Conv1", "decoder_stage_2_conv_1", "final_conv"]
    before: dict[str, np.ndarray] = {}

    class Start(keras.callbacks.Callback):
        def on_train_begin(self, logs: object = None) -> None:
            before.update({name: self.model.get_layer(name).kernel.numpy() for name in names})

    plain = {"name": "sgdm", "momentum": 0}
    settings = {"steps": 1, "average": 0, "optimizer": plain, "schedule": {"name": "constant"}, **changes}
    recipe = _recipe(weights, **settings)
    model = segapp.train(samples, folder, recipe=recipe, callbacks=[Start()], precision="float32", quiet=True)
    return {name: float(np.abs(model.get_layer(name).kernel.numpy() - before[name]).max()) for name in names}


def test_rates_by_block_and_a_tenth_for_a_pretrained_encoder(weights: Path, samples: Path, tmp_path: Path) -> None:
    encoder, decoder, head = _moved(weights, samples, tmp_path / "usual").values()
    full = _moved(weights, samples, tmp_path / "full", rates={"encoder_stage_*": 1, "bridge": 1, "decoder_*": 0.25})
    assert list(full.values()) == pytest.approx([10 * encoder, 0.25 * decoder, head], rel=0.01)
    assert min(encoder, decoder, head) > 1e-7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_weights": "imagenet"}, "encoder_weights: the plain encoder has none; choose another encoder"),
        ({"encoder": "vgg16", "freeze": "encoder"}, "an encoder without weights would stay random; give encoder_weig"),
        ({"encoder": "vgg16", "encoder_weights": "imagenet", "unfreeze_at": 0.5}, "unfreeze_at: nothing is frozen"),
        ({"encoder": "vgg16", "input": "zerocenter"}, "vgg16 needs bands of one spread"),
        ({"encoder": "vgg99"}, "there is no encoder 'vgg99'; choose plain, vgg16"),
        ({"encoder": "vgg16", "unfreeze_at": 1.5}, "unfreeze_at: input should be less than 1"),
        ({"rates": {"bridge": 0}}, 'a factor of 0 is written "frozen"'),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe("default", changes)


def test_another_encoder_takes_the_place_of_the_recipes_and_of_its_depth() -> None:
    network = read_recipe("default", {"encoder": "resnet50v2"}).network
    assert (network.encoder, network.depth, network.filters, network.dropout) == ("resnet50v2", 5, 16, 0.2)
    assert read_recipe("default", {"encoder": "plain"}).network.depth == 4


def test_a_rate_for_a_layer_that_is_not_there_is_refused(weights: Path, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe: rates: the pattern 'encoder_stage_7' fits no layer; did you mean"):
        segapp.train(samples, tmp_path / "model", recipe=_recipe(weights, rates={"encoder_stage_7": 1}), quiet=True)
    with pytest.raises(InputError, match="recipe: rates: all layers are frozen"):
        segapp.train(samples, tmp_path / "model", recipe=_recipe(None, rates={"*": "frozen"}), quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_of_weights_is_one_line_and_leaves_nothing(weights: Path, samples: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.weights.h5"
    cut.write_bytes(weights.read_bytes()[:9999])
    output = tmp_path / "models" / "mine"
    (tmp_path / "models").mkdir()
    for encoder, file, what in (("vgg16", weights, "holds none of the 13 layers of vgg16"), (ENCODER, cut, "damaged")):
        command = ["train", "--data", str(samples), "--output", str(output), "--encoder", encoder]
        result = CliRunner().invoke(main, [*command, "--encoder-weights", str(file), "--freeze", "encoder"])
        assert result.exit_code == 2 and what in result.output and str(file) in result.output
        assert result.output.strip().count("\n") == 0
        assert not list(output.parent.iterdir())


def test_a_strategy_keeps_the_bases_encoder() -> None:
    for setting in ({"encoder_weights": "imagenet"}, {"freeze": "encoder"}, {"rates": {"*": 1}}):
        with pytest.raises(ValueError, match=rf"a strategy has no \[{next(iter(setting))}\]"):
            Strategy(schema=1, **setting)  # type: ignore[arg-type]


def test_the_staged_strategy_fits_a_network_with_an_encoder(frozen_first: tuple[Path, Witness], samples: Path) -> None:
    plan = plan_finetune(frozen_first[0], samples, strategy="staged")
    blocks = {block.block: block for block in plan.phases[0].blocks}
    assert {name for name, block in blocks.items() if block.trainable} == {"decoder_stage_1", "decoder_stage_2", "head"}
    assert {"encoder_stage_1", "encoder_stage_2", "bridge"} < set(blocks)
    assert all(block.trainable for block in plan.phases[1].blocks)


def test_finetuning_freezes_the_encoder_and_fits_its_first_layers_to_other_bands(
    frozen_first: tuple[Path, Witness], samples: Path, tmp_path: Path
) -> None:
    data = samples.with_name("other_bands.toml")
    data.write_text(re.sub(r"bands = \[.*\]", 'bands = ["nir", "red", "green", "blue"]', samples.read_text()))
    staged = read_strategy("staged", {"steps": 4, "patch_size": 32, "batch": 4, "guard": False, "distillation": 0})
    phases = (staged.phases[0].model_copy(update={"share": 1.0}),)
    model = finetune(
        frozen_first[0], data, tmp_path / "new", strategy=staged.model_copy(update={"phases": phases}), quiet=True
    )
    before, after = _encoder(segapp.load(frozen_first[0])), _encoder(model)
    kernels = before["Conv1"][0], after["Conv1"][0]
    mixing = band_mixing((3, 2, 1, 0), 6, second_moments=np.array(segapp.load(frozen_first[0]).spec.second_moments))
    np.testing.assert_array_equal(mixing[:, :4], np.eye(4)[[3, 2, 1, 0]])
    np.testing.assert_array_equal(kernels[1], adapt_kernel(kernels[0], mixing))
    del before["Conv1"], after["Conv1"]
    assert _same(before, after) == {True}


def test_real_weights_of_vgg16_freeze_and_train(samples: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"network": {"encoder": "vgg16", "filters": 4}, "batch": 2, "steps": 3, "average": 0}
    changes["optimizer"] = {"name": "sgdm", "momentum": 0, "clip": 1.0}
    recipe = _recipe(fetch_or_skip(), **changes, freeze="encoder", unfreeze_at=0.6)
    kernels: list[np.ndarray] = []

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            kernels.append(self.model.get_layer("bridge_vgg16_block5_conv3").kernel.numpy())

    model = segapp.train(samples, tmp_path / "model", recipe=recipe, callbacks=[See()], quiet=True)
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[1], kernels[2])
    assert model.spec.scores["test"]["global_accuracy"] > 0


# Logical devices must be made before TensorFlow starts, hence a process of its own.
_STEP = """
import json, sys
import keras, numpy as np, tensorflow as tf
from segapp.training.devices import make_repeatable, make_strategy
two = make_strategy("cpu:2")
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, VariableFactors, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig

rng = np.random.default_rng(0)
images = rng.normal(size=(4, 32, 32, 3)).astype("float32") * np.array([1, 2, 3, 4], "float32").reshape(4, 1, 1, 1)
labels = rng.integers(3, size=(4, 32, 32)).astype("uint8")
images, labels = tf.constant(images), tf.constant(labels)
network = UNetConfig(encoder=sys.argv[1], depth=int(sys.argv[2]), filters=4, dropout=0)
config = OptimizerConfig(name="sgdm", momentum=0)

def step(strategy):
    make_repeatable(0)
    with strategy.scope():
        model = unet(3, 3, network)
        rate = LearningRate(ScheduleConfig(name="constant", rate=1e-3), 1, 1)
        optimizer = make_optimizer(config, rate, 0)
    loss = make_loss(LossConfig(), np.ones(3, np.float32))
    trainer = Trainer(model, optimizer, loss, config, strategy, VariableFactors.usual(model.trainable_variables))
    found = float(trainer.step(images, labels).loss)
    statistics = [float(np.sum(v.numpy())) for v in model.non_trainable_variables if v.name == "moving_variance"]
    return found, statistics, float(np.abs(model.get_layer("final_conv").kernel.numpy()).sum())

one = make_strategy("cpu:1")
print(json.dumps([step(one), step(two)]))
"""


@pytest.mark.parametrize(
    ("encoder", "depth"),
    [
        ("vgg16", 2),
        ("resnet50v2", 2),
        pytest.param("vgg16", 4, marks=pytest.mark.long),
        pytest.param("resnet50v2", 5, marks=pytest.mark.long),
    ],
)
def test_two_devices_take_the_step_of_one(encoder: str, depth: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STEP, encoder, str(depth)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    one, two = json.loads(done.stdout)
    assert two[0] == pytest.approx(one[0], rel=1e-4) and np.isfinite(one[0])
    assert two[1] == pytest.approx(one[1], rel=1e-4) and len(one[1]) > depth
    assert two[2] == pytest.approx(one[2], rel=1e-4)
