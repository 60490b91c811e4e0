"""Weights that Keras saved alone, with the network's architecture in a JSON file beside them."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import h5py

from segapp.configuration import LARGEST_TEXT
from segapp.conversion.foreign import Foreign
from segapp.conversion.keras_2 import modernised, with_modules
from segapp.conversion.keras_network import read_keras, read_old_keras
from segapp.errors import InputError
from segapp.nets.weights_file import check_weights
from segapp.scenes.hdf5 import HDF5_ERRORS

_OLD, _NEW = "layer_names", "layers"


def holds_weights_alone(path: Path) -> bool:
    """Whether Keras' `save_weights` wrote an HDF5 file."""
    with h5py.File(path, "r", locking=False) as file:
        return _OLD in file.attrs or isinstance(file.get(_NEW), h5py.Group)


def architecture_of(path: Path) -> Path:
    """Where the architecture of the weights in `path` is looked for: net.json beside net.weights.h5."""
    return path.with_name(f"{path.name.removesuffix(path.suffix).removesuffix('.weights')}.json")


def read_keras_weights(path: Path) -> Foreign:
    """The network that `model.to_json()` describes, with the weights that `model.save_weights` wrote.

    Raises InputError where there is no such description, or as `read_keras` and `read_old_keras` do.
    """
    beside = architecture_of(path)
    if not beside.is_file():
        raise InputError(
            f"{path}: holds weights alone; in Keras write `open('{beside.name}', 'w').write(model.to_json())` beside it"
        )
    if beside.stat().st_size > LARGEST_TEXT:
        raise InputError(f"{beside}: has {beside.stat().st_size:,} bytes; no network's description is that large")
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
        check_weights(path)
        with tempfile.TemporaryDirectory(prefix="segapp-") as folder, h5py.File(path, "r", locking=False) as file:
            whole = Path(folder) / f"{path.stem}.keras"
            if _OLD in file.attrs:
                whole = whole.with_suffix(".h5")
                with h5py.File(whole, "w") as made:
                    made.attrs["model_config"] = json.dumps(config)
                    made.attrs["keras_version"] = "2"
                    group = made.create_group("model_weights")
                    for name in file:
                        file.copy(name, group)
                    for name, value in file.attrs.items():
                        group.attrs[name] = value
            else:
                network = with_modules(modernised(config)) if "module" not in config else config
                with zipfile.ZipFile(whole, "w") as archive:
                    archive.writestr("metadata.json", "{}")
                    archive.writestr("config.json", json.dumps(network))
                    archive.write(path, "model.weights.h5")
            try:
                return (read_keras if whole.suffix == ".keras" else read_old_keras)(whole)
            except InputError as error:
                raise InputError(str(error).replace(str(whole), f"{path} with {beside.name}")) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{beside}: describes no network ({str(error)[:60]}); write it with model.to_json()") from None
    except HDF5_ERRORS as error:
        raise InputError(f"{path}: cannot be read as weights ({str(error)[:60]}); save or copy it again") from None
