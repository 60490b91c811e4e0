"""One labelled scene divided into blocks for training, validation and test."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np

from segapp.errors import InputError
from segapp.scenes.raster import Georeference
from segapp.scenes.scene import Scene
from segapp.windows import Window

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "val", "test")

_SHARES: dict[Role, float] = {"train": 0.6, "val": 0.2, "test": 0.2}
# Longer scenes repeat the pattern of stripes, so that no role sees one end of the scene only.
_REPEAT_EVERY = 4096


class Block:
    """A window of a scene as a scene of its own."""

    def __init__(self, scene: Scene, window: Window) -> None:
        self.name = f"{scene.name} [{window.row}:{window.row_stop}, {window.col}:{window.col_stop}]"
        self.path = scene.path
        self.shape = window.shape
        self.bands = scene.bands
        self.georeference = _shifted(scene.georeference, window)
        self.labelled = scene.labelled
        self.window = window
        self.scene = scene

    def read(self, window: Window) -> np.ndarray:
        return self.scene.read(self._of_scene(window))

    def read_labels(self, window: Window) -> np.ndarray:
        return self.scene.read_labels(self._of_scene(window))

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self.scene.read_label_ids(self._of_scene(window))

    def valid(self, window: Window) -> np.ndarray:
        return self.scene.valid(self._of_scene(window))

    def _of_scene(self, window: Window) -> Window:
        if window.row < 0 or window.col < 0 or window.row_stop > self.shape[0] or window.col_stop > self.shape[1]:
            raise ValueError(f"{window} reaches out of a block of {self.shape[0]}x{self.shape[1]} pixels")
        return window.shift(self.window.row, self.window.col)


def block_windows(shape: tuple[int, int], role: Role, gap: int) -> list[Window]:
    """The windows of `role` in a scene of `shape` (H, W): stripes across its longer axis, 60 : 20 : 20 in all.

    Validation and test stripes depend on the shape alone, so that scores stay comparable; training stripes lie between
    them and keep `gap` pixels away. Returns an empty list if the gap leaves no training pixel.
    """
    along = max(shape)
    repeats = max(1, along // _REPEAT_EVERY)
    pattern: list[Role] = ["val", "train", "test", "train"] * repeats
    if repeats == 1:
        pattern = ["val", "train", "test"]
    edges = np.rint(np.cumsum([0.0, *(_SHARES[r] / pattern.count(r) for r in pattern)]) * along).astype(int).tolist()
    windows = []
    for position, (start, stop) in enumerate(pairwise(edges)):
        if pattern[position] != role:
            continue
        if role == "train":
            start += gap  # the first stripe is never a training stripe
            stop -= gap if position < len(pattern) - 1 else 0
        rows_first = shape[0] >= shape[1]
        window = Window(start, 0, stop - start, shape[1]) if rows_first else Window(0, start, shape[0], stop - start)
        if not window.empty:
            windows.append(window)
    return windows


def divide(scene: Scene, role: Role, gap: int) -> list[Block]:
    """The blocks of `role` in `scene`; training blocks keep `gap` pixels away from all others.

    Raises InputError where the scene is too small for the gap.
    """
    windows = block_windows(scene.shape, role, gap)
    if not windows:
        height, width = scene.shape
        raise InputError(
            f"{scene.path}: {height}x{width} pixels are too few to divide into blocks with a gap of {gap} pixels; "
            f"use a smaller patch, or scenes with roles of their own"
        )
    return [Block(scene, window) for window in windows]


def _shifted(georeference: Georeference | None, window: Window) -> Georeference | None:
    if georeference is None:
        return None
    a, b, c, d, e, f = georeference.transform
    x, y = a * window.col + b * window.row + c, d * window.col + e * window.row + f
    return Georeference(georeference.crs, (a, b, x, d, e, y))
