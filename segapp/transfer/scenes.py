"""The scenes of a transfer: which train, which validate, and what their pixels are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segapp.data.dataset import Dataset
from segapp.data.statistics import BandStatistics, band_statistics
from segapp.errors import InputError
from segapp.patches.memory import hold_in_memory
from segapp.patches.sampling import ClassPositions, find_class_positions
from segapp.scenes.scene import Scene
from segapp.transfer.folds import folds
from segapp.transfer.strategy import Strategy
from segapp.transfer.unlabelled import UnlabelledScene


@dataclass(frozen=True)
class Split:
    """Scenes to train on, where their classes are, and scenes to validate on."""

    train: Sequence[Scene]
    positions: ClassPositions
    val: Sequence[Scene]


@dataclass(frozen=True)
class TransferScenes:
    """`train` are the training scenes. Where there are no validation scenes, `splits` are folds of them (`folded`).

    `places_apart` is whether what validates shows other places than what trains.
    """

    train: Sequence[Scene]
    positions: ClassPositions
    statistics: BandStatistics
    splits: tuple[Split, ...]
    folded: bool
    places_apart: bool
    unlabelled: Sequence[Scene]

    @property
    def val(self) -> Sequence[Scene]:
        """The dataset's validation scenes."""
        return () if self.folded else self.splits[0].val

    @property
    def whole(self) -> Split:
        """All training scenes, without any to validate on."""
        return Split(self.train, self.positions, ())


def split_scenes(
    dataset: Dataset, strategy: Strategy, unlabelled: Sequence[Path] = (), seed: int = 0
) -> TransferScenes:
    """Read the scenes; where none has the role val, the training scenes are split into folds.

    Raises InputError where no scene is for training, or none has a labelled pixel.
    """
    reach = math.ceil(strategy.patch_size * (1 + strategy.augmentation.scale))
    train = hold_in_memory(dataset.scenes("train", reach))
    if not train:
        raise InputError(f'{dataset.path}: no scene has the role train; give one that role, or split = "blocks"')
    positions = find_class_positions(train, len(dataset.classes), seed)
    if not positions.pixels.any():
        raise InputError(f"{dataset.path}: the training scenes hold no labelled pixel; check classes and 'ignore'")
    val = hold_in_memory(dataset.scenes("val", reach))
    splits = (Split(train, positions, val),) if val else _folds(train, dataset, positions, seed)
    images = hold_in_memory([UnlabelledScene(scene) for scene in dataset.unlabelled(unlabelled)])
    places_apart = bool(val) or all(_apart(split, train) for split in splits)
    return TransferScenes(train, positions, band_statistics(train), splits, not val, places_apart, images)


def _apart(split: Split, scenes: Sequence[Scene]) -> bool:
    """Whether a fold validates on whole ones of `scenes`, none of which it trains on."""
    held = {id(scene) for scene in split.val}
    return held <= {id(scene) for scene in scenes} and held.isdisjoint(map(id, split.train))


def _folds(train: Sequence[Scene], dataset: Dataset, positions: ClassPositions, seed: int) -> tuple[Split, ...]:
    """The folds that have labels on both sides; where none has, what trains also validates."""

    def find(scenes: Sequence[Scene]) -> ClassPositions:
        return find_class_positions(scenes, len(dataset.classes), seed)

    labelled = [scene for scene in train if find([scene]).pixels.any()]
    splits = [Split(rest, find(rest), held) for rest, held in folds(labelled, dataset.groups)]
    usable = [split for split in splits if split.positions.pixels.any() and find(split.val).pixels.any()]
    return tuple(usable) or (Split(train, positions, train),)
