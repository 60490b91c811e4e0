"""The classifier head, fitted: with the body frozen it is multinomial logistic regression on the last feature map.

Fitting the head before anything else moves is linear probing, which keeps a random head's large errors away from the
pretrained features (Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

PENALTIES = tuple(10.0**power for power in range(1, -6, -1))
GRADIENT_TOLERANCE = 1e-5
"""A fit ends when no entry of the gradient, in nats a standardised unit and unit of weight, is larger."""


@dataclass(frozen=True)
class Teacher:
    """What the base says of the pixels that a head is fitted on, for the classes that carry over from it.

    `logits` (n, C) are the base's, one column for each of the network indexes `classes` (C,). `weight` is what a nat
    of divergence from the base counts beside a nat of cross entropy with the labels, and `uncertainty` (C,) what
    one counts that lies in whether it is this class or not.
    """

    logits: np.ndarray
    classes: np.ndarray
    weight: float
    uncertainty: np.ndarray


class FittedHead(NamedTuple):
    """A head (D, K) and (K,) float32, its penalty, and each penalty tried with the validation cross entropy it gave."""

    weights: np.ndarray
    bias: np.ndarray
    penalty: float
    tried: tuple[tuple[float, float], ...]


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    penalty: float,
    teacher: Teacher | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a head (D, K) and (K,) to features (n, D) and network indexes (n,), from the start `weights` and `bias`.

    Minimises by L-BFGS the mean cross entropy plus ``penalty / 2`` times the squared distance from the start, both in
    units of standardised features. Labels say nothing of a class that none of them shows: cross entropy runs over the
    classes in `labels`, and the others keep their start exactly. How the present stand to the others is held by
    `teacher`: its weight times the mean Kullback-Leibler divergence of the base's probabilities from the head's, both
    over the classes that carry over (Li and Hoiem 2016, arXiv 1606.09282), and its uncertainty times that of each class
    from all others.

    The start is the base's head where classes carry over, and 0 elsewhere. Returns float32 weights and bias.
    """
    problem = _Problem.of(features, labels, weights, bias, teacher)
    return problem.head(problem.solve(penalty, problem.start))


def choose_penalty(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    teacher: Teacher | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> FittedHead:
    """The head of `fit_head` with the one of `penalties` (from strong to weak) that validates best.

    What counts is the mean cross entropy over all K classes on features (m, D) and network indexes (m,) of validation
    pixels; the stronger penalty wins a tie. Each fit starts from the one before, and two rises in a row end the search.
    """
    problem = _Problem.of(features, labels, weights, bias, teacher)
    flat, best, rises = problem.start, FittedHead(weights, bias, np.inf, ()), 0
    tried: list[tuple[float, float]] = []
    for penalty in penalties:
        flat = problem.solve(penalty, flat)
        head = problem.head(flat)
        score = cross_entropy(validation_features, validation_labels, *head)
        rises = rises + 1 if tried and score > tried[-1][1] else 0
        if not tried or score < min(before for _, before in tried):
            best = FittedHead(*head, penalty, ())
        tried.append((penalty, score))
        if rises == 2:
            break
    return best._replace(tried=tuple(tried))


def cross_entropy(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """The mean cross entropy in nats of a head (D, K) and (K,) on features (n, D) with network indexes (n,)."""
    log_probabilities = _log_softmax((features @ weights + bias).T)
    return float(-np.mean(log_probabilities[labels, np.arange(len(labels))], dtype=np.float64))


@dataclass(frozen=True)
class _Problem:
    """The objective of `fit_head` as a function of one flat vector: the present classes' weights, then their biases.

    Classes lie along the first axis and pixels along the last, so that sums over the few classes run along memory.
    """

    inputs: np.ndarray  # (D + 1, n) float64, standardised, the last row 1 for the bias
    labels: np.ndarray  # (n,) positions in `present`
    present: np.ndarray  # (S,) network indexes
    initial: np.ndarray  # (D + 1, K) in standardised units
    weights: np.ndarray  # (D, K), the start in the features' own units
    bias: np.ndarray
    mean: np.ndarray  # (D,)
    std: np.ndarray
    teacher: Teacher | None
    taught: np.ndarray  # (C, n) log probabilities of the teacher
    first: np.ndarray  # (C, n) logits of the start for the teacher's classes

    @classmethod
    def of(
        cls,
        features: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        teacher: Teacher | None,
    ) -> _Problem:
        mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        std = np.where(std > 0, std, 1.0)
        inputs = np.ones((features.shape[1] + 1, len(features)))
        inputs[:-1] = ((features - mean) / std).T
        initial = np.vstack([weights * std[:, None], bias + mean @ weights])
        present, positions = np.unique(labels, return_inverse=True)
        taught = first = np.empty((0, len(labels)))
        if teacher:
            taught = _log_softmax(teacher.logits.T.astype(np.float64))
            first = initial[:, teacher.classes].T @ inputs
        return cls(inputs, positions, present, initial, weights, bias, mean, std, teacher, taught, first)

    @property
    def start(self) -> np.ndarray:
        return self.initial[:, self.present].ravel()

    def solve(self, penalty: float, first: np.ndarray) -> np.ndarray:
        """The minimum, found from `first`."""
        weight = 1 + (self.teacher.weight + self.teacher.uncertainty.max(initial=0) if self.teacher else 0)
        options = {"gtol": GRADIENT_TOLERANCE * weight, "ftol": 0.0, "maxiter": 1000, "maxcor": 20}
        return minimize(self.objective, first, (penalty,), method="L-BFGS-B", jac=True, options=options).x

    def objective(self, flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        """The loss and its gradient, in the shape of `flat`."""
        free = flat.reshape(len(self.inputs), -1)
        pixels = np.arange(len(self.labels))
        # Not BLAS: its threads, of no use for so few rows, take 50 times as long when other work holds the cores.
        logits = np.einsum("dk,dn->kn", free, self.inputs)
        log_probabilities = _log_softmax(logits)
        loss = -log_probabilities[self.labels, pixels].sum()
        slope = np.exp(log_probabilities)
        slope[self.labels, pixels] -= 1
        if self.teacher:
            _, ours, theirs = np.intersect1d(self.present, self.teacher.classes, return_indices=True)
            answers = self.first.copy()
            answers[theirs] = logits[ours]
            answers = _log_softmax(answers)
            found, expected = np.exp(answers), np.exp(self.taught)
            by_class = expected * (self.taught - answers)
            loss += self.teacher.weight * by_class.sum()
            pull = self.teacher.weight * (found - expected)
            others, expected_others = _all_others(found), _all_others(expected)
            uncertainty = self.teacher.uncertainty[:, None]
            loss += (uncertainty * (by_class + expected_others * np.log(expected_others / others))).sum()
            push = uncertainty * (found - expected) / others
            pull += push * others - found * (push.sum(0) - push)
            slope[ours] += pull[theirs]
        moved = flat - self.start
        gradient = np.einsum("dn,kn->dk", self.inputs, slope).ravel() / len(pixels) + penalty * moved
        return loss / len(pixels) + penalty / 2 * (moved @ moved), gradient

    def head(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (D, K) and bias (K,) float32 for features as they come."""
        free = flat.reshape(len(self.inputs), -1)
        weights, bias = self.weights.astype(np.float32), self.bias.astype(np.float32)
        present = free[:-1] / self.std[:, None]
        weights[:, self.present], bias[self.present] = present, free[-1] - self.mean @ present
        return weights, bias


def _all_others(probabilities: np.ndarray) -> np.ndarray:
    """1 minus probabilities (C, n), to the last digit where one is close to 1, and at least a tiny number."""
    others = 1 - probabilities
    largest, pixels = probabilities.argmax(0), np.arange(probabilities.shape[1])
    rest = probabilities.copy()
    rest[largest, pixels] = 0
    others[largest, pixels] = rest.sum(0)
    return np.maximum(others, np.finfo(float).tiny)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """(K, n) logits to log probabilities over the first axis."""
    shifted = logits - logits.max(0)
    shifted -= np.log(np.exp(shifted).sum(0))
    return shifted
