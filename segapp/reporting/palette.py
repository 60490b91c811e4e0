"""Class colours, and hatches for classes whose colours are too similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from segapp.classes import ClassTable

SIMILAR = 10.0
"""Colours with a smaller CIEDE2000 difference are easily confused on a map."""
HATCHES = ("", "/", "\\", "x", "-", "|", "+", ".")
"""The hatches of plotly by number, 0 for none; further classes share the last."""


@dataclass(frozen=True)
class Palette:
    """The colours of K classes, "#rrggbb" in network order, and the hatch number of each."""

    colors: tuple[str, ...]
    hatches: tuple[int, ...]
    similar: tuple[tuple[int, int], ...]
    """Pairs of classes with similar colours."""

    @classmethod
    def of(cls, classes: ClassTable) -> Palette:
        """The colours of the class table; a class gets another hatch than earlier classes of similar colour."""
        colors = tuple(classes.colors)
        near = color_differences(colors) < SIMILAR
        hatches: list[int] = []
        for i in range(len(colors)):
            used = {hatches[j] for j in range(i) if near[i, j]}
            free = (number for number in range(len(HATCHES)) if number not in used)
            hatches.append(next(free, len(HATCHES) - 1))
        similar = tuple((j, i) for i in range(len(colors)) for j in range(i) if near[i, j])
        return cls(colors, tuple(hatches), similar)

    @cached_property
    def rgba(self) -> np.ndarray:
        """The colour of each network index, (256, 4) uint8; indexes without a class are transparent."""
        table = np.zeros((256, 4), np.uint8)
        table[: len(self.colors)] = [(*(round(255 * part) for part in to_rgb(c)), 255) for c in self.colors]
        return table

    def picture(self, indexes: np.ndarray) -> np.ndarray:
        """Draw network indexes (h, w) uint8 in the colours and hatches of the classes, (h, w, 4) uint8."""
        rgba = self.rgba[indexes]
        if any(self.hatches):
            number = np.zeros(256, int)
            number[: len(self.hatches)] = self.hatches
            lines = _hatch_lines(number[indexes])
            light = rgba[..., :3].mean(axis=-1, keepdims=True) > 110
            stroke = np.where(light, rgba[..., :3] * 0.45, 255 - (255 - rgba[..., :3]) * 0.45).astype(np.uint8)
            rgba[..., :3] = np.where(lines[..., None], stroke, rgba[..., :3])
        return rgba


def color_differences(colors: Sequence[str]) -> np.ndarray:
    """CIEDE2000 colour differences (K, K); a difference of 1 is just visible (Sharma, Wu and Dalal 2005)."""
    lab = rgb2lab(np.array([to_rgb(color) for color in colors])[None])[0]
    return np.asarray(deltaE_ciede2000(lab[:, None], lab[None]))


def _hatch_lines(number: np.ndarray) -> np.ndarray:
    """Whether a pixel is on a line of its hatch, (h, w) bool, from hatch numbers (h, w)."""
    row, col = np.indices(number.shape)
    down, up = (row - col) % 5 == 0, (row + col) % 5 == 0
    across, along = row % 5 == 0, col % 5 == 0
    patterns = [np.zeros_like(down), up, down, up | down, across, along, across | along, across & along]
    return np.choose(number, patterns)
