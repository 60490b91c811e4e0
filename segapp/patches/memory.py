"""Small scenes held in memory, so that cutting a patch is a copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.bands import Band
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole

MEMORY_LIMIT = 512 * 2**20
"""Bytes that scenes held in memory may take together."""


class SceneInMemory:
    """A labelled scene whose pixels and labels were read once, as a `Scene`."""

    def __init__(self, scene: Scene) -> None:
        self.name, self.path, self.shape, self.georeference = scene.name, scene.path, scene.shape, scene.georeference
        self.bands: tuple[Band, ...] = scene.bands
        self.labelled = True
        self._scene = scene
        self._pixels = scene.read(whole(scene.shape))
        self._labels = scene.read_labels(whole(scene.shape))

    def read(self, window: Window) -> np.ndarray:
        """(h, w, C) float32, NaN where invalid."""
        return self._pixels[window.slices]

    def read_labels(self, window: Window) -> np.ndarray:
        """(h, w) uint8 network indexes."""
        return self._labels[window.slices]

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) class ids as the label file has them, and (h, w) bool: where it has any."""
        return self._scene.read_label_ids(window)

    def valid(self, window: Window) -> np.ndarray:
        """(h, w) bool: whether the pixel has data."""
        return ~np.isnan(self.read(window)[..., 0])


def hold_in_memory(scenes: Sequence[Scene], limit: int = MEMORY_LIMIT) -> list[Scene]:
    """The scenes, read into memory if they take at most `limit` bytes together, else as they are."""
    size = sum(scene.shape[0] * scene.shape[1] * (4 * len(scene.bands) + 1) for scene in scenes)
    return [SceneInMemory(scene) for scene in scenes] if size <= limit else list(scenes)
