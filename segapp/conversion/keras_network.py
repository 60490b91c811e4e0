"""A network that Keras saved: `.keras`, or a whole model in the HDF5 format of old."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np

from segapp.conversion.foreign import Foreign, Original
from segapp.conversion.keras_2 import modernised, with_modules
from segapp.conversion.keras_file import load_keras_file, require_pixels
from segapp.errors import InputError
from segapp.nets.config import check_serialized
from segapp.nets.weights_file import build_within, check_weights
from segapp.scenes.hdf5 import HDF5_ERRORS

_CONFIG = "model_config"


def read_keras(path: Path) -> Foreign:
    """The network in a ``.keras`` file; raises InputError as `segapp.conversion.keras_file` does."""
    import keras

    original = load_keras_file(path)
    model = require_pixels(path, original)

    def run(images: np.ndarray) -> np.ndarray:
        made = keras.ops.convert_to_numpy(keras.ops.cast(original(images, training=False), "float32"))
        return made.reshape(*images.shape[:3], -1) if made.ndim == 3 else made

    return Foreign(model, "Keras", original=Original("Keras", run))


def is_whole_model(path: Path) -> bool:
    """Whether an HDF5 file is a model that Keras saved, with its layers; raises InputError where it is no HDF5 file."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _CONFIG in file.attrs
    except HDF5_ERRORS as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); save or copy it again") from None


def read_old_keras(path: Path) -> Foreign:
    """The network in an ``.h5`` file that Keras 2 or 3 wrote.

    Its layers are checked before Keras reads them, as those of a ``.keras`` file are; then it is saved as one, and read
    as such. Raises InputError where it is damaged or holds anything but Keras' own layers.
    """
    import keras

    from segapp.nets.keras_graph import KERAS_ERRORS

    try:
        with h5py.File(path, "r", locking=False) as file:
            stored = file.attrs[_CONFIG]
        config = json.loads(stored)
    except (*HDF5_ERRORS, AttributeError) as error:  # a RecursionError is a RuntimeError
        raise InputError(f"{path}: is damaged or no model of Keras ({error}); save or copy it again") from None
    try:
        config = modernised(config)
        check_serialized(with_modules(config["config"]["layers"]), models=True)
        check_weights(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except (*HDF5_ERRORS, AttributeError) as error:
        raise InputError(f"{path}: is damaged or no model of Keras ({error}); save or copy it again") from None
    with tempfile.TemporaryDirectory(prefix="segapp-") as folder:
        modern, readable = Path(folder) / f"{path.stem}.keras", Path(folder) / f"{path.stem}.h5"
        shutil.copyfile(path, readable)
        with h5py.File(readable, "r+", locking=False) as file:
            file.attrs[_CONFIG] = json.dumps(config)
        try:
            with warnings.catch_warnings():  # Keras warns that the format is old
                warnings.simplefilter("ignore")
                if build_within(lambda: keras.models.load_model(readable, compile=False), path.stat().st_size) is None:
                    raise ValueError("it has more weights than the file can hold")
                model = keras.models.load_model(readable, compile=False, safe_mode=True)
        except KERAS_ERRORS as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:80]
            raise InputError(f"{path}: cannot be read by Keras {keras.__version__} ({reason}); save it again") from None
        model.save(modern)
        try:
            return read_keras(modern)
        except InputError as error:
            raise InputError(str(error).replace(str(modern), str(path))) from None
