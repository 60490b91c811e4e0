"""What runs a network: one interface, whatever library does the arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from segapp.errors import InputError
from segapp.windows import Window

if TYPE_CHECKING:
    from segapp.nets.precision import ComputePrecision


MEMORY = 1000 << 20
"""Bytes that an image may take: with TensorFlow and what is read ahead, a process on a CPU stays below 2 GB."""


class EngineLostError(InputError):
    """What runs the network is gone, for this scene and for others."""


class Engine(Protocol):
    """A network that maps an image (h, w, C) float32, in physical units with NaN where there is no data.

    Both sides of the image must divide by `stride`. `halo` is how many pixels beyond itself an aligned tile looks, None
    where a layer sees the whole image. `bytes_per_pixel` is about how much memory a pixel takes while it is mapped, and
    `memory` how much an image may take of it, in bytes, where nobody says how large images are to be.
    """

    stride: int
    halo: int | None
    classes: int
    bytes_per_pixel: int
    memory: int
    in_flight: int
    """How many images it is good to have under way at once; 1 for an engine that takes all of this machine itself."""

    @property
    def precision(self) -> ComputePrecision | None:
        """What the network's layers compute in; None where a server decides."""
        ...

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        """Class probabilities (place.height, place.width, K) float32 of the part `place` of the image."""
        ...

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        """Network indexes (place.height, place.width) uint8 of the most probable classes.

        `IGNORED_INDEX` where the network gives no number, as one whose training diverged.
        """
        ...
