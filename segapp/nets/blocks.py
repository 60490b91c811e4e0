"""The pieces a U-Net is made of, named in the vocabulary of MATLAB's `unetLayers` in Keras' spelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from segapp.nets.context import context_branch

_FLOOR = 0.03


def double_convolution(x: KerasTensor, filters: int, name: str, batch_norm: bool) -> KerasTensor:
    """Two 3x3 convolutions, each followed by ReLU: (N, H, W, C) to (N, H, W, filters).

    Batch normalisation, where wanted, stands between convolution and ReLU and shares its statistics over replicas.
    """
    for step in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=f"{name}_conv_{step}",
        )(x)
        if batch_norm:
            x = layers.BatchNormalization(synchronized=True, name=f"{name}_bn_{step}")(x)
        x = layers.ReLU(name=f"{name}_relu_{step}")(x)
    return x


def decoder_stage(x: KerasTensor, skip: KerasTensor, filters: int, stage: int, batch_norm: bool) -> KerasTensor:
    """Double the resolution, join the skip, and convolve: (N, H, W, C) to (N, 2H, 2W, filters).

    The skip connection is joined in MATLAB's order, upsampled features first.
    """
    name = f"decoder_stage_{stage}"
    x = layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_upconv")(x)
    x = layers.ReLU(name=f"{name}_uprelu")(x)
    x = layers.Concatenate(name=f"{name}_concat")([x, skip])
    return double_convolution(x, filters, name, batch_norm)


def input_normalization(x: KerasTensor, mean: np.ndarray, std: np.ndarray, logarithm: bool = False) -> KerasTensor:
    """Standardise each band in float32; what is not finite (an invalid pixel) becomes 0, the band's centre.

    With `logarithm`, the bands' logarithms are standardised, as those of log-normal values of this mean and standard
    deviation; what is below 3 % of the mean counts as that.
    """
    variance = std**2
    if logarithm:
        variance = np.log1p((std / mean) ** 2)
        floor, mean = _FLOOR * mean, np.log(mean) - variance / 2
        known = ops.where(ops.isfinite(x), x, np.exp(mean).astype(np.float32))
        x = ops.log(ops.maximum(known, floor.astype(np.float32)))
    x = layers.Normalization(
        mean=mean.tolist(), variance=variance.tolist(), dtype="float32", name="input_normalization"
    )(x)
    return ops.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)


def with_input_and_head(
    features: Callable[[KerasTensor], KerasTensor],
    bands: int,
    classes: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    logarithm: bool = False,
    size: tuple[int | None, int | None] = (None, None),
    head: str = "final_conv",
    context: int = 0,
    name: str = "network",
) -> keras.Model:
    """Complete the layers that `features` builds to a network from physical values to class probabilities.

    The head is a 1x1 convolution of the name `head` and the softmax `softmax`, both in float32; the logits are the
    softmax's input. With `context` the head also sees so many units of a context branch (`segapp.nets.context`), after
    the last feature map's channels.
    """
    inputs = keras.Input((*size, bands), name="image")
    centre, spread = np.array(mean or [0.0] * bands), np.array(std or [1.0] * bands)
    normalised = input_normalization(inputs, centre, spread, logarithm)
    x = features(normalised)
    if context:
        branch = context_branch(normalised, inputs, context)
        x = layers.Concatenate(dtype="float32", name="context_join")([x, branch])
    logits = layers.Conv2D(classes, 1, kernel_initializer="he_normal", dtype="float32", name=head)(x)
    return keras.Model(inputs, layers.Softmax(dtype="float32", name="softmax")(logits), name=name)
