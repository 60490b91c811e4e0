"""TF_CONFIG names the workers, who wait for each other; what keeps them from it is one clear line."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from segapp.cli import main
from segapp.errors import InputError
from segapp.training.cluster import Cluster, read_cluster


def free_addresses(count: int) -> list[str]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    for door in doors:
        door.close()
    return addresses


def _set(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))


def tf_config(cluster: dict[str, list[str]], job: str = "worker", index: object = 0) -> dict[str, Any]:
    return {"cluster": cluster, "task": {"type": job, "index": index}}


@pytest.mark.parametrize("config", ["{}", {"environment": "cloud"}, tf_config({"worker": ["a:1"]}, "chief", 7)])
def test_without_other_workers_a_process_is_alone(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, config)
    assert read_cluster() == Cluster()
    assert Cluster().chief and Cluster().size == 1


@pytest.mark.parametrize(
    ("job", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)], ids=["chief", "first", "second"]
)
def test_a_chief_of_its_own_comes_first(job: str, index: object, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes' training operator and Vertex AI write it, with keys of their own; indexes may be text."""
    config = tf_config({"worker": ["w0:22", "w1:22"], "chief": ["c:22"]}, job, index)
    _set(monkeypatch, config | {"environment": "cloud", "job": {"x": 1}})
    assert read_cluster() == Cluster(("c:22", "w0:22", "w1:22"), place, True)


def test_without_one_the_first_worker_is_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, tf_config({"worker": ["a:1", "[::1]:2"]}, index=1))
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
        (tf_config({"worker": ["a", "b:1"]}), "TF_CONFIG: cluster: 'a' is no address; write host:port"),
        (tf_config({"worker": ["a:70000", "b:1"]}), "'a:70000' is no address"),
        (tf_config({"worker": ["a:1", "a:1"]}), "a:1 is there twice"),
        ({"cluster": TWO}, "TF_CONFIG: task is missing"),
        ({"cluster": TWO, "task": {"type": "worker"}}, "TF_CONFIG: task.index is missing"),
        (tf_config(TWO, index=2), "task is worker 2, which cluster does not have"),
        (tf_config(TWO, index=-1), "task.index"),
        (tf_config(TWO, "chief"), "task is chief 0, which cluster does not have"),
        (tf_config({**TWO, "chief": ["c:1", "d:1"]}), "only one worker can be the chief"),
        (tf_config({**TWO, "ps": ["p:1"]}), "a task 'ps', for which a training has no use"),
        (tf_config(TWO, "evaluator"), "a task 'evaluator', for which"),
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
        ("finetune", json.dumps(tf_config(TWO)), "names 2 workers, but a transfer runs on one"),
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
    addresses = free_addresses(size)
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
    addresses = tuple(free_addresses(3))
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
