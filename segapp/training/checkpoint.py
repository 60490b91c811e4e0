"""Checkpoints: one file that holds everything that moves, replaced by rename."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segapp.errors import InputError

_DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What NumPy, zipfile and json raise where bytes are not what they should be."""


@dataclass
class Progress:
    """How far a training has come; `best_step` 0 means that nothing has been validated yet."""

    step: int = 0
    best_score: float = float("-inf")
    best_step: int = 0
    validations_without_gain: int = 0
    seconds: float = 0.0
    first_loss: float = 0.0
    """Of the first step, before anything was learned."""
    only_class: str | None = None
    """What the network to keep calls every pixel of the validation scenes, if it does so though they show more."""


def save_checkpoint(
    file: Path, variables: Sequence[keras.Variable], progress: Progress, settings: dict[str, object]
) -> None:
    """Write `variables` (weights, random state, optimizer state), `progress` and the run's `settings` to `file`."""
    arrays = {f"{number:05d}": np.asarray(variable) for number, variable in enumerate(variables)}
    text = json.dumps({"progress": asdict(progress), "settings": settings})
    temporary = file.with_suffix(".writing")
    with temporary.open("wb") as stream:
        np.savez(stream, text=np.array(text), **arrays)  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())  # else a power failure may leave the new name to an empty file
    temporary.replace(file)


def read_settings(file: Path) -> dict[str, object]:
    """The settings of the run that wrote `file`; raises InputError when it is missing or damaged."""
    with _opened(file) as arrays:
        return dict(_text(arrays)["settings"])


def read_progress(file: Path) -> Progress:
    """How far the run had come that wrote `file`; raises InputError when it is missing or damaged."""
    with _opened(file) as arrays:
        return Progress(**_text(arrays)["progress"])


def restore_checkpoint(file: Path, variables: Sequence[keras.Variable]) -> Progress:
    """Assign what `save_checkpoint` wrote to `variables`, in the same order; returns the progress.

    Raises InputError when the file is damaged or was written for another network or optimizer, and assigns nothing.
    """
    with _opened(file) as arrays:
        progress = Progress(**_text(arrays)["progress"])
        values = [arrays[name] for name in sorted(set(arrays.files) - {"text"})]
    if len(values) != len(variables):
        raise InputError(f"{file}: holds {len(values)} variables, not {len(variables)}; resume with the same settings")
    for value, variable in zip(values, variables, strict=True):
        if value.shape != tuple(variable.shape):
            raise InputError(f"{file}: {variable.path} has another shape; resume with the same settings")
    for value, variable in zip(values, variables, strict=True):
        variable.assign(value)
    return progress


def _text(arrays: np.lib.npyio.NpzFile) -> dict[str, dict[str, Any]]:
    text: dict[str, dict[str, Any]] = json.loads(str(arrays["text"]))
    return text


@contextmanager
def _opened(file: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays in `file`; what reading them raises becomes an InputError."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError:
        raise InputError(f"{file}: no such checkpoint, so nothing can be resumed; start without --resume") from None
    except _DAMAGED as error:
        raise InputError(
            f"{file}: is no checkpoint of segapp, or is damaged ({error}); remove {file.parent} and start again"
        ) from None
