"""What goes wrong between a client and its server is told in one line that says what to do."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import tests.prediction.conftest
from segapp.classes import ClassTable
from segapp.cli import main
from segapp.client.endpoint import ServerSettings
from segapp.errors import InputError
from segapp.inference.settings import RunSettings
from segapp.prediction.predict import map_scenes
from segapp.prediction.settings import MapSettings
from tests.serving import service
from tests.serving.c_api import SessionError
from tests.serving.service import Model
from tests.serving.stand_in import PROTOCOLS, Outputs, classify, failing, serving

WriteScene = Callable[..., Path]

write_scene = tests.prediction.conftest.write_scene


def _run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


@pytest.fixture
def scene(write_scene: WriteScene, tmp_path: Path) -> Path:
    """A small scene."""
    return write_scene(tmp_path / "scene.tif", (40, 50))


MISTAKES = {
    "neither": ([], "give --model DIRECTORY, or --endpoint"),
    "both": (["--model", "m", "--endpoint", "grpc://127.0.0.1:1/m"], "--model and --endpoint exclude each other"),
    "an engine": (
        ["--endpoint", "grpc://127.0.0.1:1/m", "--engine", "openvino"],
        "--engine is for a --model on this machine",
    ),
    "a precision": (["--endpoint", "http://127.0.0.1:1/m", "--precision", "float32"], "--precision is for a --model"),
    "a check": (["--endpoint", "grpc://127.0.0.1:1/m", "--check"], "--check compares engines on this machine"),
    "no patience": (["--endpoint", "grpc://127.0.0.1:1/m", "--patience", "-1"], "--patience"),
    "no time": (["--endpoint", "grpc://127.0.0.1:1/m", "--deadline", "0"], "--deadline"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_options_that_do_not_go_together_are_told(name: str, scene: Path, tmp_path: Path) -> None:
    options, message = MISTAKES[name]
    code, err = _run(scene, "--output", tmp_path / "map.tif", *options)
    assert code == 2 and message in err and err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


FAILURES = {
    service.UNAVAILABLE: r"did not answer for 0.3 s \(.*its words.*--patience",
    service.DEADLINE_EXCEEDED: "a longer --deadline or a smaller --tile-size",
    service.RESOURCE_EXHAUSTED: "has no room for a request .*its words.*; give a longer --patience",
    service.NOT_FOUND: "serves no model 'small' in version 1 .*its words",
    service.INVALID_ARGUMENT: "refuses the request: .*its words",
    service.FAILED_PRECONDITION: "refuses the request: .*its words",
    service.UNAUTHENTICATED: "set SEGAPP_TOKEN",
    service.PERMISSION_DENIED: "set SEGAPP_TOKEN",
    service.INTERNAL: "failed .*its words.*see the server's log",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", FAILURES)
def test_what_the_server_says_becomes_one_line_with_what_to_do(
    protocol: str, code: int, scene: Path, tmp_path: Path
) -> None:
    with (
        serving(protocol, failing(code)) as endpoint,
        pytest.raises(InputError, match=f"^{endpoint}/versions/1: .*{FAILURES[code]}") as told,
    ):
        settings = ServerSettings(patience=0.3)
        map_scenes(endpoint, scene, tmp_path / "map.tif", server=settings, quiet=True)
    assert "\n" not in str(told.value) and [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_repeats_a_whole_request_is_cut_short(protocol: str, scene: Path, tmp_path: Path) -> None:
    with (
        serving(protocol, failing(service.INVALID_ARGUMENT, "0.123, " * 1000)) as endpoint,
        pytest.raises(InputError, match="refuses the request") as told,
    ):
        map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_at_the_port_is_told_at_once_and_again_at_the_end(protocol: str, scene: Path, tmp_path: Path) -> None:
    options = ["--endpoint", f"{protocol}://127.0.0.1:9/unet6", "--patience", "0.4"]
    code, err = _run(scene, "--output", tmp_path / "map.tif", *options)
    first, last = err.strip().split("\n")
    assert code == 2 and "/unet6: does not answer (" in first and "trying for 0.4 s" in first
    assert last.startswith(f"segapp: {protocol}://127.0.0.1:9/unet6: did not answer for 0.4 s")


def test_a_server_that_is_lost_ends_the_other_scenes_too(write_scene: WriteScene, scene: Path, tmp_path: Path) -> None:
    another = write_scene(tmp_path / "another.tif", (40, 50))
    asked: list[str] = []

    def run(signature: str, inputs: Outputs) -> Outputs:
        asked.append(signature)
        return failing(service.UNAVAILABLE)(signature, inputs)

    results = tmp_path / "maps.json"
    results.write_text("of the night before")
    with serving("http", run) as endpoint:
        options = ["--endpoint", endpoint, "--patience", "0", "--json", results]
        code, err = _run(scene, another, "--output", tmp_path / "maps", *options)
    assert asked == ["describe", "serving_default"]
    assert code == 3 and "failed, with all scenes that are left" in err and "2 of 2 scenes failed" in err
    failures = json.loads(results.read_text())["failures"]
    assert [Path(failure["scene"]).name for failure in failures] == ["scene.tif", "another.tif"]
    assert all("did not answer for 0 s" in failure["reason"] for failure in failures)


def test_tiles_beyond_what_a_message_holds_are_refused(scene: Path, tmp_path: Path) -> None:
    with serving("grpc") as endpoint:
        code, err = _run(scene, "--endpoint", endpoint, "--output", tmp_path / "map.tif", "--tile-size", "20000")
    assert code == 2 and "makes messages beyond 2 GB; give a smaller --tile-size" in err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_slow_server_names_the_deadline(protocol: str, scene: Path, tmp_path: Path) -> None:
    released = threading.Event()

    def run(signature: str, inputs: Outputs) -> Outputs:
        if signature != "describe":
            released.wait()
        return classify(signature, inputs)

    with serving(protocol, run) as endpoint:
        options = ["--endpoint", endpoint, "--deadline", "0.5", "--quiet"]
        code, err = _run(scene, "--output", tmp_path / "map.tif", *options)
        released.set()
    assert code == 2 and "took longer than 0.5 s" in err and "--deadline or a smaller --tile-size" in err


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("name", "version"), [("other", ""), ("small", "/versions/7")])
def test_a_model_or_version_that_is_not_served_is_named(
    protocol: str, name: str, version: str, scene: Path, tmp_path: Path
) -> None:
    where = "version 7" if version else "any version"
    with (
        serving(protocol) as endpoint,
        pytest.raises(InputError, match=f"serves no model '{name}' in {where} .*Servable not found"),
    ):
        map_scenes(endpoint.replace("small", name) + version, scene, tmp_path / "map.tif", quiet=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_new_version_on_the_way_is_not_mixed_in(protocol: str, scene: Path, tmp_path: Path) -> None:
    def run(signature: str, inputs: Outputs) -> Outputs:
        if signature != "describe":
            model.version = 2
        return classify(signature, inputs)

    model = Model(run)
    with (
        serving(protocol, model) as endpoint,
        pytest.raises(InputError, match="serves no model 'small' in version 1 "),
    ):
        map_scenes(endpoint, scene, tmp_path / "map.tif", run=RunSettings(tile=16), quiet=True)
    assert model.version == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_busy_now_and_then_makes_the_same_map(protocol: str, scene: Path, tmp_path: Path) -> None:
    refused: set[bytes] = set()

    def run(signature: str, inputs: Outputs) -> Outputs:
        if signature != "describe" and (tile := inputs["reflectance"].tobytes()) not in refused:
            refused.add(tile)
            raise SessionError(service.UNAVAILABLE, "busy")
        return classify(signature, inputs)

    for name, served in (("busy", run), ("idle", classify)):
        with serving(protocol, served) as endpoint:
            map_scenes(endpoint, scene, tmp_path / f"{name}.npy", run=RunSettings(tile=16), quiet=True)
    assert len(refused) == 12 and np.array_equal(np.load(tmp_path / "busy.npy"), np.load(tmp_path / "idle.npy"))


def test_an_answer_that_trickles_in_ends_at_the_deadline(scene: Path, tmp_path: Path) -> None:
    gone = threading.Event()

    class Trickle(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while not gone.wait(0.02):
                    self.wfile.write(b" ")
            except OSError:
                gone.set()

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Trickle) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/small"
        with pytest.raises(InputError, match=r"a request took longer than 0\.3 s"):
            map_scenes(endpoint, scene, tmp_path / "map.tif", server=ServerSettings(deadline=0.3), quiet=True)
        assert gone.wait(60)
        server.shutdown()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            SessionError(service.FAILED_PRECONDITION, "no such signature"),
            "does not describe its model .*no such signature",
        ),
        (SessionError(service.INVALID_ARGUMENT, "no such input"), "serve one that segapp exported"),
        ({"model": np.array([b"{}"], object)}, "export the model again"),
    ],
    ids=["no signature", "another signature", "another schema"],
)
def test_a_model_that_segapp_did_not_export_is_told(
    protocol: str, answer: SessionError | Outputs, message: str, scene: Path, tmp_path: Path
) -> None:
    def run(signature: str, inputs: Outputs) -> Outputs:
        if isinstance(answer, SessionError):
            raise answer
        return answer

    with serving(protocol, run) as endpoint, pytest.raises(InputError, match=message):
        map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_much_larger_than_the_tile_is_not_taken(protocol: str, scene: Path, tmp_path: Path) -> None:
    def run(signature: str, inputs: Outputs) -> Outputs:
        found = classify(signature, inputs)
        if signature == "describe":
            return found
        return {name: np.repeat(np.repeat(array, 20, 1), 20, 2) for name, array in found.items()}

    with serving(protocol, run) as endpoint, pytest.raises(InputError, match=r"too large .* smaller --tile-size"):
        all_numbers = MapSettings(layers=("probabilities",))
        map_scenes(endpoint, scene, tmp_path / "map.tif", all_numbers, RunSettings(tile=32), quiet=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_of_another_shape_is_told(protocol: str, scene: Path, tmp_path: Path) -> None:
    def run(signature: str, inputs: Outputs) -> Outputs:
        found = classify(signature, inputs)
        return found if signature == "describe" else {name: array[:, 1:] for name, array in found.items()}

    with serving(protocol, run) as endpoint, pytest.raises(InputError, match="its classes have the shape"):
        map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)


def test_ids_of_two_bytes_come_back_as_they_are(scene: Path, tmp_path: Path) -> None:
    classes = ClassTable.model_validate(
        {"classes": [{"id": 7, "name": "a"}, {"id": 40_000, "name": "b"}], "nodata": 65535}
    )
    with serving("grpc", lambda signature, inputs: classify(signature, inputs, classes)) as endpoint:
        map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as found, rasterio.open(scene) as source:
        bright = source.read()[:, 9:].mean(0) > 2000
        assert np.array_equal(found.read(1)[9:], np.where(bright, 40_000, 7)) and (found.read(1)[:9] == 65535).all()
        assert 0 < bright.mean() < 1


def test_a_package_that_is_missing_is_named_with_its_extra(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(InputError, match=r"pip install 'segapp\[serving\]', or use .*REST"):
        map_scenes("grpc://127.0.0.1:9/unet6", scene, tmp_path / "map.tif", quiet=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_model_server_is_told(protocol: str, scene: Path, tmp_path: Path) -> None:
    """The other protocol's port."""
    other = "http" if protocol == "grpc" else "grpc"
    with serving(other) as endpoint, pytest.raises(InputError, match=r"127\.0\.0\.1"):
        settings = ServerSettings(patience=0.3, deadline=5)
        map_scenes(endpoint.replace(other, protocol), scene, tmp_path / "map.tif", server=settings, quiet=True)
