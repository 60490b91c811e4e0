"""A classifier of any kernel size as what segapp calls a head, a 1x1 convolution."""

from __future__ import annotations

import numpy as np
from keras import KerasTensor, layers


def neighbours(x: KerasTensor, kernel: np.ndarray, name: str) -> tuple[KerasTensor, np.ndarray]:
    """Features and a kernel (1, 1, D, K) that make of them what `kernel` (h, w, C, K), h = w odd, makes of `x`.

    The features are those of each pixel and its neighbours side by side, zeros beyond the border: with a larger kernel
    a transfer then replaces the classifier alone.
    """
    side, _, channels, _ = kernel.shape
    if side == 1:
        return x, kernel
    layer = layers.DepthwiseConv2D(side, padding="same", depth_multiplier=side**2, use_bias=False, name=name)
    x = layer(x)
    each = np.eye(side**2, dtype=np.float32).reshape(side, side, 1, side**2)
    layer.set_weights([np.repeat(each, channels, axis=2)])
    return x, kernel.transpose(2, 0, 1, 3).reshape(1, 1, -1, kernel.shape[3])


def transposed_neighbours(
    x: KerasTensor, kernel: np.ndarray, strides: tuple[int, int], padding: str, name: str
) -> tuple[KerasTensor, np.ndarray]:
    """Features and a kernel (1, 1, D, K) that make of them what a transposed convolution by `kernel` (h, w, C, K) does.

    The features of a pixel are those of each pixel that the transposed convolution makes it of, side by side.
    """
    height, width, channels, classes = kernel.shape
    each = np.zeros((height, width, height, width, channels, channels), np.float32)
    for row, column, channel in np.ndindex(height, width, channels):
        each[row, column, row, column, channel, channel] = 1
    filters = height * width * channels
    layer = layers.Conv2DTranspose(filters, (height, width), strides, padding, use_bias=False, name=name)
    x = layer(x)
    layer.set_weights([each.reshape(height, width, filters, channels)])
    return x, kernel.reshape(1, 1, filters, classes)


def classifier(x: KerasTensor, kernel: np.ndarray, bias: np.ndarray, name: str) -> KerasTensor:
    """The logits (N, H, W, K) that a convolution by `kernel` (1, 1, C, K) makes of `x`, in the layer `name`."""
    head = layers.Conv2D(len(bias), 1, name=name)
    logits = head(x)
    head.set_weights([kernel, bias])
    return logits
