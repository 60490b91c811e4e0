"""What surrounds each pixel, at several scales, computed by fixed filters: the input of a context branch.

These are the filters that pixel classifiers are commonly given (ilastik; scikit-image's `multiscale_basic_features`):
local means, and local deviations from them.
"""

from __future__ import annotations

from typing import Any

from keras import KerasTensor, layers, ops

WINDOWS = (3, 5, 9, 17)
"""Sides, in pixels, of the moving averages that are applied one after another."""
REACH = sum(side // 2 for side in WINDOWS) + WINDOWS[-1] // 2
"""How far a pixel's features see, in pixels."""
HIDDEN = "context_hidden"
_LEAST = 1e-3


class ContextFeatures(layers.Layer):
    """Each band's value, and its mean and mean absolute deviation at four scales, in float32.

    Takes the normalised bands and the image that they come from, both (N, H, W, C), and gives (N, H, W, 9 C). Pixels
    that are not finite in the image, and those beyond its border, take no part in any mean.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"dtype": "float32", **settings})

    def call(self, bands: Any, image: Any) -> Any:
        """The features of one batch."""
        valid = ops.cast(ops.any(ops.isfinite(image), axis=-1, keepdims=True), "float32")
        features, total, weight = [bands], bands * valid, valid
        for side in WINDOWS:
            total, weight = _moving_average(total, side) * valid, _moving_average(weight, side) * valid
            mean = total / ops.maximum(weight, _LEAST)
            deviation = _moving_average(ops.abs(bands - mean) * valid, side)
            features += [mean, deviation / ops.maximum(_moving_average(valid, side), _LEAST)]
        return ops.concatenate(features, axis=-1)

    def compute_output_shape(self, bands_shape: tuple[Any, ...], image_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """(N, H, W, 9 C)."""
        return (*bands_shape[:-1], bands_shape[-1] * (1 + 2 * len(WINDOWS)))


def context_branch(bands: KerasTensor, image: KerasTensor, units: int) -> KerasTensor:
    """A hidden layer of `units` on the context of each pixel: (N, H, W, units) float32, from both (N, H, W, C)."""
    features = ContextFeatures(name="context_features")(bands, image)
    hidden = layers.Conv2D(units, 1, activation="relu", kernel_initializer="he_normal", dtype="float32", name=HIDDEN)
    return hidden(features)


def _moving_average(x: Any, side: int) -> Any:
    """The mean of `side` x `side` pixels around each; zeros lie beyond the border."""
    for shape in ((side, 1), (1, side)):
        pads = [(0, 0), *((extent // 2, extent // 2) for extent in shape), (0, 0)]
        x = ops.average_pool(ops.pad(x, pads), shape, strides=1, padding="valid")
    return x
