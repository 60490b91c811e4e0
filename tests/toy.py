"""A scene made of arrays, for tests that need no files."""

from __future__ import annotations

import numpy as np

from segapp.bands import Band
from segapp.windows import Window


class ToyScene:
    """A `Scene` of given pixels (H, W, C) float32 and labels (H, W) uint8, which remembers the largest window read."""

    name = path = "toy"
    georeference = None
    labelled = True

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels.astype(np.float32), labels.astype(np.uint8)
        self.shape = labels.shape
        self.bands = tuple(Band(name=f"band_{i + 1}") for i in range(pixels.shape[-1]))
        self.most_pixels_read = 0

    def read(self, window: Window) -> np.ndarray:
        self.most_pixels_read = max(self.most_pixels_read, window.height * window.width)
        assert window.row >= 0 and window.col >= 0
        assert window.row_stop <= self.shape[0] and window.col_stop <= self.shape[1]
        return self.pixels[window.slices]

    def read_labels(self, window: Window) -> np.ndarray:
        return self.labels[window.slices]

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self.labels[window.slices], np.ones(window.shape, bool)

    def valid(self, window: Window) -> np.ndarray:
        return ~np.isnan(self.read(window)[..., 0])


def random_scene(shape: tuple[int, int], bands: int = 2, classes: int = 3, seed: int = 0) -> ToyScene:
    """A scene of noise."""
    rng = np.random.default_rng(seed)
    return ToyScene(rng.normal(size=(*shape, bands)), rng.integers(classes, size=shape))
