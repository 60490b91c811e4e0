"""One scene: pixels as the network takes them, and the labels on the same grid."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from segapp.bands import Band
from segapp.scenes.raster import Georeference
from segapp.windows import Window


class Scene(Protocol):
    """A multispectral image read by window. Reading is safe from several threads at once."""

    name: str
    path: str
    """What messages call this scene."""
    shape: tuple[int, int]
    """(H, W) in pixels."""
    bands: tuple[Band, ...]
    georeference: Georeference | None
    labelled: bool
    """Whether `read_labels` can be called."""

    def read(self, window: Window) -> np.ndarray:
        """(h, w, C) float32 in the bands' units; a pixel that is invalid in any band is NaN in all of them.

        `window` must lie inside the scene.
        """
        ...

    def read_labels(self, window: Window) -> np.ndarray:
        """(h, w) uint8 network indexes; pixels without a label are `segapp.classes.IGNORED_INDEX`.

        Raises InputError for ids outside the class table. Invalid image pixels may still carry a label here.
        """
        ...

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) class ids as the label file has them, and (h, w) bool: where it has any."""
        ...

    def valid(self, window: Window) -> np.ndarray:
        """(h, w) bool: whether the pixel has data in every band."""
        ...
