"""A scene mapped through a server is the scene mapped at home, whatever happens to the server on the way."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.prediction.conftest
from segapp.classes import IGNORED_INDEX
from segapp.client.client import find_served
from segapp.client.endpoint import ServerSettings, parse_endpoint
from segapp.client.retry import with_retries
from segapp.client.transport import ServerError
from segapp.errors import InputError
from segapp.inference.predictor import Predictor, in_parallel
from segapp.inference.settings import RunSettings
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.maps.record import read_record
from segapp.model.bundle import load
from segapp.model.model_scene import open_for_model
from segapp.prediction.predict import map_scenes
from segapp.prediction.settings import MapSettings
from segapp.windows import Window
from tests.serving.conftest import SERVER, Exported
from tests.serving.service import Model, ServerProcess, serve_rest
from tests.toy import random_scene

WriteScene = Callable[..., Path]

TIE = 1e-5
FLOAT32 = RunSettings(precision="float32")
write_scene = tests.prediction.conftest.write_scene


@pytest.fixture(
    scope="module",
    params=[
        None,
        pytest.param(SERVER, marks=pytest.mark.skipif(SERVER is None, reason="no tensorflow_model_server on the PATH")),
    ],
    ids=["loopback", "tensorflow_model_server"],
)
def server(request: pytest.FixtureRequest, exported_trained: Exported) -> Iterator[ServerProcess]:
    """A running server of the trained model."""
    process = ServerProcess(exported_trained.version, request.param)
    yield process
    process.stop()


def _read(file: Path) -> np.ndarray:
    with rasterio.open(file) as source:
        return source.read()


def _assert_equal_but_for_ties(found: np.ndarray, expected: np.ndarray, model: Path, scene: Path) -> None:
    """Maps (H, W) of file ids; where they differ, the two most probable classes must be equally so."""
    assert len(np.unique(expected)) > 2
    rows, cols = np.nonzero(found != expected)
    if not len(rows):
        return
    network = load(model)
    probabilities = np.empty((*expected.shape, len(network.spec.classes)), np.float32)
    for window, values in Predictor(TensorFlowEngine(network)).probabilities(open_for_model(scene, network.spec)):
        probabilities[window.slices] = values
    second, largest = np.sort(probabilities[rows, cols])[:, -2:].T
    assert (largest - second < TIE).all()


def test_a_large_scene_of_counts_is_mapped_as_at_home(
    server: ServerProcess, exported_trained: Exported, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif", (1500, 2000))
    map_scenes(exported_trained.model, scene, tmp_path / "home.tif", run=FLOAT32, quiet=True)
    map_scenes(server.grpc, scene, tmp_path / "served.tif", quiet=True)
    (found,), (expected,) = (_read(tmp_path / name) for name in ("served.tif", "home.tif"))
    assert found.shape == (1500, 2000)
    _assert_equal_but_for_ties(found, expected, exported_trained.model, scene)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_server_that_is_away_for_five_seconds_changes_nothing(
    server: ServerProcess, exported_trained: Exported, write_scene: WriteScene, tmp_path: Path, protocol: str
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    map_scenes(exported_trained.model, scene, tmp_path / "home.tif", run=FLOAT32, quiet=True)
    predictor, spec = find_served(parse_endpoint(getattr(server, protocol)), ServerSettings()).open(
        RunSettings(tile=128)
    )
    back = threading.Timer(5, server.start)
    found, after = np.zeros((300, 420), spec.classes.dtype), 0
    for number, (window, indexes) in enumerate(predictor.indexes(open_for_model(scene, spec))):
        found[window.slices] = spec.classes.to_ids(indexes)
        if number == 3:
            server.stop()
            back.start()
        after += back.finished.is_set()
    back.join()
    assert after > 5, "the server did not have to be waited for"
    _assert_equal_but_for_ties(found, _read(tmp_path / "home.tif")[0], exported_trained.model, scene)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize(
    "run",
    [RunSettings(tile=72), RunSettings(blend=True), RunSettings(test_time_augmentation=True)],
    ids=["tiles", "blended", "turned"],
)
def test_probabilities_are_those_at_home(
    server: ServerProcess,
    exported_trained: Exported,
    write_scene: WriteScene,
    tmp_path: Path,
    protocol: str,
    run: RunSettings,
) -> None:
    scene = write_scene(tmp_path / "scene.tif", (90, 71))
    only = MapSettings(layers=("probabilities-float32",))
    home = RunSettings("tensorflow", "float32", run.tile, run.blend, run.test_time_augmentation)
    map_scenes(exported_trained.model, scene, tmp_path / "home.tif", only, home, quiet=True)
    map_scenes(getattr(server, protocol), scene, tmp_path / "served.tif", only, run, quiet=True)
    found, expected = (_read(tmp_path / f"{name}.probabilities.tif") for name in ("served", "home"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.isnan(found[:, :9]).all() and not np.isnan(found[:, 9:]).any()


def test_the_record_names_the_server_and_a_map_goes_on_only_with_the_same_weights(
    server: ServerProcess, exported_trained: Exported, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene, output = write_scene(tmp_path / "scene.tif", (40, 50)), tmp_path / "map.tif"
    map_scenes(server.grpc, scene, output, quiet=True)
    record = read_record(output)
    assert record is not None
    assert record.made_with["server"] == f"{server.grpc}/versions/1"
    assert record.made_with["weights"] == load(exported_trained.model).spec.weights.sha256
    written = output.stat().st_mtime_ns
    map_scenes(f"{server.rest}/versions/1", scene, output, resume=True, quiet=True)
    assert output.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="was made with another engine"):
        map_scenes(exported_trained.model, scene, output, resume=True, quiet=True)
    other = json.loads((tmp_path / "map.tif.json").read_text())
    other["made_with"]["weights"] = "of another model"
    (tmp_path / "map.tif.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="was made with another weights"):
        map_scenes(server.grpc, scene, output, resume=True, quiet=True)


def test_a_served_model_can_be_handed_to_another_process(server: ServerProcess) -> None:
    served = pickle.loads(pickle.dumps(find_served(parse_endpoint(server.grpc), ServerSettings())))
    predictor, spec = served.open(RunSettings())
    indexes = predictor.class_map(random_scene((40, 50), bands=6))
    assert set(np.unique(indexes)) <= set(range(len(spec.classes)))


def test_by_rest_neither_tensorflow_nor_grpc_is_loaded(
    server: ServerProcess, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif", (40, 50))
    arguments = ["predict", str(scene), "--endpoint", server.rest, "--output", str(tmp_path / "map.tif"), "--quiet"]
    script = f"import sys\nfrom segapp.cli import main\nmain({arguments!r})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (tmp_path / "map.tif").exists() and "segapp.client.client" in done.stdout.split()
    assert not {"tensorflow", "keras", "grpc", "tensorflow_serving"} & set(done.stdout.split())


def test_an_interruption_does_not_wait_for_the_server(
    exported_trained: Exported, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    description = _description(exported_trained)
    asked, released = threading.Event(), threading.Event()

    def run(signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if signature == "describe":
            return {"model": np.array([description], object)}
        asked.set()
        released.wait()
        return {}

    slow = serve_rest(Model(run))
    threading.Thread(target=slow.serve_forever, daemon=True).start()
    # A shell's background jobs ignore interruptions; beside so many threads a preexec_fn may hang.
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from segapp.cli import main; main()"
    )
    command = [sys.executable, "-c", heard, "predict", str(scene), "--output", str(tmp_path / "map.tif")]
    command += ["--endpoint", f"http://127.0.0.1:{slow.server_port}/small", "--deadline", "600"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert asked.wait(120)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    released.set()
    assert process.returncode == 130 and "interrupted" in err
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


def _description(exported: Exported) -> bytes:
    """What the exported model says of itself."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(exported.version))
    return loaded.signatures["describe"](schema=tf.constant([1]))["model"].numpy()[0]


class _Brightness:
    """An engine that finds the brighter half of an image, and keeps count of the images under way."""

    stride, halo, classes, bytes_per_pixel, description = 4, 0, 2, 100, "brightness"

    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight
        self.under_way = self.most = 0
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.threads.add(threading.get_ident())
        time.sleep(float(np.random.default_rng().uniform(0, 0.003)))
        with self._lock:
            self.under_way -= 1
        return (image[place.slices].mean(-1) > 0).astype(np.uint8)

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[self.indexes(image, place)]


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_so_many_tiles_are_in_flight_as_the_engine_wants(in_flight: int) -> None:
    engine, scene = _Brightness(in_flight), random_scene((97, 130))
    scene.pixels[8:40, :50] = np.nan
    found = list(Predictor(engine, tile=16).indexes(scene))
    assert [window for window, _ in found] == sorted(window for window, _ in found)
    indexes = np.empty(scene.shape, np.uint8)
    for window, values in found:
        indexes[window.slices] = values
    missing = np.isnan(scene.pixels[..., 0])
    assert np.array_equal(indexes, np.where(missing, IGNORED_INDEX, scene.pixels.mean(-1) > 0))
    assert engine.most == in_flight and (in_flight > 1 or engine.threads == {threading.get_ident()})


@given(st.integers(1, 6), st.lists(st.integers(0, 3), max_size=20))
@settings(max_examples=30)
def test_results_come_in_order_and_few_items_are_taken_before_they_are_needed(number: int, pauses: list[int]) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for taken, pause in enumerate(pauses, start=1):  # noqa: B007
            yield pause

    def slowly(pause: int) -> int:
        time.sleep(pause / 2000)
        return pause

    given_out = 0
    for given_out, result in enumerate(in_parallel(number, slowly, items()), start=1):
        assert result == pauses[given_out - 1] and taken < given_out + number
    assert given_out == len(pauses)


def test_an_error_ends_the_map_without_waiting_for_other_tiles() -> None:
    released = threading.Event()

    def fail_first(number: int) -> int:
        if number == 0:
            raise InputError("no")
        released.wait()
        return number

    with pytest.raises(InputError, match="no"):
        list(in_parallel(3, fail_first, range(9)))
    released.set()


def test_a_busy_server_is_tried_again_until_it_answers_and_said_so_once() -> None:
    failures = [ServerError("UNAVAILABLE", str(number)) for number in range(4)]
    said: list[ServerError] = []

    def request() -> str:
        if failures:
            raise failures.pop(0)
        return "answer"

    assert with_retries(request, 60, said.append) == "answer"
    assert [error.details for error in said] == ["0"]


@pytest.mark.parametrize(
    ("code", "patience", "more"),
    [("UNAVAILABLE", 0.5, True), ("RESOURCE_EXHAUSTED", 0.5, True), ("NOT_FOUND", 60, False), ("TOO_LARGE", 60, False)],
)
def test_patience_ends_and_other_errors_have_none(code: str, patience: float, more: bool) -> None:
    asked = 0

    def request() -> None:
        nonlocal asked
        asked += 1
        raise ServerError(code, "never")

    with pytest.raises(ServerError, match="never"):
        with_retries(request, patience)
    assert (asked > 1) is more


@pytest.mark.parametrize("code", ["INTERNAL", "ABORTED"])
def test_a_fault_of_the_server_is_tried_again_a_few_times(code: str) -> None:
    asked = 0

    def request() -> None:
        nonlocal asked
        asked += 1
        raise ServerError(code, "its fault", retry_after=0)

    with pytest.raises(ServerError, match="its fault"):
        with_retries(request, 60)
    assert asked == 4


def test_the_pause_is_the_one_that_the_server_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    failures = [ServerError("RESOURCE_EXHAUSTED", "busy", retry_after=7.0), ServerError("UNAVAILABLE", "x", 3.0)]
    with_retries(lambda: failures and (_ for _ in ()).throw(failures.pop(0)), 60)
    assert pauses == [7.0, 3.0]
    with pytest.raises(ServerError, match="for an hour"):
        with_retries(lambda: (_ for _ in ()).throw(ServerError("UNAVAILABLE", "for an hour", 3600.0)), 60)
    assert pauses == [7.0, 3.0]  # longer than anybody's patience
