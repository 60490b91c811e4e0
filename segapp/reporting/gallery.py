"""The gallery: the best, median and worst patches with image, reference, prediction, errors and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.inference.predictor import Predictor
from segapp.reporting.measure import Patch, predicted_indexes
from segapp.reporting.palette import Palette
from segapp.reporting.pictures import composites, confidence_picture, data_uri, error_picture, stretch
from segapp.scenes.scene import Scene
from segapp.windows import Window

MOST_PER_GROUP = 3
_LEAST_SHARE = 0.1
"""Patches with less than this share of the scored pixels of the fullest patch are left out."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with its title and a note."""

    title: str
    note: str
    uri: str


@dataclass(frozen=True)
class GalleryPatch:
    """A patch with its pictures; `accuracy_before` is that of another model, None if that lacks a class."""

    place: str
    patch: Patch
    pictures: tuple[Picture, ...]
    accuracy_before: float | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A network, the scenes with its bands, and `remap` as in `measure`."""

    predictor: Predictor
    scenes: Sequence[Scene]
    remap: np.ndarray | None = None
    has_all_classes: bool = True

    def predict(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Network indexes (h, w) uint8 and probabilities (h, w, K) float32 of a patch."""
        size = patch.window.shape
        indexes, values = np.empty(size, np.uint8), None
        for window, probabilities in self.predictor.probabilities(self.scenes[patch.scene], patch.window):
            place = window.relative_to(patch.window).slices
            if values is None:
                values = np.empty((*size, probabilities.shape[-1]), np.float32)
            values[place] = probabilities
            indexes[place] = predicted_indexes(probabilities, self.remap)
        assert values is not None  # no patch is empty
        return indexes, values


def select_patches(patches: Sequence[Patch]) -> dict[str, list[Patch]]:
    """The best, median and worst patches by accuracy, up to `MOST_PER_GROUP` each, no patch twice.

    Among patches of equal accuracy those with more pixels come first.
    """
    most = max((patch.pixels for patch in patches), default=0)
    ranked = sorted(
        (patch for patch in patches if patch.pixels >= _LEAST_SHARE * most),
        key=lambda patch: (-patch.accuracy, -patch.pixels, patch.scene, patch.window),
    )
    size = min(MOST_PER_GROUP, max(1, len(ranked) // 3))
    best, rest = ranked[:size], ranked[size:]
    worst, rest = rest[-size:][::-1], rest[:-size]
    start = (len(rest) - size + 1) // 2 if len(rest) > size else 0
    groups = {"Best": best, "Median": rest[start : start + size], "Worst": worst}
    return {title: group for title, group in groups.items() if group}


def make_pictures(
    patch: Patch, network: Network, palette: Palette, other: tuple[str, Network] | None = None
) -> GalleryPatch:
    """Make the pictures of a patch; `other` is the name and network of another model, whose map is added."""
    scene = network.scenes[patch.scene]
    pixels, reference = scene.read(patch.window), scene.read_labels(patch.window)
    prediction, probabilities = network.predict(patch)
    stretched = [(c, stretch(pixels[..., list(c.bands)])) for c in composites(scene.bands)]
    pictures = [Picture(composite.title, composite.names, data_uri(rgba)) for composite, rgba in stretched]
    pictures.append(Picture("Reference", "", data_uri(palette.picture(reference))))
    accuracy_before = None
    if other:
        name, other_network = other
        before, _ = other_network.predict(patch)
        if other_network.has_all_classes:
            scored = (reference != IGNORED_INDEX) & (before != IGNORED_INDEX)
            accuracy_before = float((before == reference)[scored].mean()) if scored.any() else None
        pictures.append(Picture("Prediction before", name, data_uri(palette.picture(before))))
    pictures.append(Picture("Prediction", "", data_uri(palette.picture(prediction))))
    pictures.append(Picture("Errors", "", data_uri(error_picture(stretched[0][1], reference, prediction))))
    pictures.append(Picture("Confidence", "", data_uri(confidence_picture(probabilities))))
    return GalleryPatch(_place(scene, patch.window), patch, tuple(pictures), accuracy_before)


def _place(scene: Scene, window: Window) -> str:
    if window.shape == scene.shape:
        return scene.name
    return f"{scene.name}, rows {window.row}-{window.row_stop - 1}, columns {window.col}-{window.col_stop - 1}"
