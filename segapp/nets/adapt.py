"""A pretrained network's first convolutions, made to fit other bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import layers

from segapp.errors import InputError
from segapp.nets.context import ContextFeatures
from segapp.nets.graph import calls

BandFill = Literal["zero", "mean", "discriminants"]
_RIDGE = 0.01
"""Of the bands' mean size: bands that go together closely would else differ by their noise alone."""

# What treats each band by itself and keeps 0, a band at its mean, at 0; by class name, as in `segapp.nets.graph`.
_PER_BAND = {"InputLayer", "Normalization", "NanToNum", "Cast", "Identity", "ZeroPadding2D", "Cropping2D"}
_PER_BAND |= {"Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ReLU", "LeakyReLU", "ELU"}
_PER_BAND_ACTIVATIONS = {"linear", "relu", "leaky_relu", "elu", "tanh"}


def band_mixing(
    match: Sequence[int | None], bands: int, fill: BandFill = "zero", second_moments: np.ndarray | None = None
) -> np.ndarray:
    """What each of a network's `bands` is made of when it gets other bands: weights (len(match), bands) float64.

    `match` gives each new band its band of the network, as `segapp.bands.match_bands` does. Matched bands are what they
    were. Bands without a match begin without weight, so that the network computes what it did; or, with `fill` "mean",
    each is a part of every band, for new data that shares no band with the base.

    Bands of the network that nothing matches are dropped: they stay at their means. With the `second_moments` (bands,
    bands) of its standardized training bands they are estimated from the remaining bands by ridge regression.
    """
    mixing = np.zeros((len(match), bands))
    if fill == "mean":
        mixing[:] = 1 / len(match)
    for new, base in enumerate(match):
        if base is not None:
            mixing[new] = 0
            mixing[new, base] = 1
    places = [new for new, base in enumerate(match) if base is not None]
    kept = [base for base in match if base is not None]
    dropped = [base for base in range(bands) if base not in kept]
    if second_moments is not None and kept and dropped and fill == "zero":
        among = second_moments[np.ix_(kept, kept)]
        ridge = _RIDGE * np.trace(among) / len(kept) * np.eye(len(kept))
        mixing[np.ix_(places, dropped)] = np.linalg.solve(among + ridge, second_moments[np.ix_(kept, dropped)])
    return mixing


def adapt_kernel(kernel: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Fit a convolution kernel (h, w, C, F) to other bands: (h, w, new bands, F) of the same dtype.

    `mixing` (new bands, C) says what each of its bands is made of, as in `band_mixing`: where that is one new band, its
    filters are kept unscaled.
    """
    return np.einsum("nc,hwcf->hwnf", mixing, kernel).astype(kernel.dtype)


def first_kernels(model: keras.Model) -> list[layers.Conv2D]:
    """The convolutions that see the bands, whose kernels `adapt_kernel` fits: one, or several side by side.

    Raises InputError, naming the layer, if something other than a plain convolution mixes or weighs the bands.
    """
    graph = calls(model)
    names = [call.operation.name for call in graph]
    # What leads to segapp's own normalisation, as logarithms, is made for each band anew.
    prepared = names.index("input_normalization") if "input_normalization" in names else 0
    found: list[layers.Conv2D] = []
    bands = {call.output for call in graph[:prepared]}
    for call in graph[prepared:]:
        if (call.inputs and bands.isdisjoint(call.inputs)) or isinstance(call.operation, ContextFeatures):
            continue
        if isinstance(call.operation, layers.Conv2D) and call.operation.groups == 1:
            if call.operation not in found:
                found.append(call.operation)
        elif _treats_each_band_alone(call.operation):
            bands.add(call.output)
        else:
            raise InputError(
                f"layer {call.operation.name!r} ({call.kind}) mixes or weighs the bands before the first convolution; "
                "such a base can only be used with its own bands, in their order"
            )
    return found


def _treats_each_band_alone(op: keras.Operation) -> bool:
    if isinstance(op, layers.Activation):
        return getattr(op.activation, "__name__", "") in _PER_BAND_ACTIVATIONS
    if isinstance(op, layers.Rescaling):
        return np.ndim(op.scale) == np.ndim(op.offset) == 0
    return type(op).__name__ in _PER_BAND
