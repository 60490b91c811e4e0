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
from segapp.transfer.hold_out import hold_out
from segapp.transfer.strategy import Strategy
from segapp.transfer.unlabelled import UnlabelledScene


@dataclass(frozen=True)
class TransferScenes:
    """`labelled` are the training scenes whole; `train` lack what is held out of them for validation."""

    labelled: Sequence[Scene]
    train: Sequence[Scene]
    val: Sequence[Scene]
    unlabelled: Sequence[Scene]
    held_out: bool
    positions: ClassPositions
    statistics: BandStatistics


def split_scenes(
    dataset: Dataset, strategy: Strategy, unlabelled: Sequence[Path] = (), seed: int = 0
) -> TransferScenes:
    """Read the scenes; where none has the role val, a part of the training scenes is held out.

    Raises InputError where no scene is for training, or none has a labelled pixel.
    """
    reach = math.ceil(strategy.patch_size * (1 + strategy.augmentation.scale))
    train = labelled = hold_in_memory(dataset.scenes("train", reach))
    if not train:
        raise InputError(f'{dataset.path}: no scene has the role train; give one that role, or split = "blocks"')
    val = hold_in_memory(dataset.scenes("val", reach))
    held_out = not val
    if held_out:
        train, val = hold_out(labelled, dataset.groups)
    positions = find_class_positions(train, len(dataset.classes), seed)
    if not positions.pixels.any():
        raise InputError(f"{dataset.path}: the training scenes hold no labelled pixel; check classes and 'ignore'")
    images = hold_in_memory([UnlabelledScene(scene) for scene in dataset.unlabelled(unlabelled)])
    return TransferScenes(labelled, train, val, images, held_out, positions, band_statistics(train))
