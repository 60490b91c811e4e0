"""What a map can hold besides classes, and in which numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import entr

from segapp.classes import ClassTable

Layer = Literal["classes", "probabilities", "probabilities-float32", "confidence", "entropy"]

_CERTAIN = 254  # the uint8 that stands for probability 1; 255 is left for "no data"
_NO_DATA = 255


@dataclass(frozen=True)
class LayerFormat:
    """The numbers of a layer: their `dtype`, the one that means "no data", the bands' names, and what 1 stands for.

    A layer of one band is written as (h, w), one of several as (h, w, bands).
    """

    dtype: np.dtype
    nodata: float
    bands: tuple[str, ...]
    scale: float = 1.0

    def array_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """(H, W) or (H, W, bands) of the layer's array for a map of `shape` pixels."""
        return shape if len(self.bands) == 1 else (*shape, len(self.bands))


def format_of(layer: Layer, classes: ClassTable) -> LayerFormat:
    """The numbers that `values_of` gives for `layer`."""
    if layer == "classes":
        return LayerFormat(classes.dtype, classes.nodata, ("class",))
    if layer == "probabilities":
        return LayerFormat(np.dtype(np.uint8), _NO_DATA, tuple(classes.names), 1 / _CERTAIN)
    bands = tuple(classes.names) if layer == "probabilities-float32" else (str(layer),)
    return LayerFormat(np.dtype(np.float32), math.nan, bands)


def layer_file(output: Path, layer: Layer) -> Path:
    """The file of `layer` beside the class map `output`: `output` itself, or output.confidence.tif and so on."""
    if layer == "classes":
        return output
    return output.with_name(f"{output.stem}.{layer.removesuffix('-float32')}{output.suffix}")


def values_of(
    layer: Layer, indexes: np.ndarray | None, probabilities: np.ndarray | None, classes: ClassTable
) -> np.ndarray:
    """What is written for a tile, in the numbers of `format_of`.

    `indexes` are (h, w) uint8 network indexes, which "classes" needs and turns into (h, w) ids; the other layers need
    `probabilities`, (h, w, K) float32 with NaN where there is no data. "probabilities" gives (h, w, K) uint8, 0 to 254
    for 0 to 1, or float32; "confidence" (h, w) float32, the largest probability; "entropy" (h, w) float32, Shannon's
    entropy divided by that of equal probabilities, log K.
    """
    if layer == "classes":
        if indexes is None:
            raise ValueError("the layer 'classes' is made of indexes")
        return classes.to_ids(indexes)
    if probabilities is None:
        raise ValueError(f"the layer '{layer}' is made of probabilities")
    if layer == "probabilities-float32":
        return probabilities
    if layer == "confidence":
        return probabilities.max(axis=-1)
    return _as_bytes(probabilities) if layer == "probabilities" else _entropy(probabilities)


def _as_bytes(probabilities: np.ndarray) -> np.ndarray:
    result = np.empty(probabilities.shape, np.uint8)
    with np.errstate(invalid="ignore"):  # NaN is dealt with afterwards
        for row, line in enumerate(probabilities):  # what is made on the way stays small, and in the cache
            result[row] = line * np.float32(_CERTAIN) + np.float32(0.5)
    result[np.isnan(probabilities[..., 0])] = _NO_DATA
    return result


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    result = np.empty(probabilities.shape[:2], np.float32)
    for row, line in enumerate(probabilities):
        result[row] = entr(line.clip(0, 1)).sum(axis=-1)  # rounding may carry probabilities a little beyond 1
    return (result / np.float32(math.log(probabilities.shape[-1]))).clip(0, 1)
