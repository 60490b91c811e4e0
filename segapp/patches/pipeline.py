"""The endless stream of batches, as tf.data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from segapp.patches.augmentation import Augmentation
from segapp.patches.sampling import PatchSource, random_for
from segapp.patches.statistics import BandStatistics


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

    def patch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Patch `index`: (size, size, C) float32 with NaN where invalid, (size, size) uint8 network indexes."""
        rng = random_for(self.source.seed, index, 1)
        size = self.source.size
        pixels, labels = self.source.cut(index, self.augmentation.source_size(size, rng))
        return self.augmentation.apply(pixels, labels, size, self.statistics, rng)

    def batches(self, batch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches (batch, size, size, C) float32 and (batch, size, size) uint8, endless, from step `first_step` on.

        Step *s* holds patches ``s * batch`` to ``(s + 1) * batch - 1``, in order; or the share of these that this
        worker makes, which is then the size of its batches.
        """
        size, bands = self.source.size, len(self.source.scenes[0].bands)
        share = batch // self.workers

        def load(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index = number // share * batch + self.worker * share + number % share
            pixels, labels = tf.numpy_function(self.patch, [index], (tf.float32, tf.uint8), stateful=False)
            return tf.ensure_shape(pixels, (size, size, bands)), tf.ensure_shape(labels, (size, size))

        return (
            tf.data.Dataset.range(first_step * share, np.iinfo(np.int64).max)
            .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(share, drop_remainder=True)
            .prefetch(4)
        )
