"""Resizing of maps as other frameworks do it, where Keras' own layers do it otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

Coordinates = Literal["half_pixel", "align_corners", "asymmetric"]
Interpolation = Literal["nearest", "linear", "cubic"]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def source_positions(index: Any, inside: Any, outside: Any, factor: float, coordinates: str) -> Any:
    """Where output pixels `index` lie among the `inside` input pixels of which `outside` are made."""
    if coordinates == "align_corners":
        return index * ((inside - 1) / (outside - 1))
    return index / factor if coordinates == "asymmetric" else (index + 0.5) / factor - 0.5


def rounded(positions: Any, rounding: str, module: Any = np) -> Any:
    """Whole positions as ONNX' `nearest_mode` rounds them, with the functions of `module`, NumPy or `keras.ops`."""
    if rounding in ("floor", "ceil"):
        return getattr(module, rounding)(positions)
    return module.ceil(positions - 0.5) if rounding == "round_prefer_floor" else module.floor(positions + 0.5)


@keras.saving.register_keras_serializable(package="segapp")
class Resampling2D(layers.Layer):
    """A map (N, H, W, C) resized to (N, H * rows, W * columns, C), rounded down, as ONNX' `Resize` defines it.

    `factors` are (numerator, denominator) of rows and of columns. Positions beyond the border get the border's pixel.
    """

    def __init__(
        self,
        factors: Sequence[Sequence[int]],
        interpolation: Interpolation = "linear",
        coordinates: Coordinates = "half_pixel",
        rounding: Rounding = "round_prefer_floor",
        cubic_coefficient: float = -0.75,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.factors = [(int(up), int(down)) for up, down in factors]
        self.interpolation = interpolation
        self.coordinates = coordinates
        self.rounding = rounding
        self.cubic_coefficient = cubic_coefficient
        self.built = True

    def call(self, x: Any) -> Any:
        """The resized maps of one batch."""
        for axis, (up, down) in enumerate(self.factors, start=1):
            if up == down:
                continue
            inside = ops.shape(x)[axis]
            outside = inside * up // down
            positions = source_positions(
                ops.cast(ops.arange(outside, dtype="int32"), "float32"),
                ops.cast(inside, "float32"),
                ops.cast(ops.maximum(outside, 2), "float32"),
                up / down,
                self.coordinates,
            )
            shape = [-1 if place == axis else 1 for place in range(4)]
            total = None
            for places, weights in self._taps(positions):
                taken = ops.take(x, ops.cast(ops.clip(places, 0, ops.cast(inside - 1, "float32")), "int32"), axis=axis)
                part = taken if weights is None else taken * ops.cast(ops.reshape(weights, shape), x.dtype)
                total = part if total is None else total + part
            x = total
        return x

    def _taps(self, positions: Any) -> list[tuple[Any, Any]]:
        """The input pixels that each output pixel is made of, with their weights, None for 1."""
        if self.interpolation == "nearest":
            return [(rounded(positions, self.rounding, ops), None)]
        first = ops.floor(positions)
        part = positions - first
        if self.interpolation == "linear":
            return [(first, 1 - part), (first + 1, part)]
        a = self.cubic_coefficient

        def near(d: Any) -> Any:
            return ((a + 2) * d - (a + 3)) * d * d + 1

        def far(d: Any) -> Any:
            return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

        distances = (far(1 + part), near(part), near(1 - part), far(2 - part))
        return [(first + place, weights) for place, weights in enumerate(distances, start=-1)]

    def sampled(self, axis: int) -> tuple[int, int]:
        """How many pixels along an axis (0: rows) output pixel i is made of, and how many before i * down they begin.

        They are pixels of the input after up - 1 empty ones have been put behind each, as `segapp.nets.graph` counts.
        """
        up, down = self.factors[axis]
        offsets = []
        for index in range(up):
            place = Fraction(index * down, up)
            if self.coordinates == "half_pixel":
                place += (Fraction(down, up) - 1) / 2
            first = math.floor(place)
            taps = range(first, first + 1) if place == first else range(first, first + 2)
            if self.interpolation == "nearest":
                taps = range(nearest := rounded(place, self.rounding, math), nearest + 1)
            elif self.interpolation == "cubic" and place != first:
                taps = range(first - 1, first + 3)
            offsets += [tap * up - index * down for tap in taps]
        return max(offsets) - min(offsets) + 1, -min(offsets)

    def compute_output_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """(N, H * rows, W * columns, C)."""
        sizes = (size and size * up // down for size, (up, down) in zip(shape[1:3], self.factors, strict=True))
        return (shape[0], *sizes, shape[3])

    def get_config(self) -> dict[str, Any]:
        """What the layer was made with."""
        return {
            **super().get_config(),
            "factors": [list(factor) for factor in self.factors],
            "interpolation": self.interpolation,
            "coordinates": self.coordinates,
            "rounding": self.rounding,
            "cubic_coefficient": self.cubic_coefficient,
        }
