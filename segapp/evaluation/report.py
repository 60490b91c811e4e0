"""The scores of an evaluation: gathered scene by scene, printed as a table, written as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.classes import ClassTable
from segapp.evaluation.boundary import boundary_f1
from segapp.evaluation.confusion import ConfusionMatrix, mean_of_known
from segapp.evaluation.intervals import Intervals, bootstrap, enough_scenes
from segapp.windows import Window, grid, whole

_BLOCKS, _SMALLEST_BLOCK = 4, 64


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class, by its id in files; NaN where a score is not defined."""

    id: int
    name: str
    pixels: int
    """Reference pixels that were scored."""
    accuracy: float
    """Also called recall."""
    iou: float
    precision: float
    f1: float
    boundary_f1: float


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation; NaN where a score is not defined or was not asked for."""

    classes: tuple[ClassScores, ...]
    """In network order."""
    absent: tuple[str, ...]
    """Names of the classes without a reference pixel, which every mean leaves out."""
    scenes: int
    pixels: int
    global_accuracy: float
    mean_accuracy: float
    mean_iou: float
    weighted_iou: float
    kappa: float
    mean_f1: float
    mean_boundary_f1: float
    confusion: tuple[tuple[int, ...], ...]
    """Pixel counts; rows are the reference, columns the prediction, both in the order of `classes`."""
    compute_precision: str | None = None
    """What the network computed in, as in "bfloat16"; None where that is not known."""
    intervals: Intervals | None = None
    """None where the scenes are too few."""

    def as_dict(self) -> dict[str, Any]:
        """The scores as JSON knows them: NaN becomes None."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


class Evaluation:
    """Gathers scores one scene at a time; keeps a matrix and a line of numbers a scene, never the maps."""

    def __init__(self, classes: ClassTable, *, compute_precision: str | None = None, boundaries: bool = True) -> None:
        """`compute_precision` is what the network computes in, for the record. `boundaries=False` leaves out the
        boundary F1, which takes most of the time."""
        self.matrix = ConfusionMatrix.empty(classes)
        self._boundaries, self._compute_precision = boundaries, compute_precision
        self._by_scene: list[np.ndarray] = []
        self._by_block: list[np.ndarray] = []
        self._boundary_f1: list[np.ndarray] = []

    def add(self, reference: np.ndarray, prediction: np.ndarray) -> None:
        """Score one scene: two maps of network indexes, both (H, W) uint8; `IGNORED_INDEX` carries no score."""
        classes = self.matrix.classes
        blocks = [
            ConfusionMatrix.of(classes, reference[block.slices], prediction[block.slices]).counts
            for block in _blocks(reference.shape)
        ]
        counts = np.sum(blocks, axis=0)
        self.matrix += ConfusionMatrix(classes, counts)
        self._by_scene.append(counts)
        if not enough_scenes(len(self._by_scene)):
            self._by_block += [block for block in blocks if block.any()]
        if self._boundaries:
            self._boundary_f1.append(boundary_f1(reference, prediction, len(classes)))

    def scores(self) -> Scores:
        """The scores of all scenes added so far.

        Everything but the boundary F1 is read off the one matrix of all pixels. A class's boundary F1 is its mean
        over the scenes; the overall one is the mean over each scene's classes, then over scenes, as in MATLAB.
        """
        matrix = self.matrix
        size = len(matrix.classes)
        boundary = np.reshape(self._boundary_f1, (-1, size)).astype(np.float64)
        return Scores(
            classes=tuple(
                ClassScores(
                    id=c.id,
                    name=c.name,
                    pixels=int(matrix.pixels[i]),
                    accuracy=float(matrix.accuracy[i]),
                    iou=float(matrix.iou[i]),
                    precision=float(matrix.precision[i]),
                    f1=float(matrix.f1[i]),
                    boundary_f1=mean_of_known(boundary[:, i]),
                )
                for i, c in enumerate(matrix.classes.classes)
            ),
            absent=tuple(matrix.absent),
            scenes=len(self._by_scene),
            pixels=int(matrix.counts.sum()),
            global_accuracy=matrix.global_accuracy,
            mean_accuracy=matrix.mean_accuracy,
            mean_iou=matrix.mean_iou,
            weighted_iou=matrix.weighted_iou,
            kappa=matrix.kappa,
            mean_f1=matrix.mean_f1,
            mean_boundary_f1=mean_of_known(np.array([mean_of_known(per_class) for per_class in boundary])),
            confusion=tuple(map(tuple, matrix.counts.tolist())),
            compute_precision=self._compute_precision,
            intervals=self._intervals(),
        )

    def _intervals(self) -> Intervals | None:
        if enough_scenes(len(self._by_scene)):
            return bootstrap(np.array(self._by_scene), "scene")
        return bootstrap(np.array(self._by_block), "block") if self._by_block else None


def _blocks(shape: tuple[int, ...]) -> Iterator[Window]:
    """The blocks of a scene (H, W) that may stand for scenes: up to 4 along each side, of 64 pixels or more."""
    height, width = (-(-side // max(1, min(_BLOCKS, side // _SMALLEST_BLOCK))) for side in shape)
    return grid(whole((shape[0], shape[1])), height, width)


def print_scores(scores: Scores, console: Console) -> None:
    """Print one line a class, then the means, the overall scores, and which classes are absent."""
    computed = f", computed in {scores.compute_precision}" if scores.compute_precision else ""
    table = Table(
        title=f"Scores over {scores.scenes} scene{'s' * (scores.scenes != 1)}, {scores.pixels:,} pixels{computed}"
    )
    table.add_column("id", justify="right")
    table.add_column("class")
    for name in ("pixels", "accuracy", "IoU", "precision", "F1", "boundary F1"):
        table.add_column(name, justify="right")
    for c in scores.classes:
        values = (c.accuracy, c.iou, c.precision, c.f1, c.boundary_f1)
        table.add_row(str(c.id), escape(c.name), f"{c.pixels:,}", *map(_shown, values))
    table.add_section()
    means = (scores.mean_accuracy, scores.mean_iou, float("nan"), scores.mean_f1, scores.mean_boundary_f1)
    table.add_row("", "mean", f"{scores.pixels:,}", *map(_shown, means))
    console.print(table)
    console.print(
        f"global accuracy {_shown(scores.global_accuracy)}, mean IoU {_shown(scores.mean_iou)}, "
        f"weighted IoU {_shown(scores.weighted_iou)}, kappa {_shown(scores.kappa)}",
        highlight=False,
    )
    if intervals := scores.intervals:
        accuracy, iou = (f"{low:.3f} to {high:.3f}" for low, high in (intervals.global_accuracy, intervals.mean_iou))
        console.print(
            f"95 % intervals over {intervals.units} {intervals.unit}s: global accuracy {accuracy}, mean IoU {iou}",
            highlight=False,
        )
    if scores.absent:
        console.print(
            f"Absent from the reference and left out of the means: {', '.join(scores.absent)}",
            highlight=False,
            markup=False,
        )


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
