"""A killed training goes on at the exact step and ends with the very same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from segapp.training.records import LogRow, read_log

# Runs in a process of its own, which kills itself at the end of the given step of the whole run.
_TRAIN = """
import os, signal, sys
import keras
import segapp

class Kill(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch * 8 + batch + 1 == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

data, recipe, output, step = sys.argv[1:]
segapp.train(data, output, recipe=recipe, resume=True, precision="float32", devices="cpu:1", quiet=True,
             callbacks=[Kill(int(step))])
"""


def _train(data: Path, recipe: Path, output: Path, kill_at: int = 0) -> int:
    command = [sys.executable, "-c", _TRAIN, str(data), str(recipe), str(output), str(kill_at)]
    return subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False).returncode


def _weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def _lines(folder: Path) -> list[LogRow]:
    """The log without its clock."""
    from dataclasses import replace

    return [replace(row, seconds=0.0) for row in read_log(folder)]


def test_killed_at_three_steps_it_ends_bit_identical(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """Dropout, the average of the weights, batch norm, class-balanced patches and all augmentations are on.

    Checkpoints are taken every 4 steps: one kill comes before the first of them, two between later ones.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _train(samples, tiny_recipe, whole) == 0
    for step in (2, 7, 11):
        assert _train(samples, tiny_recipe, killed, kill_at=step) == -signal.SIGKILL
        assert not killed.exists()
    assert _train(samples, tiny_recipe, killed) == 0
    expected, found = _weights(whole), _weights(killed)
    assert expected.keys() == found.keys() and len(expected) > 20
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert _lines(killed) == _lines(whole)


def test_ended_while_the_finished_model_is_written_it_goes_on(
    samples: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of the files that change when the scores are known, and in that order."""
    import segapp

    rename, written = Path.replace, list[Path]()

    def train(end_before: str | None) -> None:
        def replace(source: Path, target: Path) -> Path:
            done = (tmp_path / "model.partial" / "checkpoint.npz").exists() and read_log(target.parent)[-1].step == 12
            if target.parent.name == "model.partial" and done:
                if target.name == end_before:
                    raise KeyboardInterrupt
                written.append(target)
            return rename(source, target)

        monkeypatch.setattr(Path, "replace", replace)
        segapp.train(samples, tmp_path / "model", recipe=tiny_recipe, resume=True, quiet=True)

    for name in ("README.md", "model.json"):
        with pytest.raises(KeyboardInterrupt):
            train(name)
    train(None)
    assert [path.name for path in written[-2:]] == ["README.md", "model.json"]
    assert segapp.load(tmp_path / "model").spec.scores
    assert not list((tmp_path / "model").glob(".writing-*"))
