"""The model directory: `model.json`, `model.weights.h5` and the model card `README.md`.

Loading builds the network from `model.json` and reads weights only: no code from the directory ever runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segapp.configuration import read_text, validate
from segapp.errors import InputError
from segapp.model.card import METADATA, model_card
from segapp.model.model_spec import ModelSpec
from segapp.nets.weights_file import build_within, check_weights
from segapp.remote import reads_remote
from segapp.scenes.hdf5 import HDF5_ERRORS

if TYPE_CHECKING:
    import keras

SCHEMA = 2
MODEL_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "model.weights.h5", "README.md"
_HDF5_OVERHEAD, _CHUNK = 1 << 13, 1 << 16  # bytes; HDF5 adds half of the overhead to an array with its groups


def write_model(folder: Path, model: keras.Model, spec: ModelSpec) -> ModelSpec:
    """Write the three files into `folder` and return the spec with the hash of the weights.

    Each file is renamed into place when complete, `model.json` last. With ``spec.weights.dtype == "float16"`` the
    weights are stored in half precision. Raises OSError when the disk is full; existing files are then unchanged.
    """
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(folder) as temporary:
        weights = temporary / WEIGHTS_FILE
        _require_disk_space(weights, model)
        # The same layers without optimizer state, and without Keras' running number in the network's name.
        keras.Model(model.inputs, model.outputs, name="network").save_weights(weights)
        if spec.weights.dtype == "float16":
            _convert_to_float16(weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        spec = spec.model_copy(update={"weights": spec.weights.model_copy(update={"sha256": digest})})
        for file in (weights, *_write_card_and_spec(temporary, spec)):
            file.replace(folder / file.name)
    return spec


def write_description(folder: Path, spec: ModelSpec) -> None:
    """Replace the card and `model.json` beside the weights that `spec` names.

    Each file is renamed into place when complete, so a killed process leaves a model directory that loads.
    """
    with _temporary_folder(folder) as temporary:
        for file in _write_card_and_spec(temporary, spec):
            file.replace(folder / file.name)


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`; also removes those of killed runs."""
    for stale in folder.glob(".writing-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        yield Path(temporary)


def _write_card_and_spec(folder: Path, spec: ModelSpec) -> tuple[Path, Path]:
    card, description = folder / CARD_FILE, folder / MODEL_FILE
    card.write_text(METADATA + model_card(spec), encoding="utf-8")
    description.write_text(spec.as_text(), encoding="utf-8")
    return card, description


@reads_remote("folder")
def read_spec(folder: Path) -> ModelSpec:
    """Read `model.json` of a model directory; raises InputError when it is missing, damaged or of another schema."""
    file = folder / MODEL_FILE
    try:
        data = json.loads(read_text(file))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: is no model directory ({MODEL_FILE} is missing); give the --output of a training run"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}); copy the model directory again") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise InputError(
            f"{file}: schema {data.get('schema')!r} is not supported, this segapp reads {SCHEMA}; "
            "update segapp, or train the model again"
        )
    try:
        return validate(ModelSpec, data, str(file))
    except TypeError as error:  # a name that is no text
        raise InputError(f"{file}: has a name that is no text ({error}); copy the model directory again") from None


@reads_remote("folder")
def load(folder: str | Path, *, verify: bool = True) -> keras.Model:
    """Load the network of a model directory: a `keras.Model` with the `ModelSpec` as its attribute `spec`.

    Raises InputError when a file is missing or damaged, or when the weights do not have the hash in `model.json`.
    ``verify=False`` skips the hash check, for weights that were changed on purpose.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    weights = folder / WEIGHTS_FILE
    if weights.exists() and not weights.is_file():
        raise InputError(f"{weights}: is not a file; copy the model directory again")
    try:
        with weights.open("rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    except OSError as error:
        raise InputError(f"{weights}: cannot be read ({error.strerror}); copy the model directory again") from None
    if verify and digest != spec.weights.sha256:
        raise InputError(f"{weights}: does not match {MODEL_FILE} (SHA-256 differs); copy both files again")
    model = _build(spec, folder / MODEL_FILE, size)
    try:
        check_weights(weights)
        with warnings.catch_warnings():  # Keras warns of every layer before it raises
            warnings.simplefilter("ignore")
            model.load_weights(weights)
    except HDF5_ERRORS as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)  # thousands of numbers follow
        raise InputError(f"{weights}: does not fit the network in {MODEL_FILE} ({reason}); copy both again") from None
    model.spec = spec
    return model


def _build(spec: ModelSpec, source: Path, stored: int) -> keras.Model:
    """Build the network of `spec`; raises InputError naming `source` if that fails or needs over `stored` bytes."""
    from segapp.nets.keras_graph import KERAS_ERRORS

    try:
        model = build_within(spec.build, stored)
    except (InputError, *KERAS_ERRORS) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{source}: its network cannot be built ({reason}); copy the model directory again") from None
    if model is None:
        raise InputError(
            f"{source}: its network has more weights than the {stored:,} bytes of {WEIGHTS_FILE}; copy both again"
        )
    return model


def _require_disk_space(file: Path, model: keras.Model) -> None:
    """Raise OSError unless the disk has space for `file`: HDF5 crashes when the disk fills up during a write."""
    size = sum(_HDF5_OVERHEAD + weight.nbytes for weight in model.get_weights())
    try:
        with file.open("wb") as probe:
            for _ in range(0, size, _CHUNK):
                probe.write(bytes(_CHUNK))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    file.unlink()


def _convert_to_float16(file: Path) -> None:
    import h5py

    converted = file.with_suffix(".half")
    with h5py.File(file, "r") as source, h5py.File(converted, "w") as target:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                target[name] = values.astype(np.float16) if values.dtype == np.float32 else values
            else:
                target.require_group(name)
            target[name].attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    converted.replace(file)
