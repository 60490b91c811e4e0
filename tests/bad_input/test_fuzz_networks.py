"""Whatever is changed in a model directory or in a network of another make, it is read, or refused as bad input."""

from __future__ import annotations

import copy
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from segapp.conversion.keras_network import is_whole_model, read_old_keras
from segapp.conversion.matlab_weights import read_matlab_weights
from segapp.conversion.onnx_file import read_onnx
from segapp.conversion.smp import read_smp
from segapp.model.bundle import load
from segapp.transfer.base import read_base
from tests.bad_input.fuzz import damages, examples, refused_or_read


@pytest.fixture(autouse=True)
def _forgets_networks() -> Iterator[None]:
    yield
    keras.utils.clear_session()


_ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2,
    1.5,
    float("nan"),
    float("inf"),
    10**30,
    2**31,
    100_000,
    "",
    "x",
    "a/b",
    "é",
]
_ODD += [[], [[]], {}, [1, 2], [None] * 4, "\0", "Conv2D", "channels_first", "float64", "int4", "image", "softmax", "1"]
_ODD += [{"class_name": "Lambda"}, ["os"], {"module": ["os"], "class_name": "a"}]


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in parsed JSON."""
    if place:
        yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from _places(inner, (*place, key))


_CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["other", "none", "more"]), st.sampled_from(_ODD)),
    min_size=1,
    max_size=2,
)


def _changed(text: bytes, changes: list[tuple[float, str, Any]]) -> bytes:
    """JSON with other values, or some missing, or some given twice."""
    tree = json.loads(text)
    for where, what, value in changes:
        places = list(_places(tree))
        *tables, last = places[int(where * len(places))]
        table = tree
        for key in tables:
            table = table[key]
        if what == "none":
            del table[last]
        elif what == "more" and isinstance(table, list):
            table.append(copy.deepcopy(table[last]))
        else:
            table[last] = copy.deepcopy(value)
    return json.dumps(tree).encode()


def _kept(path: Path) -> bytes:
    """The file as it was at first."""
    kept = path.with_name(f"{path.name}.kept")
    if not kept.exists():
        kept.write_bytes(path.read_bytes())
    return kept.read_bytes()


def _load(folder: Path) -> None:
    model = load(folder, verify=False)
    model(np.zeros((1, 16, 16, model.input_shape[-1]), np.float32))


@examples(40)
@given(changes=_CHANGES)
def test_a_description_with_mistakes(place: Path, changes: list[tuple[float, str, Any]]) -> None:
    file = place / "model" / "model.json"
    file.write_bytes(_changed(_kept(file), changes))
    refused_or_read(lambda: _load(place / "model"), place)


@examples(40)
@given(damage=damages())
def test_a_damaged_description(place: Path, damage: Callable[[bytes], bytes]) -> None:
    file = place / "model" / "model.json"
    file.write_bytes(damage(_kept(file)))
    refused_or_read(lambda: _load(place / "model"), place)


@examples(40)
@given(damage=damages())
def test_damaged_weights(place: Path, damage: Callable[[bytes], bytes]) -> None:
    file, description = place / "model" / "model.weights.h5", place / "model" / "model.json"
    before = hashlib.sha256(_kept(file)).hexdigest()
    file.write_bytes(damage(_kept(file)))
    text = _kept(description).decode().replace(before, hashlib.sha256(file.read_bytes()).hexdigest())
    description.write_text(text)
    refused_or_read(lambda: _load(place / "model"), place)


def _repack(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    _kept(path)
    with zipfile.ZipFile(path.with_name(f"{path.name}.kept")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@examples(40)
@given(changes=_CHANGES)
def test_a_keras_file_with_mistakes(place: Path, changes: list[tuple[float, str, Any]]) -> None:
    path = place / "base.keras"
    _repack(path, "config.json", lambda content: _changed(content, changes))
    refused_or_read(lambda: read_base(path), place)


@examples(40)
@given(damage=damages())
def test_damaged_weights_in_a_keras_file(place: Path, damage: Callable[[bytes], bytes]) -> None:
    path = place / "base.keras"
    _repack(path, "model.weights.h5", damage)
    refused_or_read(lambda: read_base(path), place)


def _read_h5(path: Path) -> None:
    (read_old_keras if is_whole_model(path) else read_matlab_weights)(path)


def _read_and_run_onnx(path: Path) -> None:
    original = read_onnx(path).original
    assert original is not None
    original.run(np.zeros((1, 16, 16, 3), np.float32))


FOREIGN: dict[str, Callable[[Path], object]] = {
    "base.keras": read_base,
    "old.h5": _read_h5,
    "net.onnx": _read_and_run_onnx,
    "a.safetensors": read_smp,
}


@pytest.mark.parametrize("name", FOREIGN)
@examples(40)
@given(damage=damages())
def test_a_damaged_network_of_another_make(name: str, place: Path, damage: Callable[[bytes], bytes]) -> None:
    path = place / name
    if not path.exists():
        save_file({f"decoder.blocks.{i}.conv1.0.weight": np.ones((4, 4, 3, 3), np.float32) for i in range(2)}, path)
    path.write_bytes(damage(_kept(path)))
    refused_or_read(lambda: FOREIGN[name](path), place)
