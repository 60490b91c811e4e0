"""Validation scenes held out of the training scenes, where a dataset has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.scenes.blocks import Block
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole

_HELD_OUT = 0.2
_WHOLE_PLACES_FROM = 5
_GAP = 8


def hold_out(scenes: Sequence[Scene], groups: Mapping[str, str] | None = None) -> tuple[list[Scene], list[Scene]]:
    """Part training scenes into those to train on, and a fifth to validate on that lies apart from them.

    `groups` says of scenes, by name, which place they show; those without stand for themselves. Of five places and
    more, every fifth is held out whole. Of fewer, an end of each scene that has a fifth of its labels, 8 pixels away
    from the rest: the end at which most classes are on both sides, since a guard that sees one class sees nothing.
    """
    places = [(groups or {}).get(scene.name, number) for number, scene in enumerate(scenes)]
    distinct = list(dict.fromkeys(places))
    if len(distinct) >= _WHOLE_PLACES_FROM:
        held = set(distinct[_WHOLE_PLACES_FROM // 2 :: _WHOLE_PLACES_FROM])
        parts: tuple[list[Scene], list[Scene]] = ([], [])
        for scene, place in zip(scenes, places, strict=True):
            parts[place in held].append(scene)
        return parts
    train: list[Scene] = []
    val: list[Scene] = []
    for scene in scenes:
        labels = scene.read_labels(whole(scene.shape))

        def classes_in(window: Window, labels: np.ndarray = labels) -> set[int]:
            return set(np.unique(labels[window.slices]).tolist()) - {IGNORED_INDEX}

        rest, end = max(_ends(labels != IGNORED_INDEX), key=lambda p: len(classes_in(p[0]) & classes_in(p[1])))
        train.append(Block(scene, rest))
        val.append(Block(scene, end))
    return train, val


def _ends(labelled: np.ndarray) -> list[tuple[Window, Window]]:
    """The rest and the end, for each of the four ends of a scene, (H, W) bool, that hold a fifth of its labels.

    Those come first that lie along the way on which the labels reach farther, and the far end before the near one.
    """
    height, width = labelled.shape
    if not labelled.any():
        labelled = np.ones_like(labelled)
    pairs = []
    reach = [np.ptp(np.flatnonzero(labelled.any(axis=1 - axis))) for axis in (0, 1)]
    for axis in (0, 1) if reach[0] >= reach[1] else (1, 0):
        before = np.cumsum(labelled.sum(axis=1 - axis))
        size = labelled.shape[axis]
        far = max(_GAP + 1, int(np.searchsorted(before, (1 - _HELD_OUT) * before[-1])) + 1)
        near = min(size - _GAP - 1, int(np.searchsorted(before, _HELD_OUT * before[-1])))
        for rest, end in (((0, far - _GAP), (far, size)), ((near + _GAP, size), (0, near))):
            spans = [rest, end]
            windows = [Window(a, 0, b - a, width) if axis == 0 else Window(0, a, height, b - a) for a, b in spans]
            if not any(window.empty for window in windows):
                pairs.append((windows[0], windows[1]))
    return pairs
