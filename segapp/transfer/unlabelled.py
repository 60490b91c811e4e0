"""Scenes without labels in a transfer: they carry what the base knows, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.patches.pipeline import PatchStream
from segapp.scenes.scene import Scene
from segapp.windows import Window

_SHARE = 0.25


class UnlabelledScene:
    """A scene whose every pixel is unlabelled."""

    def __init__(self, scene: Scene) -> None:
        self.name, self.path, self.shape, self.georeference = scene.name, scene.path, scene.shape, scene.georeference
        self.bands, self.labelled = scene.bands, True
        self.read, self.valid = scene.read, scene.valid

    def read_labels(self, window: Window) -> np.ndarray:
        """(h, w) uint8, all `IGNORED_INDEX`."""
        return np.full(window.shape, IGNORED_INDEX, np.uint8)

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) zeros, none of them a label."""
        return np.zeros(window.shape, np.uint8), np.zeros(window.shape, bool)


@dataclass(frozen=True)
class MixedStream:
    """Batches of which a quarter, and at least one patch, comes from unlabelled scenes."""

    labelled: PatchStream
    unlabelled: PatchStream

    def batches(self, batch: int, first_step: int = 0) -> tf.data.Dataset:
        """As `PatchStream.batches`; the unlabelled patches stand last in each batch of at least 2."""
        without = max(1, round(batch * _SHARE))
        parts = tf.data.Dataset.zip(
            self.labelled.batches(batch - without, first_step), self.unlabelled.batches(without, first_step)
        )
        return parts.map(lambda a, b: (tf.concat([a[0], b[0]], 0), tf.concat([a[1], b[1]], 0)))
