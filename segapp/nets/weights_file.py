"""Files of weights from anywhere: nothing is taken from elsewhere, and no memory for more than the file can hold."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from segapp.errors import InputError
from segapp.scenes.hdf5 import refuse_other_files

if TYPE_CHECKING:
    import keras

SMALL = 1 << 20
"""Bytes that nobody needs to account for."""
MOST_EXPANDED = 100
"""How many times its size in the file an array or a member of an archive may take in memory, beyond `SMALL`: trained
weights hardly compress, and what is made to fill the memory does a thousandfold."""
_HALVED = 2  # float16 in the file, float32 in the network


def check_weights(path: Path, content: bytes | None = None) -> None:
    """Check that all that an HDF5 file names lies in itself, and takes no more memory than it can hold.

    `content` is that of the HDF5 file where it is a part of the file `path`. Raises InputError at links, at datasets
    whose numbers lie elsewhere, and at those that declare far more than is there; h5py's errors (`HDF5_ERRORS`) where
    the file is damaged.
    """
    with h5py.File(path if content is None else io.BytesIO(content), "r", locking=False) as file:
        _check(path, file)


def _check(path: Path, file: h5py.File) -> None:
    groups: list[h5py.Group] = [file]
    datasets: list[h5py.Dataset] = []
    file.visititems(lambda _, item: (datasets if isinstance(item, h5py.Dataset) else groups).append(item))
    for group in groups:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{path}: '{name}' is a link; copy what it leads to into the file")
    for dataset in datasets:
        refuse_other_files(path, dataset)
        declared, stored = math.prod(dataset.shape or ()) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if expands_too_far(declared, stored):
            raise InputError(
                f"{path}: '{dataset.name}' declares {declared:,} bytes, but holds {stored:,}; save or copy it again"
            )


def expands_too_far(unpacked: int, stored: int) -> bool:
    """Whether so many bytes cannot be weights of which so many are stored."""
    return unpacked > SMALL + MOST_EXPANDED * stored


def build_within(build: Callable[[], keras.Model], stored: int) -> keras.Model | None:
    """The network that `build` makes, or None where its weights cannot come from a file of `stored` bytes.

    What the weights take is known before they are made. Keras gives them to the network when the scope ends, and loses
    count of them, and of the names it has given, when the session is cleared.
    """
    import keras

    with keras.StatelessScope():
        try:
            model = build()
            if sum(map(_bytes_of, model.variables)) <= SMALL + _HALVED * stored:
                return model
        except BaseException:
            keras.utils.clear_session()
            raise
        keras.utils.clear_session()
        return None


def _bytes_of(variable: keras.Variable) -> int:
    return math.prod(variable.shape) * np.dtype(variable.dtype).itemsize
