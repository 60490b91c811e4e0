"""The endless stream of batches, as tf.data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import tensorflow as tf

from segapp.data.statistics import BandStatistics
from segapp.patches.augmentation import Augmentation
from segapp.patches.cube_reading import reader_in_graph
from segapp.patches.sampling import PatchSource, random_for
from segapp.scenes.rules import CubeReader

_CALL = 2**17
"""Pixels that one call of Python makes at most, unless one patch has more."""
_CALLS = 4
"""How many calls run at once at most: more lose to waiting for the interpreter's lock than they gain."""


class Stream(Protocol):
    """Whatever gives batches without end."""

    def batches(self, batch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches (batch, size, size, C) float32 and (batch, size, size) uint8 from step `first_step` on."""
        ...


@dataclass(frozen=True)
class PatchStream:
    """Augmented patches, each a pure function of the source's seed and its index.

    Of `workers` that share each batch this one makes, in order, the part `worker`, counted from 0.
    """

    source: PatchSource
    augmentation: Augmentation
    statistics: BandStatistics
    worker: int = 0
    workers: int = 1
    reader: CubeReader = "h5py"

    def patch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Patch `index`: (size, size, C) float32 with NaN where invalid, (size, size) uint8 network indexes."""
        rng = random_for(self.source.seed, index, 1)
        size = self.source.size
        pixels, labels = self.source.cut(index, self.augmentation.source_size(size, rng))
        return self.augmentation.apply(pixels, labels, size, self.statistics, rng)

    def batches(self, batch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches (batch, size, size, C) float32 and (batch, size, size) uint8, endless, from step `first_step` on.

        Step *s* holds patches ``s * batch`` to ``(s + 1) * batch - 1``, in order; or the share of these that this
        worker makes, which is then the size of its batches. Raises InputError where the reader cannot read the scenes.
        """
        size, bands = self.source.size, len(self.source.scenes[0].bands)
        share = batch // self.workers

        def patch(source: PatchSource, index: int) -> tuple[np.ndarray, np.ndarray]:
            return replace(self, source=source).patch(index)

        if self.reader == "h5py":
            together = _together(share, size)
            read = self._reader(together)
        else:
            together, read = 1, reader_in_graph(self.source, self.augmentation, patch)

        def load(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            first = number * together
            pixels, labels = read(first // share * batch + self.worker * share + first % share)
            return (
                tf.reshape(pixels, (together, size, size, bands)),
                tf.reshape(labels, (together, size, size)),
            )

        def joined(pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return tf.reshape(pixels, (share, size, size, bands)), tf.reshape(labels, (share, size, size))

        options = tf.data.Options()
        options.autotune.enabled = False  # its thread sleeps for up to a minute, which the iterator's end waits for
        return (
            tf.data.Dataset.range(first_step * share // together, np.iinfo(np.int64).max)
            .map(load, num_parallel_calls=min(_CALLS, os.cpu_count() or 1), deterministic=True)
            .batch(share // together, drop_remainder=True)
            .map(joined)
            .prefetch(4)
            .with_options(options)
        )

    def _reader(self, together: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """A function in the graph that gives so many patches, from an index on, by one call of Python."""

        def patches(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pixels, labels = zip(*(self.patch(int(first) + number) for number in range(together)), strict=True)
            return np.stack(pixels), np.stack(labels)

        return lambda first: tf.numpy_function(patches, [first], (tf.float32, tf.uint8), stateful=False)


def _together(share: int, size: int) -> int:
    """How many of a batch's patches one call of Python makes: small ones alone would wait for each other."""
    return max(
        number for number in range(1, share + 1) if (share % number == 0 and number * size**2 <= _CALL) or number == 1
    )
