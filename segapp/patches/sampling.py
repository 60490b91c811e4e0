"""Where patches are cut: patch *i* is a pure function of (seed, i) and the scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydantic import Field

from segapp.classes import IGNORED_INDEX
from segapp.configuration import Strict
from segapp.errors import InputError
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_TRIES = 8
_POSITIONS_PER_CLASS = 20_000
_SCAN_ROWS = 256


class Sampling(Strict):
    """How positions are drawn.

    `balance` 0 draws uniformly over scenes and positions. Above 0, a class is drawn first, with a probability
    proportional to its share of pixels to the power of ``1 - balance`` (1: all classes alike), then a patch that
    holds one of its pixels. A patch with less than `minimum_labelled` of labelled, valid pixels is drawn again, up
    to 8 times; the best of them is taken.
    """

    balance: float = Field(default=0.0, ge=0, le=1)
    minimum_labelled: float = Field(default=0.05, ge=0, le=1)


@dataclass(frozen=True)
class ClassPositions:
    """Pixels to centre class-balanced patches on: for each class up to 20,000 of its pixels, and how many it has."""

    scene: tuple[np.ndarray, ...]
    row: tuple[np.ndarray, ...]
    col: tuple[np.ndarray, ...]
    pixels: np.ndarray
    """(K,) int64: labelled pixels of each class."""

    @cached_property
    def share(self) -> np.ndarray:
        """(K,) float64: each class's share of all labelled pixels."""
        return self.pixels / max(1, self.pixels.sum())


def random_for(seed: int, index: int, purpose: int) -> np.random.Generator:
    """The random numbers that belong to patch `index` of the stream `seed`, apart for each `purpose`.

    Philox is counter-based (Salmon et al. 2011): a stream is opened at any key without drawing what comes before.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64), counter=[0, 0, 0, purpose]))


def find_class_positions(scenes: Sequence[Scene], classes: int, seed: int) -> ClassPositions:
    """Read all labels once, by strips of rows, and keep a uniform sample of each class's pixels.

    Every pixel draws a random key, and each class keeps the pixels with the smallest: memory is bounded whatever the
    size of the scenes.
    """
    kept = [np.empty((0, 4)) for _ in range(classes)]  # key, scene, row, column
    highest = np.full(classes, np.inf)
    counts = np.zeros(classes, np.int64)
    rng = np.random.default_rng(seed)
    for number, scene in enumerate(scenes):
        for strip in grid(whole(scene.shape), _SCAN_ROWS, scene.shape[1]):
            labels = scene.read_labels(strip)
            counts += np.bincount(labels.ravel(), minlength=IGNORED_INDEX + 1)[:classes]
            keys = rng.random(labels.shape, np.float32)
            for index in range(classes):
                rows, cols = np.nonzero((labels == index) & (keys < highest[index]))
                found = np.column_stack([keys[rows, cols], np.full(len(rows), number), rows + strip.row, cols])
                merged = np.concatenate([kept[index], found])
                if len(merged) > _POSITIONS_PER_CLASS:
                    merged = merged[np.argpartition(merged[:, 0], _POSITIONS_PER_CLASS)[:_POSITIONS_PER_CLASS]]
                    highest[index] = merged[:, 0].max()
                kept[index] = merged
    columns = [tuple(one[:, column].astype(np.int64) for one in kept) for column in (1, 2, 3)]
    return ClassPositions(columns[0], columns[1], columns[2], counts)


@dataclass(frozen=True)
class PatchSource:
    """Cuts patches of `size` x `size` pixels out of `scenes`, each patch a function of (`seed`, index) alone.

    `positions` is needed where `sampling.balance` is above 0.
    """

    scenes: Sequence[Scene]
    size: int
    seed: int
    sampling: Sampling = field(default_factory=Sampling)
    positions: ClassPositions | None = None

    def __post_init__(self) -> None:
        if not self.scenes:
            raise InputError("no scene to cut patches from; give at least one labelled scene the role train")

    def window(self, rng: np.random.Generator, size: int) -> tuple[int, Window]:
        """Draw a scene and a `size` x `size` window in it; along an axis where the scene is smaller, it is centred."""
        if self.sampling.balance > 0 and self.positions is not None:
            share = self.positions.share
            weight = np.where(share > 0, np.power(np.maximum(share, 1e-12), 1 - self.sampling.balance), 0)
            index = rng.choice(len(share), p=weight / weight.sum())
            pick = rng.integers(len(self.positions.row[index]))
            number = int(self.positions.scene[index][pick])
            pixel = int(self.positions.row[index][pick]), int(self.positions.col[index][pick])
            start = [p - int(rng.integers(size)) for p in pixel]
        else:
            number = int(rng.integers(len(self.scenes)))
            start = [int(rng.integers(max(1, extent - size + 1))) for extent in self.scenes[number].shape]
        inside = [
            min(max(0, s), extent - size) if extent >= size else (extent - size) // 2
            for s, extent in zip(start, self.scenes[number].shape, strict=True)
        ]
        return number, Window(inside[0], inside[1], size, size)

    def cut(self, index: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Patch `index`: (size, size, C) float32 with NaN in invalid pixels, and (size, size) uint8 network indexes.

        Pixels that are invalid, unlabelled or beyond the scene are `IGNORED_INDEX` in the labels. `size` overrides
        the source's own, for a patch that is to be rescaled afterwards.
        """
        rng = random_for(self.seed, index, 0)
        best: tuple[np.ndarray, np.ndarray] | None = None
        most = -1.0
        for _ in range(_TRIES):
            number, window = self.window(rng, size or self.size)
            pixels, labels = read_padded(self.scenes[number], window)
            share = np.count_nonzero(labels != IGNORED_INDEX) / labels.size  # np.mean takes ten times as long
            if share > most:
                best, most = (pixels, labels), share
            if share >= self.sampling.minimum_labelled:
                break
        assert best is not None
        return best


def read_padded(scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (h, w, C) and labels (h, w) of a window that may reach over the scene's edges.

    Beyond the scene pixels are NaN and labels `IGNORED_INDEX`; labels of invalid pixels are `IGNORED_INDEX` too.
    """
    inside = window.intersect(whole(scene.shape))
    pixels, labels = scene.read(inside), scene.read_labels(inside)
    invalid = np.isnan(pixels[..., 0])
    if invalid.any():
        labels = np.where(invalid, np.uint8(IGNORED_INDEX), labels)
    if inside == window:
        return pixels, labels
    place = inside.relative_to(window).slices
    padded = np.full((*window.shape, pixels.shape[-1]), np.nan, np.float32)
    padded[place] = pixels
    padded_labels = np.full(window.shape, IGNORED_INDEX, np.uint8)
    padded_labels[place] = labels
    return padded, padded_labels
