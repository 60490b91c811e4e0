"""Run a network with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from segapp.classes import IGNORED_INDEX
from segapp.inference.engine import MEMORY
from segapp.nets.graph import analyse, bytes_per_pixel
from segapp.nets.precision import ComputePrecision
from segapp.windows import Window


class TensorFlowEngine:
    """An `Engine` that runs a Keras model (N, H, W, C) to class probabilities where and how it was built.

    The graph is traced once and serves every size, and follows the network's weights when they change. Raises
    InputError if the network's layers do not allow mapping by pieces.
    """

    memory = MEMORY

    def __init__(self, model: keras.Model) -> None:
        graph = analyse(model)
        self.stride = graph.stride
        self.halo = graph.halo
        self.classes = int(model.output_shape[-1])
        self.bytes_per_pixel = bytes_per_pixel(model)
        self.in_flight = 2 if tf.config.get_visible_devices("GPU") else 1  # one is copied while one is computed
        convolutions = (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
        self.precision: ComputePrecision = next(convolutions).compute_dtype
        place = tf.TensorSpec((4,), tf.int32)
        image = tf.TensorSpec((None, None, model.input_shape[-1]), tf.float32)

        def mapped(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
            found = model(image[tf.newaxis], training=False)[0]
            return found[place[0] : place[0] + place[2], place[1] : place[1] + place[3]]

        def most_probable(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
            found = mapped(image, place)
            indexes = tf.cast(tf.argmax(found, -1, tf.int32), tf.uint8)
            return tf.where(tf.math.is_nan(found[..., 0]), tf.constant(IGNORED_INDEX, tf.uint8), indexes)

        self._probabilities: Callable[..., tf.Tensor] = tf.function(mapped, input_signature=[image, place])
        self._indexes: Callable[..., tf.Tensor] = tf.function(most_probable, input_signature=[image, place])

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        return self._probabilities(image, _as_tensor(place)).numpy()

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        return self._indexes(image, _as_tensor(place)).numpy()


def _as_tensor(window: Window) -> tf.Tensor:
    return tf.constant([window.row, window.col, window.height, window.width], tf.int32)
