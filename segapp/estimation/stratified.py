"""Estimators for a stratified random sample (Olofsson et al. 2014, doi 10.1016/j.rse.2014.02.015; Stehman 2014,
doi 10.1080/01431161.2014.930207)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

_Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error; NaN where the sample gives none."""

    value: float
    standard_error: float

    @property
    def margin(self) -> float:
        """Half the width of the 95 % confidence interval."""
        return _Z * self.standard_error


@dataclass(frozen=True, eq=False)
class Sample:
    """A stratified random sample of n points, in which each place of a stratum is as likely as any other.

    `stratum`, `mapped` and `reference`, (n,) int, are the numbers of each point's stratum, of its class in the map and
    of its class in the reference. `shares`, (H,) float64, are the strata's shares of the area, with sum 1. Every
    stratum needs two points.
    """

    stratum: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    shares: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(H,) int64: points of each stratum."""
        return np.bincount(self.stratum, minlength=len(self.shares))

    def share(self, of: np.ndarray) -> Estimate:
        """The share of the area where `of`, (n,) bool by point, holds (Stehman 2014, equations 3 and 26)."""
        return self.ratio(of, np.ones(len(of), bool))

    def ratio(self, of: np.ndarray, among: np.ndarray) -> Estimate:
        """The share of the area with `among` on which `of` holds too, both (n,) bool (equations 27 and 28).

        The value and the error are NaN where no point is `among`.
        """
        both = (of & among).astype(float)
        whole = self._total(among.astype(float))
        if whole == 0:
            return Estimate(float("nan"), float("nan"))
        value = self._total(both) / whole
        residual = both - value * among
        variance = sum(
            share**2 * np.var(residual[self.stratum == number], ddof=1) / points
            for number, (share, points) in enumerate(zip(self.shares, self.points, strict=True))
        )
        return Estimate(float(value), float(np.sqrt(variance) / whole))

    def matrix(self, classes: int) -> np.ndarray:
        """(K, K) float64: estimated shares of the area by class in the map (rows) and in the reference (columns)."""
        weights = (self.shares / self.points)[self.stratum]
        found = np.zeros((classes, classes))
        np.add.at(found, (self.mapped, self.reference), weights)
        return found

    def _total(self, values: np.ndarray) -> float:
        return float(np.sum((self.shares / self.points)[self.stratum] * values))


def sample_size(shares: np.ndarray, accuracies: np.ndarray, standard_error: float) -> int:
    """Points that bring the overall accuracy's standard error down to `standard_error` (Olofsson et al., equation 13).

    `shares` and the user's `accuracies` that are expected are by stratum, (H,). For a large area (Cochran 1977).
    """
    return int(np.ceil((np.sum(shares * np.sqrt(accuracies * (1 - accuracies))) / standard_error) ** 2))


def allocate(points: int, shares: np.ndarray, pixels: Sequence[int], minimum: int) -> np.ndarray:
    """(H,) int64: points of each stratum, in proportion to its share, but `minimum` at least if it has the pixels."""
    wanted = np.maximum(np.rint(points * shares), minimum).astype(np.int64)
    return np.minimum(wanted, np.asarray(pixels, np.int64))
