"""Models live in remote places as they do in folders: each test with TensorFlow's ``file://`` and, where tensorflow-io
loads, with ``s3://`` on a server of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import segapp
from segapp.prediction.predict import map_scenes
from segapp.remote import address_of
from segapp.training.checkpoint import read_progress
from segapp.training.mirror import makes_remote
from segapp.training.recipe import Recipe
from segapp.transfer.strategy import Strategy

gfile = tf.io.gfile


def _recipe(**changes: Any) -> Recipe:
    usual = {"patch_size": 32, "batch": 2, "steps": 6, "network": {"depth": 1, "filters": 2, "dropout": 0.5}}
    return Recipe(schema=1, **{**usual, "validation": {"every": 2}, **changes})


@pytest.fixture(scope="module")
def local(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training into a folder gives; not to be changed."""
    output = tmp_path_factory.mktemp("local") / "model"
    segapp.train(samples, output, recipe=_recipe(), precision="float32", quiet=True)
    return output


@pytest.fixture(scope="module")
def base(place: str, local: Path) -> str:
    """The same in a remote place."""
    for file in local.iterdir():
        if file.is_file():
            gfile.makedirs(f"{place}/base")
            gfile.copy(str(file), f"{place}/base/{file.name}")
    return f"{place}/base"


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _same(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


class _Interrupt(keras.callbacks.Callback):
    """Stops at a step, and keeps what lay in the remote place when the step before it was done."""

    def __init__(self, address: str, at: int) -> None:
        super().__init__()
        self.address, self.at, self.seen = address, at, b""

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if batch == self.at:
            with gfile.GFile(f"{self.address}.partial/checkpoint.npz", "rb") as file:
                self.seen = file.read()
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_from_where_it_was_mirrored(
    place: str, samples: Path, local: Path, nothing_is_left: Path, tmp_path: Path
) -> None:
    address = f"{place}/interrupted"
    settings: dict[str, Any] = {"recipe": _recipe(), "precision": "float32", "quiet": True}
    interrupt = _Interrupt(address, 3)
    with pytest.raises(KeyboardInterrupt):
        segapp.train(samples, address, callbacks=[interrupt], **settings)
    (tmp_path / "seen.npz").write_bytes(interrupt.seen)
    assert read_progress(tmp_path / "seen.npz").step == 2  # was there before the interruption
    assert not gfile.exists(f"{address}/model.json")
    with pytest.raises(segapp.InputError, match=r"interrupted\.partial: holds an interrupted run"):
        segapp.train(samples, address, **settings)
    model = segapp.train(samples, Path(address), resume=True, **settings)
    assert _same(model, segapp.load(local))
    assert not gfile.exists(f"{address}.partial") and not list(nothing_is_left.iterdir())
    for name in ("model.json", "model.weights.h5", "README.md", "log.csv", "training-progress.png"):
        assert gfile.exists(f"{address}/{name}"), name
    assert gfile.listdir(f"{address}/events")
    with pytest.raises(segapp.InputError, match="exists already"):
        segapp.train(samples, address, **settings)
    with pytest.raises(segapp.InputError, match="exists already"):
        segapp.train(samples, address, resume=True, **settings)


def test_bad_input_leaves_nothing_behind(place: str, nothing_is_left: Path) -> None:
    with pytest.raises(segapp.InputError, match=r"no such file|cannot be read"):
        segapp.train(Path("none.toml"), f"{place}/bad")
    assert not gfile.exists(f"{place}/bad.partial") and not list(nothing_is_left.iterdir())


@makes_remote
def _made(output: Path, resume: bool = False, callbacks: Sequence[keras.callbacks.Callback] = ()) -> str:
    """Leaves what a training leaves, a checkpoint at each of three steps."""
    partial = output.with_name(f"{output.name}.partial")
    partial.mkdir()
    for step in range(3):
        (partial / "checkpoint.npz").write_text("x" * step)
        for callback in callbacks:
            callback.on_train_batch_end(step, {})
    (partial / "model.json").write_text("whole")
    partial.rename(output)
    return "made"


def test_a_store_that_is_away_for_a_while_costs_nothing(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, failed = gfile.copy, []

    def sometimes(source: str, target: str, overwrite: bool = False) -> None:
        if not failed:
            failed.append(target)
            raise tf.errors.UnavailableError(None, None, "the store is away")
        copy(source, target, overwrite)

    monkeypatch.setattr(gfile, "copy", sometimes)
    assert _made(f"{place}/away") == "made"
    assert failed == [f"{place}/away.partial/checkpoint.npz"]
    assert "the store is away" in capsys.readouterr().err
    assert gfile.exists(f"{place}/away/model.json") and not gfile.exists(f"{place}/away.partial")


def test_a_store_that_is_lost_in_the_end_does_not_lose_the_model(
    place: str, nothing_is_left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(source: str, target: str, overwrite: bool = False) -> None:
        raise tf.errors.UnavailableError(None, None, "the store is away")

    monkeypatch.setattr(gfile, "copy", never)
    with pytest.raises(OSError, match="the store is away") as raised:
        _made(f"{place}/lost")
    (kept,) = nothing_is_left.glob("*/lost")
    assert (kept / "model.json").read_text() == "whole" and str(kept.parent) in str(raised.value)


def test_of_several_workers_the_chief_alone_uploads(
    place: str, nothing_is_left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"worker": ["127.0.0.1:2000", "127.0.0.1:2001"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    assert _made(f"{place}/shared") == "made"
    assert not gfile.exists(f"{place}/shared.partial") and not gfile.exists(f"{place}/shared")
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    _made(f"{place}/shared")
    assert gfile.exists(f"{place}/shared/model.json") and not list(nothing_is_left.iterdir())


def test_a_base_is_fetched_and_the_result_uploaded_with_what_makes_it_whole_last(
    place: str, base: str, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, order = gfile.copy, []
    monkeypatch.setattr(gfile, "copy", lambda s, t, overwrite=False: (order.append(t), copy(s, t, overwrite))[1])
    strategy = Strategy(
        schema=1,
        patch_size=32,
        batch=2,
        steps=2,
        guard=False,
        phases=({"name": "all", "rate": 1e-3, "layers": {"*": 1}},),
    )
    segapp.finetune(base, samples, f"{place}/tuned", strategy=strategy, precision="float32", quiet=True)
    whole = [target for target in order if target.startswith(f"{place}/tuned/")]
    assert whole[-1] == f"{place}/tuned/model.json"
    with gfile.GFile(f"{place}/tuned/model.json") as file:
        assert json.loads(file.read())["provenance"]["base"] == base


def test_a_model_is_loaded_once_and_again_when_it_has_changed(place: str, local: Path) -> None:
    address = f"{place}/changing"
    gfile.makedirs(address)
    for name in ("model.json", "model.weights.h5"):
        gfile.copy(str(local / name), f"{address}/{name}")
    assert _same(segapp.load(address), segapp.load(local))
    document = json.loads((local / "model.json").read_text())
    with gfile.GFile(f"{address}/model.json", "w") as file:
        file.write(json.dumps({**document, "name": "renamed"}))
    assert segapp.load(Path(address)).spec.name == "renamed"
    with gfile.GFile(f"{address}/model.json", "w") as file:
        file.write(json.dumps({**document, "schema": 99}))
    with pytest.raises(segapp.InputError, match=f"^{address}/model.json: schema 99"):
        segapp.load(address)


def test_maps_and_scores_come_from_a_remote_model(base: str, local: Path, samples: Path, tmp_path: Path) -> None:
    scene = samples.parent / "test" / "scene_04.tif"
    map_scenes(Path(base), scene, tmp_path / "remote.tif", quiet=True)
    map_scenes(local, scene, tmp_path / "local.tif", quiet=True)
    assert (tmp_path / "remote.tif").read_bytes() == (tmp_path / "local.tif").read_bytes()
    assert segapp.evaluate(base, samples).as_dict() == segapp.evaluate(local, samples).as_dict()


@pytest.mark.long
def test_an_export_appears_with_its_graph_last(place: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, order = gfile.copy, []
    monkeypatch.setattr(gfile, "copy", lambda s, t, overwrite=False: (order.append(t), copy(s, t, overwrite))[1])
    gfile.makedirs(f"{place}/serving/net/3")
    for taken in ("3/saved_model.pb", "models.config"):
        with gfile.GFile(f"{place}/serving/net/{taken}", "w") as file:
            file.write("mine")
    assert segapp.export(base, f"{place}/serving/net", next=True, quiet=True) == Path(f"{place}/serving/net/4")
    uploaded = [target for target in order if target.startswith(f"{place}/serving")]
    assert uploaded[-1] == f"{place}/serving/net/4/saved_model.pb"
    assert f"{place}/serving/net/batching.config" in uploaded
    with gfile.GFile(f"{place}/serving/net/models.config") as file:
        assert file.read() == "mine"
    served = tf.saved_model.load(f"{place}/serving/net/4")
    assert set(served.signatures) >= {"serving_default", "describe"}
    with pytest.raises(segapp.InputError, match="exists already"):
        segapp.export(base, f"{place}/serving/net/4")


@pytest.mark.parametrize("missing", ["nothing", "serving"])
def test_what_is_no_model_is_named(place: str, missing: str) -> None:
    with pytest.raises(segapp.InputError, match=f"^{place}/{missing}: is no model directory"):
        segapp.load(f"{place}/{missing}")


def test_a_process_ends_with_its_own_exit_code(place: str) -> None:
    """tensorflow-io by itself aborts every process that has asked for anything at s3://."""
    script = f"import sys, segapp.remote as r; r.file_system('{place}').exists('{place}/x'); sys.exit(3)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr


@pytest.mark.parametrize(
    "path", ["s3://bucket/a/b", Path("s3://bucket/a/b"), Path("s3://bucket/a") / "b", "s3://bucket/a/b/"]
)
def test_an_address_survives_pathlib(path: str | Path) -> None:
    assert address_of(path) == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "path", ["models/x", "/data/x", "C:/models/x", "C:\\models", ".", "s3", "a b:/c", Path("x:y/z")]
)
def test_local_paths_are_no_addresses(path: str | Path) -> None:
    assert address_of(path) is None


def test_a_place_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    """No file system has this name, as s3 has none without tensorflow-io."""
    command = [sys.executable, "-m", "segapp", "export", "--model", "nowhere://bucket/x", "--output", "serving/1"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 2
    line = made.stderr.splitlines()[-1]
    assert line.startswith("segapp: nowhere://bucket/x: TensorFlow") and "pip install 'segapp[tfio]'" in line
