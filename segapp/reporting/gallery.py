"""The gallery: the best, the median and the worst patches, as image, reference, prediction, errors and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.inference.predictor import Predictor
from segapp.reporting.measure import Patch, classes_in
from segapp.reporting.palette import Palette
from segapp.reporting.pictures import composites, confidence, data_uri, errors, stretched
from segapp.scenes.scene import Scene
from segapp.windows import Window

EACH = 3
_ENOUGH = 0.1
"""Patches with less than this share of the pixels of the fullest have no place in the gallery."""


@dataclass(frozen=True)
class Picture:
    """A picture, what it is, and in other words what it shows."""

    title: str
    note: str
    uri: str


@dataclass(frozen=True)
class Shown:
    """A patch with its pictures; `before` is the share of its pixels that another model of all classes has right."""

    place: str
    patch: Patch
    pictures: tuple[Picture, ...]
    before: float | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A network, and the scenes as it takes them; `renumbered` as in `measure`; whether it knows all classes."""

    predictor: Predictor
    scenes: Sequence[Scene]
    renumbered: np.ndarray | None = None
    knows_all: bool = True

    def map(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Network indexes (h, w) and probabilities (h, w, K) of a patch."""
        size = patch.window.shape
        indexes, values = np.empty(size, np.uint8), None
        for window, probabilities in self.predictor.probabilities(self.scenes[patch.scene], patch.window):
            place = window.relative_to(patch.window).slices
            if values is None:
                values = np.empty((*size, probabilities.shape[-1]), np.float32)
            values[place] = probabilities
            indexes[place] = classes_in(probabilities, self.renumbered)
        assert values is not None  # no patch is empty
        return indexes, values


def choose(patches: Sequence[Patch]) -> dict[str, list[Patch]]:
    """The best, the median and the worst patches by the share of right pixels, `EACH` of a kind where there are enough.

    Among equals those with more pixels come first; no patch is shown twice.
    """
    most = max((patch.pixels for patch in patches), default=0)
    ranked = sorted(
        (patch for patch in patches if patch.pixels >= _ENOUGH * most),
        key=lambda patch: (-patch.accuracy, -patch.pixels, patch.scene, patch.window),
    )
    size = min(EACH, max(1, len(ranked) // 3))
    best, rest = ranked[:size], ranked[size:]
    worst, rest = rest[-size:][::-1], rest[:-size]
    start = (len(rest) - size + 1) // 2 if len(rest) > size else 0
    chosen = {"Best": best, "Median": rest[start : start + size], "Worst": worst}
    return {title: found for title, found in chosen.items() if found}


def show(patch: Patch, network: Network, palette: Palette, other: tuple[str, Network] | None = None) -> Shown:
    """Make the pictures of a patch; `other` is another model's name and network, whose map is shown, too."""
    scene = network.scenes[patch.scene]
    pixels, reference = scene.read(patch.window), scene.read_labels(patch.window)
    prediction, probabilities = network.map(patch)
    pictures = []
    image = None
    for composite in composites(scene.bands):
        rgba = stretched(pixels[..., list(composite.bands)])
        image = rgba if image is None else image
        pictures.append(Picture(composite.title, composite.names, data_uri(rgba)))
    assert image is not None
    pictures.append(Picture("Reference", "", data_uri(palette.picture(reference))))
    before = None
    if other:
        name, its = other
        found, _ = its.map(patch)
        if its.knows_all:
            scored = (reference != IGNORED_INDEX) & (found != IGNORED_INDEX)
            before = float((found == reference)[scored].mean()) if scored.any() else None
        pictures.append(Picture("Prediction before", name, data_uri(palette.picture(found))))
    pictures.append(Picture("Prediction", "", data_uri(palette.picture(prediction))))
    pictures.append(Picture("Errors", "", data_uri(errors(image, reference, prediction))))
    pictures.append(Picture("Confidence", "", data_uri(confidence(probabilities))))
    return Shown(_place(scene, patch.window), patch, tuple(pictures), before)


def _place(scene: Scene, window: Window) -> str:
    """The scene's name, and where in it the patch lies unless it is all of it."""
    if window.shape == scene.shape:
        return scene.name
    return f"{scene.name}, rows {window.row}-{window.row_stop - 1}, columns {window.col}-{window.col_stop - 1}"
