"""Several processes train as one does, and where one is lost the others end with one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.data.statistics import band_statistics
from segapp.errors import InputError
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource
from segapp.training.cluster import Cluster
from segapp.training.records import read_log
from segapp.training.workers import joined
from tests.toy import random_scene
from tests.training.test_cluster import free_addresses, tf_config

RECIPE = """
schema = 1
patch_size = 32
batch = 6
steps = 20
average = 0.9
network = { depth = 2, filters = 4, dropout = 0, batch_norm = true }
optimizer = { name = "sgdm", l2 = 1e-4, clip = 0.05, clip_by = "parameter" }
schedule = { name = "constant", rate = 0.01 }
validation = { every = 5 }
"""


@pytest.mark.parametrize(
    ("devices", "message"), [("auto", "TensorFlow already runs in this process"), ("cpu:2", "has one CPU device")]
)
def test_who_cannot_join_does_not_call_the_others(devices: str, message: str) -> None:
    tf.constant(0)
    said: list[str] = []
    with pytest.raises(InputError, match=message), joined(Cluster(("a:1", "b:1")), devices, said.append):
        pass
    assert not said


@settings(max_examples=12)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_the_shares_of_all_workers_are_the_batch(workers: int, share: int, first_step: int) -> None:
    """In its order, from any step on."""
    scenes = [random_scene((20, 20))]
    stream = PatchStream(PatchSource(scenes, 8, 7), Augmentation(), band_statistics(scenes))
    batch = workers * share
    shares = [
        next(iter(replace(stream, worker=worker, workers=workers).batches(batch, first_step)))
        for worker in range(workers)
    ]
    whole = next(iter(stream.batches(batch, first_step)))
    for part, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([share[part] for share in shares]), expected)


class _Runs:
    """Starts trainings of one recipe on the same scenes; each process counts sums on one thread, so all alike."""

    def __init__(self, data: Path, folder: Path, recipe: str = RECIPE) -> None:
        self.data, self.recipe, self.folder = data, folder / "recipe.toml", folder
        self.recipe.write_text(recipe)

    def arguments(self, output: str, *more: str) -> list[str]:
        places = ["--data", self.data, "--recipe", self.recipe, "--output", self.folder / output]
        return ["train", *map(str, places), "--precision", "float32", *more]

    def start(self, arguments: list[str], config: str = "{}", number: int = 0, step: int = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.training.cluster_worker", str(number), str(step), *arguments],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "TF_CONFIG": config},
            stderr=subprocess.PIPE,
            text=True,
        )

    def cluster(
        self, output: str, workers: int, *more: str, ended: int = -1, by: int = 0, step: int = 0, own: Any = ()
    ) -> tuple[list[str], list[tuple[int, str]]]:
        """Addresses, and of each worker the exit code and what it said; `ended` ends itself by a signal in a step.

        `own` holds more arguments for each worker.
        """
        first, *others = addresses = free_addresses(workers)
        processes = []
        for place in range(workers):
            job, index = ("worker", place - 1) if place else ("chief", 0)
            config = json.dumps(tf_config({"chief": [first], "worker": others}, job, index))
            arguments = self.arguments(output, *more, *(own[place] if own else ()))
            processes.append(self.start(arguments, config, by, step if place == ended else 0))
        ends = []
        for process in processes:
            text = process.communicate()[1]
            assert "Traceback" not in text, text
            ends.append((process.returncode, text))
        return addresses, ends

    def losses(self, output: str) -> list[float]:
        rows = read_log(self.folder / output)
        assert [row.step for row in rows] == list(range(1, 21))
        return [row.loss for row in rows]


def _last(text: str) -> str:
    """The last line."""
    return text.splitlines()[-1]


@pytest.fixture
def runs(samples: Path, tmp_path: Path) -> _Runs:
    return _Runs(samples, tmp_path)


def test_two_processes_give_the_loss_curve_of_one(samples: Path, tmp_path: Path) -> None:
    """Same global batch, clipping, batch norm; 20 steps, 1e-4."""
    data = tmp_path / "train.toml"  # scenes to validate would take most of the time
    tables = (
        samples.read_text()
        .replace('"train/', f'"{samples.parent}/train/')
        .replace('"labels/', f'"{samples.parent}/labels/')
    )
    data.write_text("[[scenes]]".join(tables.split("[[scenes]]")[:2]))
    runs = _Runs(data, tmp_path, RECIPE.replace("every = 5", "every = 20").replace("depth = 2", "depth = 1"))
    assert runs.start(runs.arguments("one", "--devices", "cpu:1")).wait() == 0
    _, ends = runs.cluster("two", 2)
    assert [code for code, _ in ends] == [0, 0]
    assert "global batch 6 over 2 devices, 3 each" in ends[0][1] and not ends[1][1]
    one = runs.losses("one")
    assert one[-1] < 0.95 * one[0]
    assert runs.losses("two") == pytest.approx(one, rel=1e-4)
    provenance = json.loads((tmp_path / "two" / "model.json").read_text())["provenance"]
    assert provenance["replicas"] == 2


@pytest.mark.long
def test_three_processes_of_which_one_dies_go_on_and_give_the_loss_curve_of_one(runs: _Runs, tmp_path: Path) -> None:
    """And so do two devices. A worker is killed in step 8; resumed at 5, the chief is terminated in step 14."""
    # Logical devices must be made before TensorFlow starts.
    alone = [*runs.arguments("two_devices", "--devices", "cpu:2"), "/", *runs.arguments("one", "--devices", "cpu:1")]
    assert runs.start(alone).wait() == 0
    again = "no longer answers; start all workers again with --resume"
    addresses, ends = runs.cluster("three", 3, ended=1, by=signal.SIGKILL, step=8)
    assert ends[1][0] == -signal.SIGKILL
    # The chief may miss the one that was killed, or the one that ended for want of it.
    assert any(f"worker {index} of 3 ({addresses[index]}) {again}" in _last(ends[0][1]) for index in (1, 2))
    for code, text in (ends[0], ends[2]):
        assert code == 3 and _last(text).startswith("segapp: ") and again in _last(text)
    assert not (tmp_path / "three").exists()
    addresses, ends = runs.cluster("three", 3, "--resume", ended=0, by=signal.SIGTERM, step=9)
    assert ends[0][0] == 128 + signal.SIGTERM and "holds step 10; go on with --resume" in _last(ends[0][1])
    for code, text in ends[1:]:
        assert code == 3 and again in _last(text)
    _, ends = runs.cluster("three", 3, "--resume")
    assert [code for code, _ in ends] == [0, 0, 0]
    one = runs.losses("one")
    assert one[-1] < 0.95 * one[0]
    assert runs.losses("two_devices") == pytest.approx(one, rel=1e-4)
    assert runs.losses("three") == pytest.approx(one, rel=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "recipe.toml", "three", "two_devices"]


@pytest.mark.long
def test_all_workers_stop_early_alike(samples: Path, tmp_path: Path) -> None:
    """Nothing is learned, so that the second validation gains nothing."""
    recipe = RECIPE.replace("rate = 0.01", "rate = 1e-12").replace("every = 5", "every = 2, patience = 1")
    assert recipe.count("1e-12") == recipe.count("patience = 1") == 1
    runs = _Runs(samples, tmp_path, recipe)
    assert [code for code, _ in runs.cluster("model", 2)[1]] == [0, 0]
    assert [row.step for row in read_log(tmp_path / "model")] == [1, 2, 3, 4]


@pytest.mark.long
def test_workers_that_disagree_say_so(runs: _Runs, tmp_path: Path) -> None:
    addresses, ends = runs.cluster("model", 2, own=[("--seed", "1"), ("--seed", "2")])
    message = f"segapp: worker 1 of 2 ({addresses[1]}): has another seed than the chief"
    assert all(code == 2 and _last(text).startswith(message) for code, text in ends)
    assert not (tmp_path / "model.partial").exists()


@pytest.mark.long
def test_what_stops_the_chief_stops_all_with_the_same_line(runs: _Runs, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    _, ends = runs.cluster("model", 2)
    message = f"segapp: {tmp_path / 'model'}: exists already; remove it or give another --output"
    assert [(code, _last(text)) for code, text in ends] == [(2, message)] * 2
