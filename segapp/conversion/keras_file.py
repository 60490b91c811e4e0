"""Reading a network that Keras saved, without running anything that comes with it."""

from __future__ import annotations

import errno
import json
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segapp.configuration import LARGEST_TEXT
from segapp.conversion.keras_2 import is_of_keras_2, modernised, with_modules
from segapp.errors import InputError
from segapp.nets.config import MODEL_MODULES, check_serialized
from segapp.nets.weights_file import build_within, check_weights, expands_too_far
from segapp.scenes.hdf5 import HDF5_ERRORS

if TYPE_CHECKING:
    import keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_LARGEST = {"metadata.json": 1 << 20, _CONFIG: LARGEST_TEXT, _WEIGHTS: 1 << 34}  # bytes, unpacked


def read_keras_file(path: Path) -> keras.Model:
    """The network in a ``.keras`` file as a functional model from one image, (N, H, W, C), to one map, (N, H, W, K).

    It is the one that `load_keras_file` gives, or what `plain_graph` makes of it. Raises InputError when it takes or
    gives anything else than images and maps, and as `load_keras_file` does.
    """
    return require_pixels(path, load_keras_file(path))


def load_keras_file(path: Path) -> keras.Model:
    """The network in a ``.keras`` file, with one input and one output.

    What the file says of the network is checked before Keras reads it: it may hold none but Keras' own layers, no more
    weights than the file, and nothing that lies elsewhere. Raises InputError when it does, or when the file is damaged.
    """
    try:
        network, weights = _read_members(path)
        config = network.get("config")
        check_serialized(config, models=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: is damaged or no .keras file ({error}); save or copy it again") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None

    import keras

    from segapp.nets.keras_graph import KERAS_ERRORS, check_exported

    try:
        check_exported(config)
        with warnings.catch_warnings():  # Keras warns of every layer before it raises
            warnings.simplefilter("ignore")
            with tempfile.TemporaryDirectory(prefix="segapp-") as folder:
                checked = _write(Path(folder) / "checked.keras", network, weights)  # Keras changes what it reads
                if build_within(lambda: keras.saving.deserialize_keras_object(network), len(weights)) is None:
                    raise ValueError(f"it has more weights than {len(weights):,} bytes can hold")
                model = keras.models.load_model(checked, compile=False, safe_mode=True)
        inputs, outputs = model.inputs, model.outputs
    except (*KERAS_ERRORS, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise  # of the copy that Keras reads
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:80]
        raise InputError(f"{path}: cannot be read by Keras {keras.__version__} ({reason}); save it again") from None
    if len(inputs) != 1 or len(outputs) != 1:
        ends = ", ".join(repr(tensor._keras_history.operation.name) for tensor in (*inputs, *outputs))
        raise InputError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs ({ends}); save a keras.Model with one of each"
        )
    return model


def require_pixels(path: Path, model: keras.Model) -> keras.Model:
    """`model` as a plain graph from (N, H, W, C) to (N, H, W, K); InputError where it is none."""
    import keras

    from segapp.conversion.plain_graph import plain_graph

    try:
        model = plain_graph(model)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for what, tensor in (("takes", model.inputs[0]), ("gives", model.outputs[0])):
        if len(tensor.shape) != 4 or tensor.shape[-1] is None:
            name = tensor._keras_history.operation.name
            raise InputError(
                f"{path}: layer '{name}' {what} {tensor.shape}, not pixels (N, H, W, channels); segapp maps every pixel"
            )
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _write(path: Path, network: dict[str, Any], weights: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr(_CONFIG, json.dumps(network))
        archive.writestr(_WEIGHTS, weights)
    return path


def _read_members(path: Path) -> tuple[dict[str, Any], bytes]:
    """What the file says of the network, in the words of Keras 3, and its weights, whose file is checked.

    Raises ValueError when it is not what Keras writes.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) != len(names) or not {_CONFIG, _WEIGHTS} <= set(names) <= set(_LARGEST):
            raise ValueError(f"holds {sorted(names)[:5]}, not what Keras writes into a .keras file; save it again")
        for member in members:
            size = member.file_size
            if size > _LARGEST[member.filename] or expands_too_far(size, member.compress_size):
                raise ValueError(f"{member.filename} unpacks to {size:,} bytes; no network is that large")
        try:
            config = json.loads(archive.read(_CONFIG))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_CONFIG} cannot be read as JSON ({error}); save or copy it again") from None
        weights = archive.read(_WEIGHTS)
    try:
        check_weights(path, weights)
    except HDF5_ERRORS as error:
        raise ValueError(f"{_WEIGHTS} is damaged ({error}); save or copy it again") from None
    if is_of_keras_2(config):
        config = with_modules(modernised(config))
    kind, module = (config.get("class_name"), config.get("module")) if isinstance(config, dict) else (None, None)
    if kind not in ("Functional", "Sequential") or module not in MODEL_MODULES:
        raise ValueError(f"holds a {module}.{kind}; save a functional network: keras.Model(image, map)")
    if config.get("registered_name") not in (None, kind):
        raise ValueError(f"its network is registered as {config['registered_name']!r}; save a plain keras.Model")
    return {key: value for key, value in config.items() if key != "compile_config"}, weights
