"""A killed finetune goes on in its phase, at the exact step, and ends with the very same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.bundle import write_model
from segapp.nets.config import UNetConfig
from segapp.training.records import LogRow, read_log
from segapp.transfer.finetune import finetune
from tests.transfer.conftest import UNGUARDED

# TensorFlow takes seconds to import and starts no thread before it computes: each run is a fork of one process. It
# notes what it does, and kills itself when it has done a given thing.
_RUNS = """
import json, os, signal, sys, traceback
from pathlib import Path
import keras
from segapp.transfer.finetune import finetune
from tests.transfer.conftest import UNGUARDED

base, data, notes, runs = sys.argv[1:]
done = []

class Kill(keras.callbacks.Callback):
    def __init__(self, last):
        super().__init__()
        self.last = last

    def on_train_begin(self, logs=None):
        self.note("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.note(int(self.model.optimizer.iterations.numpy()))

    def note(self, what):
        done.append(str(what))
        Path(notes).write_text(" ".join(done))
        if " ".join(done) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

ends = []
for last, outputs in json.loads(runs):
    child = os.fork()
    if child == 0:
        try:
            for output in outputs:
                finetune(base, data, output, resume=True, callbacks=[Kill(last)], **UNGUARDED)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    ends.append([os.waitstatus_to_exitcode(status), Path(notes).read_text()])
json.dump(ends, sys.stdout)
"""


def _weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def _lines(folder: Path) -> list[LogRow]:
    """The log without its clock."""
    return [replace(row, seconds=0.0) for row in read_log(folder)]


def _provenance(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "model.json").read_text())["provenance"]
    return {key: found[key] for key in ("phases", "winner", "plan", "recipe", "base")}


@pytest.fixture
def plain_base(base: Base, tmp_path: Path) -> Path:
    """The tiny base without batch normalisation, with random weights."""
    network = UNetConfig(depth=1, filters=4, dropout=0.5)
    spec = base.spec.model_copy(update={"network": network})
    write_model(tmp_path / "base", spec.build(), spec)
    return tmp_path / "base"


def test_killed_in_each_phase_and_between_them_it_ends_bit_identical(
    plain_base: Path, samples: Path, tmp_path: Path
) -> None:
    """Phases of 5 and 7 steps with a checkpoint after 4: killed after the checkpoint of the first phase, before the
    first step of the second, and between two checkpoints of that. The head is fitted; dropout, memory
    and an average are on.
    """
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    lasts = ["begin 1 2 3 4", "begin 5 begin", "begin 1 2 3 4 5 6"]
    runs = json.dumps([*((last, [str(killed)]) for last in lasts), ("", [str(killed), str(whole)])])
    done = subprocess.run(
        [sys.executable, "-c", _RUNS, str(plain_base), str(samples), str(tmp_path / "notes"), runs],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    through = "begin 5 6 7 begin 1 2 3 4 5 begin 1 2 3 4 5 6 7"
    assert json.loads(done.stdout) == [*([-signal.SIGKILL, last] for last in lasts), [0, through]]

    expected, found = _weights(whole), _weights(killed)
    assert expected.keys() == found.keys() and len(expected) > 10
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for phase, steps in {"1-decoder": [4, 5], "2-all": [4, 7]}.items():
        assert _lines(killed / phase) == _lines(whole / phase)
        assert [row.step for row in read_log(whole / phase)] == steps
    assert _provenance(killed) == _provenance(whole)
    assert {file.name for file in killed.iterdir()} == {file.name for file in whole.iterdir()}


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_note_of_the_plan_is_one_line(text: str, base_folder: Path, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"new\.partial/plan\.json: is damaged; remove .* and start again"):
        finetune(base_folder, samples, tmp_path / "new", resume=True, **UNGUARDED)
