"""Another model beside the one reported: on the same scenes, class by class, matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.bands import canonical_name, names_of
from segapp.classes import IGNORED_INDEX, ClassTable, SegClass, shared_classes
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.reporting.scoretable import Score, ScoreTable
from segapp.scenes.scene import Scene
from segapp.windows import Window

OVERALL = {
    "global_accuracy": "Global accuracy",
    "mean_accuracy": "Mean accuracy",
    "mean_iou": "Mean IoU",
    "weighted_iou": "Weighted IoU",
    "kappa": "Kappa",
    "mean_f1": "Mean F1",
    "mean_boundary_f1": "Mean boundary F1",
}
"""The overall scores, in the order of a report."""


class SomeBands:
    """A scene with only the bands that another model takes, in its order."""

    def __init__(self, scene: Scene, bands: Sequence[int]) -> None:
        self.name, self.path, self.shape = scene.name, scene.path, scene.shape
        self.georeference, self.labelled = scene.georeference, scene.labelled
        self.bands = tuple(scene.bands[index] for index in bands)
        self._scene, self._chosen = scene, list(bands)

    def read(self, window: Window) -> np.ndarray:
        return self._scene.read(window)[..., self._chosen]

    def read_labels(self, window: Window) -> np.ndarray:
        return self._scene.read_labels(window)

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self._scene.read_label_ids(window)

    def valid(self, window: Window) -> np.ndarray:
        return self._scene.valid(window)


def as_other_sees(scenes: Sequence[Scene], other: ModelSpec, model: str) -> list[Scene]:
    """The scenes with the bands of the model `other`, by name; raises InputError where one is missing."""
    bands = scenes[0].bands
    names = [canonical_name(name) for name in names_of(bands)]
    chosen = []
    for band in other.bands:
        name = canonical_name(band.name)
        if names.count(name) != 1 or bands[names.index(name)].unit != band.unit:
            raise InputError(
                f"{model}: takes the band '{band.name}' in {band.unit}, which the data does not have (its bands: "
                f"{', '.join(f'{b.name} in {b.unit}' for b in bands)}); leave --compare out, or give another model"
            )
        chosen.append(names.index(name))
    return list(scenes) if chosen == list(range(len(bands))) else [SomeBands(scene, chosen) for scene in scenes]


@dataclass(frozen=True, eq=False)
class Matched:
    """The classes of a model in the terms of another model's.

    `renumbered`, (256,) uint8, says which of `classes` each of its indexes is; one more class than the other model has
    stands for those that it does not know.
    """

    classes: ClassTable
    renumbered: np.ndarray
    known: tuple[bool, ...]
    """Which of the other model's classes the model has."""


def match_classes(other: ClassTable, classes: ClassTable) -> Matched:
    """Match the classes of `other` with `classes` by name, upper and lower case alike."""
    sources = shared_classes(other, classes)
    renumbered = np.full(256, len(classes), np.uint8)
    renumbered[IGNORED_INDEX] = IGNORED_INDEX
    for index, its in enumerate(sources):
        renumbered[list(its)] = index
    known = tuple(bool(its) for its in sources)
    if not (renumbered[: len(other)] == len(classes)).any():
        return Matched(classes, renumbered, known)
    if len(classes) == IGNORED_INDEX:
        raise InputError(
            f"a model of {len(classes)} classes cannot be compared with one of others; leave --compare out"
        )
    taken = {*classes.ids.tolist(), *classes.ignore, classes.nodata}
    more = SegClass(id=next(i for i in range(65536) if i not in taken), name=_free_name(classes.names))
    table = ClassTable(classes=(*classes.classes, more), ignore=classes.ignore, nodata=classes.nodata)
    return Matched(table, renumbered, known)


def _free_name(names: Sequence[str]) -> str:
    name = "another class"
    while name in names:
        name += "*"
    return name


@dataclass(frozen=True)
class Pair:
    """A score of the other model and of this one; `why` says why one is missing."""

    label: str
    before: Score
    after: Score
    why: str = ""

    @property
    def gain(self) -> Score:
        """What this model has more; None where a score is missing."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Another model and this one, side by side."""

    name: str
    classes: tuple[Pair, ...]
    """IoU by class, in the order of this model's classes."""
    overall: tuple[Pair, ...]
    lost: tuple[str, ...]
    """Classes that only the other model has."""
    comparable: bool
    """Whether both were scored on the same pixels, so that a difference is a gain."""


def compare(after: ScoreTable, before: ScoreTable, other: ModelSpec, classes: ClassTable) -> Comparison:
    """Set the scores of the model `other` beside those of this one.

    `before` has `classes` in their order, whatever else, or the classes of `other`. Overall scores are compared only
    where `other` has all the classes.
    """
    matched = match_classes(other.classes, classes)
    rows = {row.name.casefold(): row for row in before.classes}
    pairs, comparable = [], before.pixels == after.pixels > 0
    for row, known in zip(after.classes, matched.known, strict=True):
        its = rows.get(row.name.casefold()) if known else None
        if its is None:
            pairs.append(Pair(row.name, None, row.iou, f"{other.name} has no such class"))
            continue
        comparable &= its.pixels == row.pixels
        why = "absent from the reference" if None in (its.iou, row.iou) else ""
        pairs.append(Pair(row.name, its.iou, row.iou, why))
    whole = all(matched.known)
    why = "" if whole else f"{other.name} does not know all classes"
    overall = [
        Pair(label, getattr(before, key) if whole else None, getattr(after, key), why) for key, label in OVERALL.items()
    ]
    lost = [c.name for c in other.classes.classes if c.name.casefold() not in {n.casefold() for n in classes.names}]
    return Comparison(other.name, tuple(pairs), tuple(overall), tuple(lost), comparable)
