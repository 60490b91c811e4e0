"""Run a network over a scene with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import keras
import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.nets.graph import analyse
from segapp.prediction.tiles import tiles
from segapp.scenes.scene import Scene
from segapp.windows import Window, round_up


class Predictor:
    """Maps scenes with a network that takes (N, H, W, C) in physical units and gives class probabilities.

    The graph is traced once and serves every size, and follows the network's weights when they change. With
    `test_time_augmentation`, probabilities are the mean over the eight flips and quarter turns of each tile, at eight
    times the work. Raises InputError if the network's layers do not allow mapping by tiles.
    """

    def __init__(self, model: keras.Model, test_time_augmentation: bool = False) -> None:
        self._graph = analyse(model)
        whole_group = list(product((False, True), range(4)))  # flipped or not, quarter turns
        self._orientations = whole_group if test_time_augmentation else whole_group[:1]
        signature = [tf.TensorSpec((1, None, None, model.input_shape[-1]), tf.float32)]
        self._network: Callable[[np.ndarray], tf.Tensor] = tf.function(
            lambda image: model(image, training=False), input_signature=signature
        )

    def probabilities(self, scene: Scene) -> Iterator[tuple[Window, np.ndarray]]:
        """Tile by tile: a window and its class probabilities, (h, w, K) float32; NaN where the scene has no data."""
        for core, seen in tiles(scene.shape, self._graph.stride, self._graph.halo):
            pixels = scene.read(seen)
            padding = [(0, round_up(size, self._graph.stride) - size) for size in seen.shape]
            padded = np.pad(pixels, (*padding, (0, 0)), constant_values=np.nan)
            place = core.relative_to(seen).slices
            result = self._mean_over_orientations(padded)[place]
            result[np.isnan(pixels[place][..., 0])] = np.nan
            yield core, result

    def _mean_over_orientations(self, image: np.ndarray) -> np.ndarray:
        """(h, w, C) to (h, w, K) probabilities; both sides divide by the stride, so all orientations align to it."""
        results = []
        for flip, turns in self._orientations:
            oriented = np.rot90(image[::-1] if flip else image, turns)
            back = np.rot90(self._network(oriented[np.newaxis]).numpy()[0], -turns)
            results.append(back[::-1] if flip else back)
        return np.mean(results, axis=0) if len(results) > 1 else results[0]

    def class_map(self, scene: Scene) -> np.ndarray:
        """(H, W) uint8 network indexes of the most probable class; `IGNORED_INDEX` where the scene has no data."""
        indexes = np.empty(scene.shape, np.uint8)
        for window, probabilities in self.probabilities(scene):
            indexes[window.slices] = most_probable(probabilities)
        return indexes


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """(h, w, K) probabilities to (h, w) uint8 network indexes; NaN becomes `IGNORED_INDEX`."""
    indexes = probabilities.argmax(-1).astype(np.uint8)
    indexes[np.isnan(probabilities[..., 0])] = IGNORED_INDEX
    return indexes
