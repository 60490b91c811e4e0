"""Scenes shared over Dask workers give the maps of one process, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segapp.errors import InputError
from segapp.inference.engine import EngineLostError
from segapp.inference.settings import RunSettings
from segapp.prediction.dask_cluster import map_on_cluster
from segapp.prediction.job import Job
from segapp.prediction.predict import map_scenes
from segapp.prediction.settings import MapSettings
from tests.prediction.test_predict import _contents

distributed = pytest.importorskip("distributed", reason="the extra segapp[dask] is not installed")


@pytest.fixture
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two workers, each a process of its own, on the loopback address."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def scenes(tmp_path: Path, write_scene: Callable[..., Path]) -> Path:
    """A folder of four scenes."""
    (tmp_path / "scenes").mkdir()
    for number in range(4):
        write_scene(tmp_path / "scenes" / f"{number}.tif", (500, 400), seed=number)
    return tmp_path / "scenes"


def test_two_workers_give_the_maps_of_one_process_and_so_does_one_when_the_other_is_killed(
    cluster: distributed.LocalCluster, model_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    here = map_scenes(model_folder, scenes, tmp_path / "here", quiet=True)
    shared = map_scenes(model_folder, scenes, tmp_path / "shared", dask=cluster.scheduler_address, quiet=True)
    expected = _contents(tmp_path / "here")
    assert len(expected) == 4 and _contents(tmp_path / "shared") == expected
    assert [record.classes for record in shared.records] == [record.classes for record in here.records]

    output, killed = tmp_path / "killed", threading.Event()

    def kill() -> None:
        """The worker that has the next scene, as soon as it begins to write."""
        with distributed.Client(cluster.scheduler_address) as client:
            while not killed.is_set():
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                if busy and list(output.glob(".*.partial*")):
                    os.kill(client.run(os.getpid, workers=busy[:1])[busy[0]], signal.SIGKILL)
                    killed.set()
                time.sleep(0.01)

    threading.Thread(target=kill, daemon=True).start()
    maps = map_scenes(model_folder, scenes, output, dask=cluster.scheduler_address, quiet=True)
    assert killed.is_set() and not maps.failures
    assert _contents(output) == expected
    assert not list(output.glob(".*"))


def test_an_address_where_nobody_answers_is_refused(model_folder: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        map_scenes(model_folder, scenes, tmp_path / "maps", dask="tcp://127.0.0.1:9", quiet=True)


def test_a_scheduler_that_is_lost_ends_all_scenes_in_one_line(model_folder: Path, scenes: Path, tmp_path: Path) -> None:
    address = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(address)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        try:
            while not address.exists() or not address.read_text():
                assert scheduler.poll() is None
                time.sleep(0.05)
            where = json.loads(address.read_text())["address"]
            job = Job(model_folder, MapSettings(), RunSettings(), {})
            todo = [(scene, tmp_path / scene.name) for scene in sorted(scenes.iterdir())]
            said: list[str] = []

            def kill(line: str) -> None:
                said.append(line)
                scheduler.kill()

            with pytest.raises(EngineLostError, match="the Dask scheduler is lost; start it, and go on with --resume"):
                list(map_on_cluster(where, job, todo, kill))
        finally:
            scheduler.kill()
    assert said == [f"{where}: the scheduler has no worker yet; start one with: dask worker {where}"]
