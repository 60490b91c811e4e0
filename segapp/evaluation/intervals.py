"""Confidence intervals of scores, by bootstrap over scenes or, of few scenes, over blocks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

_FEWEST = 8
"""Units that a bootstrap needs to say anything."""
_RESAMPLES = 2000
_SHARE = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, each (low, high), of scores over `units` scenes or blocks that stand for others of their kind."""

    unit: Literal["scene", "block"]
    units: int
    global_accuracy: tuple[float, float]
    mean_iou: tuple[float, float]
    class_iou: tuple[tuple[float, float], ...]
    """By class; NaN for one without a reference pixel."""


def bootstrap(counts: np.ndarray, unit: Literal["scene", "block"], seed: int = 0) -> Intervals | None:
    """Intervals from the confusion counts (U, K, K) of U units; None where there are too few of them.

    Percentiles of 2,000 resamples of whole units (Efron and Tibshirani 1993, chapter 13): pixels of one scene are
    alike, so that intervals by pixels would be far too narrow. Classes that no unit shows are left out of means.
    """
    if len(counts) < _FEWEST:
        return None
    weights = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), _RESAMPLES)
    pixels, hits = counts.sum((1, 2)), np.einsum("ukk->uk", counts)
    unions = counts.sum(1) + counts.sum(2) - hits
    present = counts.sum((0, 2)) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = weights @ hits.sum(1) / (weights @ pixels)
        iou = (weights @ hits) / (weights @ unions)  # NaN where a resample has nothing of a class
    iou[:, ~present] = np.nan
    mean_iou = np.nanmean(iou[:, present], axis=1)
    by_class = [_interval(one) if here else (float("nan"),) * 2 for one, here in zip(iou.T, present, strict=True)]
    return Intervals(unit, len(counts), _interval(accuracy), _interval(mean_iou), tuple(by_class))


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, _SHARE)
    return float(low), float(high)


def enough_scenes(number: int) -> bool:
    """Whether scenes can be the units; else their blocks are."""
    return number >= _FEWEST
