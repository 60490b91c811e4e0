"""The endless stream of batches, as tf.data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import tensorflow as tf

from segapp.data.statistics import BandStatistics
from segapp.patches.augmentation import Augmentation
from segapp.patches.cube_reading import reader_in_graph
from segapp.patches.sampling import PatchSource, random_for
from segapp.scenes.rules import CubeReader


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

        in_python = self.reader == "h5py"
        read = self._read if in_python else reader_in_graph(self.source, self.augmentation, patch)

        def load(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels, labels = read(number // share * batch + self.worker * share + number % share)
            return tf.ensure_shape(pixels, (size, size, bands)), tf.ensure_shape(labels, (size, size))

        options = tf.data.Options()
        options.autotune.enabled = False  # its thread sleeps for up to a minute, which the iterator's end waits for
        return (
            tf.data.Dataset.range(first_step * share, np.iinfo(np.int64).max)
            .map(load, num_parallel_calls=os.cpu_count(), deterministic=True)
            .batch(share, drop_remainder=True)
            .prefetch(4)
            .with_options(options)
        )

    def _read(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.numpy_function(self.patch, [index], (tf.float32, tf.uint8), stateful=False)
