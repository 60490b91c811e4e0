"""`area`: how much land each class really covers, and how right the map is, with 95 % confidence intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.errors import InputError
from segapp.estimation.class_map import NO_DATA, ClassMap
from segapp.estimation.points import CLASS, draw, read_points
from segapp.estimation.stratified import Estimate, Sample, allocate, sample_size


@dataclass(frozen=True)
class ClassEstimate:
    """A class: how many hectares the map gives it, how many it really covers, and how right the map is about it."""

    id: int
    name: str
    points: int
    mapped_hectares: float
    hectares: Estimate
    users_accuracy: Estimate
    producers_accuracy: Estimate


@dataclass(frozen=True)
class AreaEstimate:
    """Areas and accuracies of a map; `matrix` has shares of the area, a row for each class of the map and a column for
    each of the reference, both in the order of `classes`."""

    classes: tuple[ClassEstimate, ...]
    overall_accuracy: Estimate
    matrix: tuple[tuple[float, ...], ...]
    points: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each estimate with its value, its standard error and the margin of the 95 % interval."""
        found = asdict(self)
        for entry, one in zip(found["classes"], self.classes, strict=True):
            for name in ("hectares", "users_accuracy", "producers_accuracy"):
                entry[name]["margin"] = getattr(one, name).margin
        found["overall_accuracy"]["margin"] = self.overall_accuracy.margin
        return found


def area(map: str | Path, reference: str | Path, *, attribute: str = CLASS, layer: str | None = None) -> AreaEstimate:
    """Estimate the area of each class, and the accuracies of the class map `map`, from reference points.

    `reference` is a vector file of points that were drawn at random within each class of the map, or at random all over
    it; the field `attribute` holds the class that was seen there, as an id or by name. Points of a file that
    `draw_points` made are taken in the strata of their drawing, also for another map of the same place. Formulas are
    those of Olofsson et al. 2014, and of Stehman 2014 where strata are not the classes of the map.

    Raises InputError where map or points cannot be read, and where a stratum has fewer than two points.
    """
    onto = ClassMap(Path(map))
    found = read_points(Path(reference), attribute, layer, onto)
    mapped = onto.at(found.rows, found.columns)
    kept = mapped != NO_DATA
    notes = []
    if found.empty:
        notes.append(f"{reference}: {found.empty} points have no class in '{attribute}', and are left out")
    if not kept.all():
        notes.append(f"{reference}: {int((~kept).sum())} points lie where {map} has no data, and are left out")
    whole = sum(entry.hectares for entry in onto.classes)
    shares = found.shares or {entry.id: entry.hectares / whole for entry in onto.classes}
    strata = np.array(sorted(shares))
    stratum = (mapped if found.stratum is None else found.stratum)[kept]
    names = {entry.id: entry.name for entry in onto.classes} | onto.names
    _check_strata(Path(reference), stratum, shares, names)
    ids = np.unique(np.concatenate([[entry.id for entry in onto.classes], found.classes[kept]]))
    sample = Sample(
        np.searchsorted(strata, stratum),
        np.searchsorted(ids, mapped[kept]),
        np.searchsorted(ids, found.classes[kept]),
        np.array([shares[value] for value in strata.tolist()]) / sum(shares.values()),
    )
    hectares = {entry.id: entry.hectares for entry in onto.classes}
    classes = []
    for number, value in enumerate(ids.tolist()):
        here, there = sample.mapped == number, sample.reference == number
        share = sample.share(there)
        classes.append(
            ClassEstimate(
                value,
                names.get(value, str(value)),
                int(here.sum()),
                hectares.get(value, 0.0),
                Estimate(share.value * whole, share.standard_error * whole),
                sample.ratio(there, here),
                sample.ratio(here, there),
            )
        )
    matrix = tuple(tuple(row) for row in sample.matrix(len(ids)).tolist())
    right = sample.share(sample.mapped == sample.reference)
    return AreaEstimate(tuple(classes), right, matrix, int(kept.sum()), tuple(notes))


def draw_points(
    map: str | Path,
    design: str | Path,
    *,
    target_error: float = 0.01,
    expected_accuracy: float = 0.85,
    minimum: int = 50,
    seed: int = 0,
) -> dict[str, int]:
    """Draw a stratified random sample of the class map `map`, and write its points to the GeoPackage `design`.

    The size brings the standard error of the overall accuracy down to `target_error`, if the user's accuracy of each
    class is `expected_accuracy`; points are shared out by area, but each class gets `minimum` of them. Somebody then
    fills in the field "class_id". Returns the number of points by class. Raises InputError where the map cannot be read
    or the file cannot be made.
    """
    if not (0 < target_error < 1 and 0 < expected_accuracy < 1 and minimum >= 2):
        raise InputError("target error and expected accuracy lie between 0 and 1, and a class needs at least 2 points")
    onto = ClassMap(Path(map))
    whole = sum(entry.hectares for entry in onto.classes)
    shares = np.array([entry.hectares / whole for entry in onto.classes])
    size = sample_size(shares, np.full(len(shares), expected_accuracy), target_error)
    numbers = allocate(size, shares, [entry.pixels for entry in onto.classes], minimum)
    wanted = {entry.id: int(number) for entry, number in zip(onto.classes, numbers, strict=True)}
    draw(onto, wanted, Path(design), seed)
    return {entry.name: wanted[entry.id] for entry in onto.classes}


def print_estimate(found: AreaEstimate, console: Console) -> None:
    """Print a row for each class, then the overall accuracy and the notes; intervals are those of 95 %."""
    table = Table(title=f"Areas in hectares and accuracies, 95 % intervals, {found.points:,} points")
    for column in ("id", "class", "points", "mapped", "estimated", "user's accuracy", "producer's accuracy"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for entry in found.classes:
        accuracies = (_with_margin(one, ".3f") for one in (entry.users_accuracy, entry.producers_accuracy))
        estimated = _with_margin(entry.hectares, ",.1f")
        mapped = f"{entry.mapped_hectares:,.1f}"
        table.add_row(str(entry.id), escape(entry.name), f"{entry.points:,}", mapped, estimated, *accuracies)
    console.print(table)
    console.print(f"overall accuracy {_with_margin(found.overall_accuracy, '.3f')}", highlight=False)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _with_margin(one: Estimate, format_: str) -> str:
    return "-" if np.isnan(one.value) else f"{one.value:{format_}} ± {one.margin:{format_}}"


def _check_strata(path: Path, stratum: np.ndarray, shares: dict[int, float], names: dict[int, str]) -> None:
    for value in shares:
        if (number := int((stratum == value).sum())) < 2:
            raise InputError(
                f"{path}: {number} of its points are in class '{names.get(value, value)}' of the map, which needs 2; "
                f"add some, or draw points with segapp area --design"
            )
