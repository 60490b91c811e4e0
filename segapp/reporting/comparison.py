"""Compare the reported model with another one on the same scenes; bands and classes are matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.bands import canonical_name, names_of
from segapp.classes import IGNORED_INDEX, ClassTable, SegClass, shared_classes
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.reporting.score_table import Score, ScoreTable
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


class BandSubset:
    """A `Scene` reduced to some of its bands, in another order."""

    def __init__(self, scene: Scene, bands: Sequence[int]) -> None:
        self.name, self.path, self.shape = scene.name, scene.path, scene.shape
        self.georeference, self.labelled = scene.georeference, scene.labelled
        self.bands = tuple(scene.bands[index] for index in bands)
        self._scene, self._selected = scene, list(bands)

    def read(self, window: Window) -> np.ndarray:
        return self._scene.read(window)[..., self._selected]

    def read_labels(self, window: Window) -> np.ndarray:
        return self._scene.read_labels(window)

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return self._scene.read_label_ids(window)

    def valid(self, window: Window) -> np.ndarray:
        return self._scene.valid(window)


def select_bands(scenes: Sequence[Scene], other: ModelSpec, model: str) -> list[Scene]:
    """The scenes with the bands of the model `other`, matched by name; raises InputError when one is missing."""
    bands = scenes[0].bands
    names = [canonical_name(name) for name in names_of(bands)]
    selected = []
    for band in other.bands:
        name = canonical_name(band.name)
        if names.count(name) != 1 or bands[names.index(name)].unit != band.unit:
            raise InputError(
                f"{model}: takes the band '{band.name}' in {band.unit}, which the data does not have (its bands: "
                f"{', '.join(f'{b.name} in {b.unit}' for b in bands)}); leave --compare out, or give another model"
            )
        selected.append(names.index(name))
    return list(scenes) if selected == list(range(len(bands))) else [BandSubset(scene, selected) for scene in scenes]


@dataclass(frozen=True, eq=False)
class ClassMatch:
    """How the class indexes of another model are converted to those of the reported one.

    `remap`, (256,) uint8, maps each index of the other model to an index of `classes`. `classes` are those of the
    reported model, and one more if the other model has classes without a match.
    """

    classes: ClassTable
    remap: np.ndarray
    matched: tuple[bool, ...]
    """For each class of the reported model, whether the other model has it."""


def match_classes(other: ClassTable, classes: ClassTable) -> ClassMatch:
    """Match the classes of `other` with `classes` by name, ignoring case.

    Raises InputError when there is no index left for the classes without a match.
    """
    sources = shared_classes(other, classes)
    remap = np.full(256, len(classes), np.uint8)
    remap[IGNORED_INDEX] = IGNORED_INDEX
    for index, source in enumerate(sources):
        remap[list(source)] = index
    matched = tuple(map(bool, sources))
    if not (remap[: len(other)] == len(classes)).any():
        return ClassMatch(classes, remap, matched)
    if len(classes) == IGNORED_INDEX:
        raise InputError(
            f"a model of {len(classes)} classes cannot be compared with one of others; leave --compare out"
        )
    used = {*classes.ids.tolist(), *classes.ignore, classes.nodata}
    name = "another class"
    while name in classes.names:
        name += "*"
    extra = SegClass(id=next(i for i in range(65536) if i not in used), name=name)
    table = ClassTable(classes=(*classes.classes, extra), ignore=classes.ignore, nodata=classes.nodata)
    return ClassMatch(table, remap, matched)


@dataclass(frozen=True)
class ScorePair:
    """A score of the other model (`before`) and of the reported one (`after`), and the `reason` if one is missing."""

    label: str
    before: Score
    after: Score
    reason: str = ""

    @property
    def gain(self) -> Score:
        """`after` - `before`; None where a score is missing."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """The scores of another model (`name`) and of the reported one."""

    name: str
    classes: tuple[ScorePair, ...]
    """IoU by class, in the order of the reported model's classes."""
    overall: tuple[ScorePair, ...]
    removed: tuple[str, ...]
    """Classes that only the other model has."""
    comparable: bool
    """Whether both were scored on the same pixels; otherwise gains are not shown."""


def compare(after: ScoreTable, before: ScoreTable, other: ModelSpec, classes: ClassTable) -> Comparison:
    """Compare the scores `before` of the model `other` with the scores `after` of the reported model.

    `before` has either the reported model's `classes` first, or the classes of `other`. Overall scores are compared
    only if `other` has all the classes.
    """
    matched = match_classes(other.classes, classes).matched
    rows = {row.name.casefold(): row for row in before.classes}
    pairs, comparable = [], before.pixels == after.pixels > 0
    for row, known in zip(after.classes, matched, strict=True):
        old = rows.get(row.name.casefold()) if known else None
        if old is None:
            pairs.append(ScorePair(row.name, None, row.iou, f"{other.name} has no such class"))
            continue
        comparable &= old.pixels == row.pixels
        reason = "absent from the reference" if None in (old.iou, row.iou) else ""
        pairs.append(ScorePair(row.name, old.iou, row.iou, reason))
    complete = all(matched)
    reason = "" if complete else f"{other.name} does not have all classes"
    overall = [
        ScorePair(label, getattr(before, key) if complete else None, getattr(after, key), reason)
        for key, label in OVERALL.items()
    ]
    names = {name.casefold() for name in classes.names}
    removed = [c.name for c in other.classes.classes if c.name.casefold() not in names]
    return Comparison(other.name, tuple(pairs), tuple(overall), tuple(removed), comparable)
