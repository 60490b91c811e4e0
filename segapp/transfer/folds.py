"""Validation folds cut out of the training scenes, where a dataset has no validation scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.scenes.blocks import Block
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole

_FOLDS = 3
_HELD_OUT = 0.2
_GAP = 8
Fold = tuple[list[Scene], list[Scene]]
"""Scenes to train on, and scenes to validate on."""


def folds(scenes: Sequence[Scene], groups: Mapping[str, str] | None = None) -> list[Fold]:
    """Splits of training scenes for cross-validation, at most three.

    `groups` gives for scenes, by name, the place that they show; a scene without one is a place of its own. Of two
    places and more, whole places are held out, each once (Roberts et al. 2017, doi 10.1111/ecog.02881). Of one place,
    there are two splits: an end of each scene that has a fifth of its labels, 8 pixels away from the rest, and the
    opposite end. Those ends come first that have most classes on both sides.
    """
    places = [(groups or {}).get(scene.name, number) for number, scene in enumerate(scenes)]
    distinct = list(dict.fromkeys(places))
    count = min(_FOLDS, len(distinct))
    if count > 1:
        fold_of = {place: number % count for number, place in enumerate(distinct)}
        return [
            (
                [scene for scene, place in zip(scenes, places, strict=True) if fold_of[place] != fold],
                [scene for scene, place in zip(scenes, places, strict=True) if fold_of[place] == fold],
            )
            for fold in range(count)
        ]
    splits: list[Fold] = [([], []), ([], [])]
    for scene in scenes:
        for split, (rest, end) in zip(splits, _opposite_ends(scene), strict=False):
            split[0].append(Block(scene, rest))
            split[1].append(Block(scene, end))
    return splits


def _opposite_ends(scene: Scene) -> list[tuple[Window, Window]]:
    """The rest and the end, for two opposite ends of a scene; nothing of one that is too small."""
    labels = scene.read_labels(whole(scene.shape))

    def classes_in(window: Window) -> set[int]:
        return set(np.unique(labels[window.slices]).tolist()) - {IGNORED_INDEX}

    def shared(pair: tuple[Window, Window]) -> int:
        return len(classes_in(pair[0]) & classes_in(pair[1]))

    axes = _ends(labels != IGNORED_INDEX)
    if not axes:
        return []
    return sorted(max(axes, key=lambda pairs: max(map(shared, pairs))), key=shared, reverse=True)


def _ends(labelled: np.ndarray) -> list[list[tuple[Window, Window]]]:
    """For each axis of a scene, (H, W) bool, the rest and the end at both ends, which hold a fifth of its labels.

    The axis comes first along which the labels reach farther, and the far end before the near one.
    """
    height, width = labelled.shape
    if not labelled.any():
        labelled = np.ones_like(labelled)
    axes = []
    reach = [np.ptp(np.flatnonzero(labelled.any(axis=1 - axis))) for axis in (0, 1)]
    for axis in (0, 1) if reach[0] >= reach[1] else (1, 0):
        before = np.cumsum(labelled.sum(axis=1 - axis))
        size = labelled.shape[axis]
        far = max(_GAP + 1, int(np.searchsorted(before, (1 - _HELD_OUT) * before[-1])) + 1)
        near = min(size - _GAP - 1, int(np.searchsorted(before, _HELD_OUT * before[-1])) + 1)
        pairs = []
        for rest, end in (((0, far - _GAP), (far, size)), ((near + _GAP, size), (0, near))):
            spans = [rest, end]
            windows = [Window(a, 0, b - a, width) if axis == 0 else Window(0, a, height, b - a) for a, b in spans]
            pairs.append((windows[0], windows[1]))
        if not any(window.empty for pair in pairs for window in pair):
            axes.append(pairs)
    return axes
