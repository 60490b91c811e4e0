"""What each importer gives: somebody else's network in Keras, and a way to run the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segapp.errors import InputError
from segapp.model.model_spec import Normalization

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Original:
    """The file itself in its own `runtime`: `run` maps images (N, H, W, C) float32 to what it gives, (N, H, W, K)."""

    runtime: str
    run: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Foreign:
    """A functional network (N, H, W, C) to (N, H, W, K), read from a file of another make.

    `normalization` is what the file does to the bands before, if it says so. `original` is None where nothing is
    installed that can run the file, or where it holds weights only; `unchecked` then says why. `open_sides` says that
    the network takes images of any size, though `model` is built for one.
    """

    model: keras.Model
    format: str
    normalization: Normalization | None = None
    original: Original | None = None
    unchecked: str = ""
    open_sides: tuple[bool, bool] = (False, False)

    @property
    def size(self) -> tuple[int | None, int | None]:
        """The height and width of the images that it takes; None for any."""
        sides = self.model.input_shape[1:3]
        height, width = (None if is_open else side for side, is_open in zip(sides, self.open_sides, strict=True))
        return height, width


def one_a_band(what: str, values: np.ndarray) -> tuple[float, ...]:
    """The number of each band in `values`, (..., C); raises ValueError where it differs from pixel to pixel."""
    pixels = values.reshape(-1, values.shape[-1])
    if not np.allclose(pixels, pixels[:1], rtol=1e-6, atol=0):
        raise ValueError(f"the {what} of the input differs from pixel to pixel; train with one number a band")
    return tuple(float(value) for value in pixels[0])


def missing_package(path: object, package: str) -> InputError:
    """What is raised where an optional package is not installed."""
    return InputError(f"{path}: reading it needs the package {package}; pip install 'segapp[convert]'")
