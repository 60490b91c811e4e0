"""Several processes train as one does, and what keeps them from it is one clear line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.cli import main
from segapp.errors import InputError
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource
from segapp.patches.statistics import band_statistics
from segapp.training.cluster import Cluster, read_cluster
from segapp.training.records import read_log
from segapp.training.workers import joined
from tests.toy import random_scene

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


def _free_addresses(count: int) -> list[str]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    for door in doors:
        door.close()
    return addresses


def _set(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))


def _config(cluster: dict[str, list[str]], job: str = "worker", index: object = 0) -> dict[str, Any]:
    return {"cluster": cluster, "task": {"type": job, "index": index}}


@pytest.mark.parametrize("config", ["{}", {"environment": "cloud"}, _config({"worker": ["a:1"]}, "chief", 7)])
def test_without_other_workers_a_process_is_alone(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, config)
    assert read_cluster() == Cluster()
    assert Cluster().chief and Cluster().size == 1


@pytest.mark.parametrize(
    ("job", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)], ids=["chief", "first", "second"]
)
def test_a_chief_of_its_own_comes_first(job: str, index: object, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes' training operator and Vertex AI write it, with keys of their own; indexes may be text."""
    config = _config({"worker": ["w0:22", "w1:22"], "chief": ["c:22"]}, job, index)
    _set(monkeypatch, config | {"environment": "cloud", "job": {"x": 1}})
    assert read_cluster() == Cluster(("c:22", "w0:22", "w1:22"), place, True)


def test_without_one_the_first_worker_is_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, _config({"worker": ["a:1", "[::1]:2"]}, index=1))
    assert read_cluster() == Cluster(("a:1", "[::1]:2"), 1)


TWO = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "TF_CONFIG: is no valid JSON"),
        ("{cluster", "TF_CONFIG: is no valid JSON"),
        ("[" * 100_000, "TF_CONFIG: is no valid JSON"),
        ("[]", "TF_CONFIG: "),
        ({"cluster": ["a:1", "b:1"]}, "TF_CONFIG: cluster"),
        ({"cluster": {"worker": "a:1"}}, "TF_CONFIG: cluster.worker"),
        (_config({"worker": ["a", "b:1"]}), "TF_CONFIG: cluster: 'a' is no address; write host:port"),
        (_config({"worker": ["a:70000", "b:1"]}), "'a:70000' is no address"),
        (_config({"worker": ["a:1", "a:1"]}), "a:1 is there twice"),
        ({"cluster": TWO}, "TF_CONFIG: task is missing"),
        ({"cluster": TWO, "task": {"type": "worker"}}, "TF_CONFIG: task.index is missing"),
        (_config(TWO, index=2), "task is worker 2, which cluster does not have"),
        (_config(TWO, index=-1), "task.index"),
        (_config(TWO, "chief"), "task is chief 0, which cluster does not have"),
        (_config({**TWO, "chief": ["c:1", "d:1"]}), "only one worker can be the chief"),
        (_config({**TWO, "ps": ["p:1"]}), "a task 'ps', for which a training has no use"),
        (_config(TWO, "evaluator"), "a task 'evaluator', for which"),
    ],
)
def test_a_mistake_in_tf_config_is_one_line(config: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, config)
    with pytest.raises(InputError) as error:
        read_cluster()
    assert message in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("verb", "config", "message"),
    [
        ("train", "{", "TF_CONFIG"),
        ("finetune", json.dumps(_config(TWO)), "names 2 workers, but a transfer runs on one"),
    ],
)
def test_the_command_line_says_it_and_writes_nothing(
    verb: str, config: str, message: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, config)
    arguments = [verb, "--data", str(samples), "--output", str(tmp_path / "model")]
    arguments += ["--base", str(tmp_path)] if verb == "finetune" else []
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and message in result.output and len(result.output.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("", 0))) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"worker 0 of 2 \({address}\) cannot listen there"):
            Cluster((address, "127.0.0.1:1"), 0).meet(1, print)


def _meet(
    devices: dict[int, int], size: int, seconds: float = 60, order: Sequence[int] | None = None
) -> tuple[dict[int, str], list[str], list[str]]:
    """What becomes of the workers with these numbers of devices in a cluster of `size`; what the chief says; and all
    addresses. They start in the given order."""
    addresses = _free_addresses(size)
    ends: dict[int, str] = {}
    said: list[str] = []

    def meet(index: int) -> None:
        try:
            Cluster(tuple(addresses), index).meet(devices[index], said.append, seconds)
            ends[index] = "met"
        except InputError as error:
            ends[index] = str(error)

    threads = [threading.Thread(target=meet, args=(index,)) for index in order or devices]
    for thread in threads:
        assert not ends
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    return ends, said, addresses


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_workers_wait_for_each_other(order: Sequence[int]) -> None:
    ends, said, addresses = _meet({0: 1, 1: 1, 2: 1}, 3, order=order)
    assert ends == {0: "met", 1: "met", 2: "met"}
    assert said == [f"waiting for worker 1 of 3 ({addresses[1]}), worker 2 of 3 ({addresses[2]})"]


def test_workers_that_do_not_come_are_named_to_all() -> None:
    ends, _, addresses = _meet({0: 1, 1: 1}, 3, seconds=5)
    message = f"worker 2 of 3 ({addresses[2]}): did not come in time; start all workers together"
    assert ends == {0: message, 1: message}


def test_a_chief_that_does_not_come_is_named() -> None:
    ends, _, addresses = _meet({1: 1}, 2, seconds=1)
    assert ends == {1: f"worker 0 of 2 ({addresses[0]}): did not come in time; start all workers together"}


def test_workers_with_other_numbers_of_devices_are_told() -> None:
    ends, _, addresses = _meet({0: 2, 1: 2, 2: 1}, 3)
    message = f"worker 2 of 3 ({addresses[2]}): has 1 devices, and worker 0 of 3 ({addresses[0]}) 2; give all the same"
    assert set(ends) == {0, 1, 2} and all(end.startswith(message) for end in ends.values())


def test_who_else_calls_or_hangs_up_does_not_count() -> None:
    """As a scan of the network, and a worker that is started again."""
    addresses = tuple(_free_addresses(3))
    waiting, met = threading.Event(), threading.Event()

    def chief() -> None:
        Cluster(addresses, 0).meet(1, lambda text: waiting.set(), 60)
        met.set()

    meeting = [threading.Thread(target=chief)]
    meeting[0].start()
    waiting.wait()
    host, port = addresses[0].split(":")
    for word in (b"GET / HTTP/1.1\r\n", b"\xff\xfe\n", b"segapp worker 1 1\n", b"segapp worker 9 1\n", b""):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(word)
    for index in (2, 1):
        time.sleep(1)
        assert not met.is_set()
        meeting.append(threading.Thread(target=Cluster(addresses, index).meet, args=(1, print, 60)))
        meeting[-1].start()
    for thread in meeting:
        thread.join()
    assert met.is_set()


@pytest.mark.parametrize(
    ("apart", "error", "name"),
    [
        (False, "Error reported from /job:worker/task:1: unhealthy", "worker 1 of 3 (b:1)"),
        (True, "Error reported from /job:worker/replica:0/task:1 (gone)", "worker 2 of 3 (c:1)"),
        (True, "/job:worker/replica:0/task:0 while calling /job:chief/replica:0/task:0", "worker 1 of 3 (b:1)"),
        (False, "Connection reset", "another worker than worker 0 of 3 (a:1)"),
    ],
)
def test_a_lost_worker_is_found_in_what_tensorflow_says(apart: bool, error: str, name: str) -> None:
    assert Cluster(("a:1", "b:1", "c:1"), 0, apart).blamed(error) == name


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
        next(iter(PatchStream(*_parts(stream), worker, workers).batches(batch, first_step)))
        for worker in range(workers)
    ]
    whole = next(iter(stream.batches(batch, first_step)))
    for part, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([share[part] for share in shares]), expected)


def _parts(stream: PatchStream) -> tuple[PatchSource, Augmentation, Any]:
    return stream.source, stream.augmentation, stream.statistics


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
        first, *others = addresses = _free_addresses(workers)
        processes = []
        for place in range(workers):
            job, index = ("worker", place - 1) if place else ("chief", 0)
            config = json.dumps(_config({"chief": [first], "worker": others}, job, index))
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
