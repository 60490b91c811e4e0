"""A training in which something unexpected is raised ends, with its traceback or one line, and does not hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.training.devices import make_strategy
from segapp.training.loop import Trainer
from segapp.training.losses import make_loss
from segapp.training.optimizers import LearningRate, make_optimizer
from segapp.training.recipe import LossConfig, OptimizerConfig, ScheduleConfig

# What fails is replaced in a process of its own, which then runs the command line.
_RUN = """
import sys
import keras, tensorflow as tf
from segapp.cli import main
from segapp.training import fit, loop
from segapp.patches import sampling

where, kind, *arguments = sys.argv[1:]
error = {
    "unexpected": RuntimeError("unexpected"),
    "memory": tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,64,512,512]"),
}[kind]

def fail(*_, **__):
    raise error

if where == "step":
    loop.Trainer.step = fail
elif where == "validation":
    fit._validate = fail
elif where == "pipeline":
    sampling.PatchSource.window = fail
else:
    keras.callbacks.CallbackList.on_train_batch_end = fail
sys.argv = ["segapp", *arguments]
main()
"""


def _run(where: str, kind: str, samples: Path, recipe: Path, output: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["train", "--data", str(samples), "--recipe", str(recipe), "--output", str(output), "--quiet"]
    return subprocess.run(
        [sys.executable, "-c", _RUN, where, kind, *arguments], capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("where", ["step", "validation", "pipeline", "callback"])
def test_an_unexpected_error_ends_the_process(where: str, samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    run = _run(where, "unexpected", samples, tiny_recipe, tmp_path / "new")
    assert run.returncode == 1 and "RuntimeError" in run.stderr and "unexpected" in run.stderr
    assert not (tmp_path / "new").exists()


def test_too_little_memory_on_a_device_is_one_line(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    run = _run("step", "memory", samples, tiny_recipe, tmp_path / "new")
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("segapp: ")]
    assert run.returncode == 3 and "shape [8,64,512,512]; give a smaller batch, patch or tile" in line
    assert len(line) <= 200 and "Traceback" not in run.stderr


def test_float16_keeps_the_averaged_weights() -> None:
    """The optimizer that scales the loss is wrapped around the one that averages."""
    keras.utils.set_random_seed(0)
    config, strategy = OptimizerConfig(name="adamw"), make_strategy()
    with strategy.scope():
        model = unet(3, 2, UNetConfig(depth=1, filters=2))
        rate = LearningRate(ScheduleConfig(rate=0.1, name="constant"), 2, 2)
        optimizer = keras.optimizers.LossScaleOptimizer(make_optimizer(config, rate, average=0.5))
    loss = make_loss(LossConfig(), np.ones(2, np.float32))
    trainer = Trainer(model, optimizer, loss, config, strategy)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(2, 16, 16, 3)), tf.float32)
    for _ in range(2):
        trainer.step(images, tf.constant(rng.integers(2, size=(2, 16, 16)), tf.uint8))
    last = [weight.copy() for weight in model.get_weights()]
    with trainer.averaged_weights():
        averaged = model.get_weights()
    assert any((a != b).any() for a, b in zip(averaged, last, strict=True))
    for before, after in zip(last, model.get_weights(), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)  # swapped by sums and differences
