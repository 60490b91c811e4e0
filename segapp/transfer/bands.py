"""Which of the base's bands each new band is, and how both are normalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.bands import match_bands
from segapp.data.dataset import Dataset
from segapp.data.statistics import BandStatistics
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import Normalization
from segapp.nets.adapt import BandFill, band_mixing
from segapp.scenes.scene import Scene
from segapp.transfer.discriminants import colouring, discriminants

FAR = 2.0
"""A band is far from the base's when the means differ by more standard deviations of the base than this."""
_STARTS: dict[BandFill, str] = {
    "zero": "at zero",
    "mean": "as the mean of all filters of the base",
    "discriminants": "on linear discriminants of the new bands",
}


@dataclass(frozen=True)
class BandMatch:
    """For each new band the index of the base's band, whether it keeps the base's statistics, and the notes on both.

    `fill` is how the filters of new bands start.
    """

    sources: tuple[int | None, ...]
    kept: tuple[bool, ...]
    fill: BandFill
    normalization: Normalization
    notes: tuple[str, ...]

    def mixing(self, base: Base, scenes: Sequence[Scene], classes: int) -> np.ndarray:
        """Weights (C, bands of the base) float64 of the new bands in each of the base's bands.

        Discriminants are fitted to the labelled pixels of `scenes`.
        """
        count = len(base.spec.bands)
        second_moments = np.array(base.spec.second_moments) if base.spec.second_moments else None
        if self.fill != "discriminants":
            return band_mixing(self.sources, count, self.fill, second_moments)
        weights = discriminants(self.normalization, scenes, classes, count)
        return weights if second_moments is None else weights @ colouring(second_moments)


def match_new_bands(
    base: Base,
    dataset: Dataset,
    statistics: BandStatistics,
    *,
    new_bands: BandFill | None = None,
    keep_far: bool = False,
) -> BandMatch:
    """Match the bands of `dataset` with the base's, by name and wavelength, and choose their normalization.

    A matched band keeps the base's mean and deviation where both are in the same known unit. Where bands are far from
    the base's, all are normalized by the `statistics` of the new training pixels, unless `keep_far`. So are bands whose
    mean is not positive, where the base takes logarithms; these are then left out. Raises InputError where
    discriminants are wanted though bands match.
    """
    sources = _sources(base, dataset)
    matched = any(source is not None for source in sources)
    fill: BandFill = new_bands or ("zero" if matched else "discriminants")
    if fill == "discriminants" and matched:
        raise InputError(
            f"{dataset.path}: discriminants need data that shares no band with {base.source}; "
            "choose --new-bands zero or mean"
        )
    comparable = tuple(source is not None and _same_unit(base, dataset, source, i) for i, source in enumerate(sources))
    distance = _distances(base, statistics, sources, comparable)
    far = not keep_far and bool((distance > FAR).any())
    signed = base.spec.normalization.logarithm and bool((statistics.mean <= 0).any())
    kept = (False,) * len(sources) if far or signed else comparable
    notes = [
        *_band_notes(base, dataset, sources, fill),
        *_normalization_notes(base, dataset, statistics, sources, distance, far, signed),
    ]
    return BandMatch(sources, kept, fill, _normalization(base, statistics, sources, kept, signed), tuple(notes))


def _sources(base: Base, dataset: Dataset) -> tuple[int | None, ...]:
    """The base's band of each new one; by order where the base's bands have no names."""
    if not base.known_classes and len(base.spec.bands) == len(dataset.bands):
        return tuple(range(len(dataset.bands)))
    return match_bands(base.spec.bands, dataset.bands)


def _same_unit(base: Base, dataset: Dataset, source: int, index: int) -> bool:
    """Whether the base's statistics hold for a new band; a base without names takes values as they are."""
    new, old = dataset.bands[index].unit, base.spec.bands[source].unit
    return not base.known_classes or (new == old and new != "digital number")


def _distances(
    base: Base, statistics: BandStatistics, sources: Sequence[int | None], comparable: Sequence[bool]
) -> np.ndarray:
    """(C,) distance of each band's mean from the base's, in standard deviations of the base; NaN where unknown."""
    old = base.spec.normalization
    found = np.full(len(sources), np.nan)
    for index, (source, known) in enumerate(zip(sources, comparable, strict=True)):
        if source is not None and known and base.known_classes:
            found[index] = abs(statistics.mean[index] - old.mean[source]) / old.std[source]
    return found


def _normalization(
    base: Base, statistics: BandStatistics, sources: Sequence[int | None], kept: Sequence[bool], signed: bool
) -> Normalization:
    """The base's mean and deviation for the bands that keep them, those of the new training pixels for the others."""
    old = base.spec.normalization
    indexes = [source if keep else None for source, keep in zip(sources, kept, strict=True)]
    return Normalization(
        mean=tuple(float(statistics.mean[i]) if s is None else old.mean[s] for i, s in enumerate(indexes)),
        std=tuple(float(statistics.std[i]) if s is None else old.std[s] for i, s in enumerate(indexes)),
        logarithm=old.logarithm and not signed,
    )


def _band_notes(base: Base, dataset: Dataset, sources: Sequence[int | None], fill: BandFill) -> list[str]:
    notes = []
    if not base.known_classes:
        notes.append(f"{base.source} has no band names and units; it gets the values of {dataset.path} as they are")
    if None in sources:
        notes.append(f"filters of new bands start {_STARTS[fill]}")
    if not any(source is not None for source in sources):
        notes.append("no band is one of the base's; compare with segapp train")
    dropped = [band.name for index, band in enumerate(base.spec.bands) if index not in sources]
    if base.spec.second_moments and dropped and fill == "zero":
        notes.append(f"{', '.join(dropped)}: estimated from the other bands by linear regression")
    return notes


def _normalization_notes(
    base: Base,
    dataset: Dataset,
    statistics: BandStatistics,
    sources: Sequence[int | None],
    distance: np.ndarray,
    far: bool,
    signed: bool,
) -> list[str]:
    notes = []
    matched = [index for index, source in enumerate(sources) if source is not None]
    if signed:
        notes.append("a band's mean is not positive: no logarithms, and all bands are normalized by the new pixels")
    elif far or (base.known_classes and np.isnan(distance[matched]).any()):
        reason = "bands are far from the base's" if far else "units are unknown or differ"
        notes.append(f"{reason}, so matched bands are normalized by the new training pixels")
    for index, source in enumerate(sources):
        if source is None or np.isnan(distance[index]):
            continue
        mean, std = base.spec.normalization.mean[source], base.spec.normalization.std[source]
        if distance[index] > FAR or not 1 / 4 < statistics.std[index] / std < 4:
            notes.append(
                f"band {dataset.bands[index].name} is far from the base's training data: "
                f"{statistics.mean[index]:.4g} +- {statistics.std[index]:.4g}, the base {mean:.4g} +- {std:.4g}; "
                f"check scale and offset in {dataset.path}"
            )
    return notes
