"""What the plan of a transfer says beside its tables: how bands start, and what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.data.dataset import Dataset
from segapp.data.statistics import BandStatistics
from segapp.model.base import Base
from segapp.nets.adapt import BandFill

FAR = 2.0
"""Standard deviations of the base between its mean of a band and the new data's that are worth a note."""
_STARTS: dict[BandFill, str] = {
    "zero": "at zero",
    "mean": "as the mean of all of the base's filters",
    "discriminants": "such that these see, in place of bands, the mixtures of bands that tell the classes apart best",
}


def distances(base: Base, statistics: BandStatistics, bands: Sequence[int | None], kept: Sequence[bool]) -> np.ndarray:
    """How far the new training pixels' mean of each band lies from the base's, (C,) in standard deviations of the base.

    For each new band `bands` names the base's that it is, and `kept` says whether it can keep the base's statistics;
    NaN where it cannot.
    """
    theirs = base.spec.normalization
    found = np.full(len(bands), np.nan)
    for index, (source, keep) in enumerate(zip(bands, kept, strict=True)):
        if source is not None and keep and base.known_classes:
            found[index] = abs(statistics.mean[index] - theirs.mean[source]) / theirs.std[source]
    return found


def notes_on(
    base: Base,
    dataset: Dataset,
    statistics: BandStatistics,
    bands: Sequence[int | None],
    distance: np.ndarray,
    fill: BandFill,
    own: bool,
) -> list[str]:
    """Notes on how the base's bands and those of `dataset` go together.

    `bands` are as in `distances`, `distance` is what it gave, `fill` is how filters of new bands start, and `own` says
    whether all bands are standardised by the new training pixels because they lie far outside.
    """
    notes = []
    matched = [index for index, source in enumerate(bands) if source is not None]
    if not base.known_classes:
        notes.append(
            f"{base.source} does not say which bands and units it takes; values go in as {dataset.path} gives them"
        )
    if None in bands:
        notes.append(f"filters of new bands start {_STARTS[fill]}")
    if not matched:
        notes.append("no band is one of the base's; compare with segapp train")
    dropped = [band.name for index, band in enumerate(base.spec.bands) if index not in bands]
    if base.spec.second_moments and dropped and fill == "zero":
        notes.append(
            f"{', '.join(dropped)}: estimated from the bands that are left, as these went together for the base"
        )
    if own or (base.known_classes and np.isnan(distance[matched]).any()):
        why = "bands lie far outside the base's" if own else "units are unknown or differ"
        notes.append(f"{why}, so matched bands are standardised by the new training pixels")
    for index, source in enumerate(bands):
        if source is None or np.isnan(distance[index]):
            continue
        mean, std = base.spec.normalization.mean[source], base.spec.normalization.std[source]
        if distance[index] > FAR or not 1 / 4 < statistics.std[index] / std < 4:
            notes.append(
                f"band {dataset.bands[index].name} lies far outside what the base was trained on: "
                f"{statistics.mean[index]:.4g} +- {statistics.std[index]:.4g}, the base {mean:.4g} +- {std:.4g}; "
                f"check scale and offset in {dataset.path}"
            )
    return notes
