"""Versions appear whole or not at all, and signatures do to pixels what readers and maps do."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.client.description import CountInput, Description, from_json, to_json
from segapp.errors import InputError
from segapp.model.bundle import write_model
from segapp.model.model_spec import ModelSpec
from segapp.serving import check
from segapp.serving.check import DisagreementError, compare
from segapp.serving.export import export, write_saved_model
from segapp.serving.patches import as_counts, from_counts, made_up
from segapp.serving.signatures import signatures_of
from segapp.serving.versions import deliver, new_version
from tests.serving.conftest import Exported, ask_c_api

SPEC = ModelSpec.model_validate(
    {
        "schema": 2,
        "name": "small",
        "network": {"depth": 2, "filters": 4, "batch_norm": True},
        "bands": [
            {"name": "red", "scale": 2.75e-5, "offset": -0.2, "unit": "reflectance"},
            {"name": "nir", "scale": 1e-4, "unit": "reflectance"},
            {"name": "thermal", "scale": 0.00341802, "offset": 149.0, "unit": "kelvin"},
        ],
        "classes": {"classes": [{"id": 300, "name": "land"}, {"id": 7, "name": "water"}, {"id": 9, "name": "ice"}]},
        "normalization": {"mean": [0.1, 0.2, 290.0], "std": [0.05, 0.1, 10.0]},
        "patch_size": 32,
    }
)


def _built(spec: ModelSpec = SPEC, seed: int = 1) -> Any:
    keras.utils.set_random_seed(seed)
    model = spec.build()
    model.get_layer(spec.head).bias.assign(keras.random.normal((len(spec.classes),)))
    model.spec = spec
    return model


def _description(spec: ModelSpec = SPEC, **counts: Any) -> Description:
    counted = CountInput(**{"dtype": "uint16", "nodata": 0, **counts})
    return Description(model=spec, stride=4, halo=22, bytes_per_pixel=100, counts=counted)


def _called(model: Any, description: Description) -> dict[str, check.Signature]:
    def calling(function: Any) -> check.Signature:
        return lambda **inputs: {
            k: np.asarray(v.numpy()) for k, v in function(*map(tf.constant, inputs.values())).items()
        }

    return {name: calling(function) for name, function in signatures_of(model, description).items()}


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("int16", -9999), ("int16", None), ("uint8", 0)], ids=lambda value: str(value)
)
def test_signatures_answer_as_the_network_on_counts_as_readers_scale_them(dtype: Any, nodata: int | None) -> None:
    scale = 50 if dtype == "uint8" else 1
    bands = tuple(band.model_copy(update={"scale": band.scale * scale}) for band in SPEC.bands)
    spec = SPEC.model_copy(update={"bands": bands})
    model, description = _built(spec), _description(spec, dtype=dtype, nodata=nodata)
    images = [made_up(spec, shape) for shape in ((2, 16, 24), (1, 17, 21), (1, 1, 1), (1, 3, 40))]
    counts = as_counts(images[0], spec, description.counts)
    if nodata is not None:
        assert counts.dtype == dtype and (counts == nodata).any()
        np.testing.assert_array_equal(
            np.isnan(from_counts(counts, spec, description.counts)).any(-1), (counts == nodata).any(-1)
        )
    assert compare(_called(model, description), model, spec, images) <= check.TOLERANCE


def test_a_pixel_without_data_in_one_band_is_without_data_in_all() -> None:
    answer = _called(_built(), _description())["serving_default"]
    images = made_up(SPEC, (1, 20, 20))
    images[0, 8:12, 8:12] = np.nan
    whole = answer(reflectance=images)
    for value, band in ((np.nan, 1), (np.inf, 0), (-np.inf, 2)):
        part = np.where(np.isnan(images), np.float32(0.1), images)
        part[..., band][np.isnan(images).any(-1)] = value
        found = answer(reflectance=part)
        np.testing.assert_array_equal(found["classes"], whole["classes"])
        np.testing.assert_array_equal(found["probabilities"], whole["probabilities"])
    assert whole["classes"].dtype == np.uint16
    np.testing.assert_array_equal(whole["classes"] == SPEC.classes.nodata, np.isnan(images).any(-1))


def test_a_network_that_gives_no_number_gives_no_class() -> None:
    model = _built()
    model.get_layer(SPEC.head).bias.assign([np.nan, 0, 0])
    signatures = _called(model, _description())
    counts = np.full((1, 4, 4, 3), 8000, np.uint16)
    assert (signatures["classes"](counts=counts)["classes"] == SPEC.classes.nodata).all()
    assert (signatures["classes"](counts=counts)["confidence"] == 255).all()


def test_a_description_is_asked_for_alone_or_in_a_batch() -> None:
    description = _description()
    describe = _called(_built(), description)["describe"]
    for schema in (np.int32(1), np.array([1, 1], np.int32)):
        found = describe(schema=schema)["model"]
        assert found.shape == schema.shape
        assert {from_json(text, "test") == description for text in found.ravel()} == {True}
    with pytest.raises(InputError, match="http://host: describes its model in a way this segapp does not read"):
        from_json(to_json(description).replace('"stride"', '"step"'), "http://host")


@pytest.mark.parametrize("what", ["weights", "classes", "description", "halves"])
def test_the_check_finds_a_served_model_that_is_another(what: str) -> None:
    model, spec = _built(), SPEC
    other = _built(seed=2) if what == "weights" else model
    if what == "classes":
        spec = spec.model_copy(
            update={"classes": ClassTable(classes=(*spec.classes.classes[1:], spec.classes.classes[0]))}
        )
    signatures = _called(other, _description(spec))
    if what == "classes":
        signatures["describe"] = _called(model, _description())["describe"]
    if what == "description":
        signatures["describe"] = _called(model, _description(spec.model_copy(update={"name": "it"})))["describe"]
    if what == "halves":
        found = signatures["classes"]
        signatures["classes"] = lambda counts: {
            **found(counts=counts),
            "confidence": found(counts=counts // 2)["confidence"],
        }
    message = {"weights": "probabilities differ", "classes": "another class", "description": "another model"}
    with pytest.raises(DisagreementError, match=message.get(what, "confidence is not the largest probability")):
        compare(signatures, model, SPEC, [made_up(SPEC, (1, 16, 16))])


def test_frozen_variables_are_told_from_trainable_ones_when_reloaded(tmp_path: Path) -> None:
    model = _built()
    model.get_layer("encoder_stage_1_conv_1").trainable = False
    (tmp_path / "model.json").write_text("{}")
    write_saved_model(tmp_path / "1", model, _description(), tmp_path / "model.json")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    trainable, others = (
        {variable.name.partition(":")[0] for variable in variables}
        for variables in (loaded.trainable_variables, loaded.non_trainable_variables)
    )
    assert trainable == {weight.path for weight in model.trainable_weights}
    assert others == {weight.path for weight in model.non_trainable_weights}
    assert "encoder_stage_1_conv_1/kernel" in others


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the check in a fresh process, which takes seconds."""
    monkeypatch.setattr(check, "check_in_fresh_process", lambda *_: 0.0)


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose bands were no counts."""
    bands = tuple(Band(name=band.name, unit="reflectance") for band in SPEC.bands)
    spec = SPEC.model_copy(update={"bands": bands, "network": SPEC.network.model_copy(update={"batch_norm": False})})
    folder = tmp_path_factory.mktemp("models") / "floats"
    write_model(folder, spec.build(), spec)
    return folder


def test_what_cannot_be_made_is_left_out_and_said(
    floats: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.predict_pb2", None)
    version = export(floats, tmp_path / "serving" / "floats" / "7")
    said = capsys.readouterr().err
    assert "its bands are not scaled from counts, so the signatures counts and classes are left out" in said
    assert "warm-up requests are left out: pip install 'segapp[serving]' to have them" in said
    assert not (version / "assets.extra").exists()
    assert set(tf.saved_model.load(str(version)).signatures) == {"serving_default", "describe"}


def test_configurations_that_were_changed_stay_as_they_are(floats: Path, quick: None, tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("mine")
    assert export(floats, tmp_path, next=True, quiet=True) == tmp_path / "1"
    assert (tmp_path / "models.config").read_text() == "mine"
    assert "prometheus_config" in (tmp_path / "monitoring.config").read_text()


def test_an_export_that_fails_its_check_leaves_nothing(
    floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> float:
        raise DisagreementError("probabilities differ by 0.1")

    monkeypatch.setattr(check, "check_in_fresh_process", failing)
    with pytest.raises(DisagreementError):
        export(floats, tmp_path / "floats" / "1", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_in_a_line_and_leaves_nothing(
    floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "1/variables; No space left on device\nand more")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match=r"floats/1: cannot be written \(.*No space left on device\); free some space"):
        export(floats, tmp_path / "floats" / "1", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_version_that_another_made_meanwhile_is_not_overwritten(
    floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object) -> float:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_text("theirs")
        return 0.0

    monkeypatch.setattr(check, "check_in_fresh_process", meanwhile)
    with pytest.raises(InputError, match=r"1: another export made it meanwhile \(.*\); export again"):
        export(floats, tmp_path, next=True, quiet=True)
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["saved_model.pb"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "theirs"


@pytest.mark.parametrize(("there", "number"), [([], 1), (["1", "2"], 3), (["9", "10", "x", "011", ".12"], 11)])
def test_next_takes_the_number_after_the_largest(there: list[str], number: int, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    with new_version(tmp_path, next=True) as (hidden, version):
        assert version == tmp_path / str(number)
        assert not hidden.name.isdigit() and hidden.parent == tmp_path
        (hidden / "made").mkdir()
        deliver(hidden / "made", version)
    assert {path.name for path in tmp_path.iterdir()} == {*there, str(number)}


def test_exports_into_one_folder_take_turns(tmp_path: Path) -> None:
    """Or both would take one number, and each remove the other's unfinished work."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom segapp.serving.versions import deliver, new_version\n"
        "with new_version(Path(sys.argv[1]), next=True) as (hidden, version):\n"
        "    (hidden / 'made').mkdir()\n    time.sleep(0.3)\n    deliver(hidden / 'made', version)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, tmp_path]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


def _a_while(versions: Path) -> bool:
    time.sleep(random.uniform(0, 10))
    return True


def _graph_is_written(versions: Path) -> bool:
    return any(versions.glob(".export-*/*/saved_model.pb"))


def _about_to_appear(versions: Path) -> bool:
    return (versions / "models.config").exists()


@pytest.mark.parametrize("moment", [_a_while, _a_while, _graph_is_written, _about_to_appear])
def test_a_killed_export_leaves_no_version_that_does_not_load(
    moment: Callable[[Path], bool], exported_trained: Exported, tmp_path: Path
) -> None:
    script = "import sys; from segapp.serving.export import export; export(sys.argv[1], sys.argv[2], next=True)"
    versions = tmp_path / "killed"
    command = [sys.executable, "-c", script, exported_trained.model, versions]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not moment(versions):
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    names = [path.name for path in versions.iterdir()] if versions.exists() else []
    left = [name for name in names if name.isdigit()]
    assert left in ([], ["1"])
    assert all(re.fullmatch(r"\d+|\.export-\w+|\w+\.config", name) for name in names)
    for name in left:
        ask_c_api(Exported(exported_trained.model, versions / name), [], tmp_path)
    with new_version(versions, next=True) as (hidden, version):
        assert version.name == str(len(left) + 1)
        assert list(versions.glob(".export-*")) == [hidden], "what the killed one left is removed"
