"""A few places of the validation scenes, on which a person can watch a network learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segapp.bands import Band, match_bands
from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.inference.engine import Engine
from segapp.inference.predictor import Predictor, most_probable
from segapp.maps.attribute_table import rgb_of
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_MOST, _SIDE, _LOOKED_AT = 4, 256, 16
_GAP = 4
_LOW, _HIGH = 2, 98  # per cent of the pixels between which a band runs from black to full


@dataclass(frozen=True, eq=False)
class Sample:
    """A window of a scene: the image in true colour, (h, w, 3) uint8, and reference and prediction, (h, w) uint8."""

    scene: Scene
    window: Window
    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray


class SamplePredictor(Predictor):
    """A predictor that keeps what it finds in four windows of `scenes` whenever these are mapped.

    That costs the network nothing. The windows, of 256 x 256 pixels at most, are those with the most labelled pixels
    of sixteen that lie evenly over all scenes.
    """

    def __init__(self, engine: Engine, scenes: Sequence[Scene], classes: ClassTable) -> None:
        super().__init__(engine)
        self._samples = [_sample(scene, window) for scene, window in _places(scenes)]
        self._colours = np.zeros((256, 3), np.uint8)  # without data: black
        self._colours[: len(classes)] = rgb_of(classes)

    def probabilities(self, scene: Scene, window: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """As `Predictor.probabilities`."""
        mine = [sample for sample in self._samples if sample.scene is scene]
        for kept, probabilities in super().probabilities(scene, window):
            for sample in mine:
                shared = kept.intersect(sample.window)
                if not shared.empty:
                    found = most_probable(probabilities[shared.relative_to(kept).slices])
                    sample.prediction[shared.relative_to(sample.window).slices] = found
            yield kept, probabilities

    def pictures(self) -> Iterator[tuple[str, np.ndarray]]:
        """For each window where it lies, and image, reference and last prediction in a row, (h, 3 w + 8, 3) uint8."""
        for sample in self._samples:
            gap = np.full((sample.window.height, _GAP, 3), 255, np.uint8)
            maps = self._colours[sample.reference], self._colours[sample.prediction]
            place = f"{sample.scene.name}, row {sample.window.row}, column {sample.window.col}"
            picture = np.concatenate([sample.image, gap, maps[0], gap, maps[1]], axis=1)
            yield f"{place}: image, reference, prediction", picture


def true_colour(pixels: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """(h, w, C) float32 to (h, w, 3) uint8: red, green and blue by the bands' names, else the first bands.

    Each runs from its 2nd to its 98th percentile; pixels without data are black.
    """
    found = match_bands(bands, [Band(name=name) for name in ("red", "green", "blue")])
    first = range(3) if len(bands) >= 3 else (0, 0, 0)
    rgb = pixels[..., [index for index in found if index is not None] if None not in found else list(first)]
    valid = ~np.isnan(rgb).any(axis=-1)
    picture = np.zeros(rgb.shape, np.uint8)
    if valid.any():
        low, high = np.percentile(rgb[valid], (_LOW, _HIGH), axis=0)
        picture[valid] = np.rint(255 * np.clip((rgb[valid] - low) / np.where(high > low, high - low, 1), 0, 1))
    return picture


def _places(scenes: Sequence[Scene]) -> list[tuple[Scene, Window]]:
    """The windows to watch, in the order of the scenes."""
    every = [(scene, window) for scene in scenes for window in grid(whole(scene.shape), _SIDE, _SIDE)]
    step = max(1, len(every) / _LOOKED_AT)
    looked_at = [every[int(i * step)] for i in range(min(len(every), _LOOKED_AT))]
    labelled = [int((scene.read_labels(window) != IGNORED_INDEX).sum()) for scene, window in looked_at]
    best = np.argsort(labelled, kind="stable")[::-1][:_MOST]
    return [looked_at[i] for i in sorted(best) if labelled[i]]


def _sample(scene: Scene, window: Window) -> Sample:
    image = true_colour(scene.read(window), scene.bands)
    return Sample(scene, window, image, scene.read_labels(window), np.full(window.shape, IGNORED_INDEX, np.uint8))
