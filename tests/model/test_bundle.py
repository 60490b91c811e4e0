"""A model directory loads as the network that was written, or says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import segapp
from segapp.model.bundle import read_spec, write_model
from segapp.model.model_spec import WeightsFile


def _image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 16, 16, 6), np.float32)


def test_a_model_read_again_answers_the_same(trained: Path, tmp_path: Path) -> None:
    model = segapp.load(trained)
    write_model(tmp_path / "again", model, model.spec)
    np.testing.assert_array_equal(segapp.load(tmp_path / "again")(_image()), model(_image()))
    assert (tmp_path / "again" / "model.json").read_text() == (trained / "model.json").read_text()


def test_half_precision_weights_take_half_the_room_and_are_the_nearest_ones(trained: Path, tmp_path: Path) -> None:
    model = segapp.load(trained)
    write_model(tmp_path / "half", model, model.spec.model_copy(update={"weights": WeightsFile(dtype="float16")}))
    with h5py.File(tmp_path / "half" / "model.weights.h5") as file:
        found: list[np.dtype] = []
        file.visititems(lambda _, item: found.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
    assert np.dtype("float32") not in found and np.dtype("float16") in found
    half = segapp.load(tmp_path / "half")
    assert {weight.dtype for weight in half.weights} == {"float32"}
    for rounded, weight in zip(half.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(rounded, weight.astype(np.float16))


def test_bands_and_units_survive(trained: Path, samples: Path) -> None:
    assert read_spec(trained).bands == segapp.read_dataset(samples).bands


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "is no model directory"),
        (lambda folder: (folder / "model.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "model.json"),
        (lambda folder: _edit(folder, schema=99), "schema 99 is not supported"),
        (lambda folder: _edit(folder, nam="x"), "unknown key 'nam'; did you mean 'name'"),
        (lambda folder: _edit(folder, bands=[]), "bands: "),
        (
            lambda folder: _edit(folder, normalization={"mean": [0], "std": [1]}),
            "one mean and one std for each of the 6",
        ),
        (lambda folder: (folder / "model.weights.h5").unlink(), "cannot be read"),
        (lambda folder: (folder / "model.weights.h5").write_bytes(b"x"), "SHA-256 differs"),
        (lambda folder: _edit(folder, network={"depth": 3, "filters": 4}), "does not fit the network"),
    ],
)
def test_a_damaged_directory_is_one_clear_line(damage: object, message: str, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(segapp.InputError, match=message) as error:
        segapp.load(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def _edit(folder: Path, **changes: object) -> None:
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
