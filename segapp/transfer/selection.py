"""Which candidate is written: chosen on validation scenes, or by cross-validation and then made with all labels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segapp.transfer.candidates import Candidates, Session
from segapp.transfer.guard import Candidate, is_significantly_better
from segapp.transfer.transfer import Transfer

_FOLD_SHARE = 1 / 3
"""Of the strategy's steps, in each fold."""
_SURE, _GAIN = 0.9, 0.01
"""Against a base of the same classes: the share of resamples, and the gain in accuracy plus mean IoU."""
_SCORES = ("accuracy", "mean_iou")


def select(transfer: Transfer, partial: Path, session: Session) -> tuple[str, list[dict[str, Any]]]:
    """Make the candidates in `partial`; returns the folder of the model to write, and what every candidate scored.

    With validation scenes, each candidate is trained on all training scenes and scored on these. Without, it is trained
    and scored in each fold of the training scenes, and the best is then trained on all of them. Without the guard
    the last is written.
    """
    scenes = transfer.scenes
    if not (scenes.folded and transfer.strategy.guard):
        candidates = Candidates(transfer, scenes.splits[0], partial, session)
        winner, record = _choose({name: candidates.counts(name) for name in candidates.names}, transfer, session)
        winner = winner if transfer.strategy.guard else candidates.names[-1]
    else:
        winner, record, penalty = _cross_validate(transfer, partial, session)
        session.display.say(f"{winner}: is made with all labels")
        Candidates(transfer, scenes.whole, partial, session, penalty=penalty).make(winner)
    session.display.say(f"written: {winner}" + ("" if transfer.strategy.guard else " (the last)"))
    return winner, record


def remove_folds(folder: Path) -> None:
    """Remove what cross-validation left in the folder of a finished model."""
    for fold in folder.glob("fold-*"):
        shutil.rmtree(fold)


def _cross_validate(
    transfer: Transfer, partial: Path, session: Session
) -> tuple[str, list[dict[str, Any]], float | None]:
    """The best candidate, the scores of all, and the head's penalty: the median of the folds."""
    counts: dict[str, list[np.ndarray]] = {}
    penalties: list[float] = []
    splits = transfer.scenes.splits
    for number, split in enumerate(splits, start=1):
        session.display.say(f"fold {number} of {len(splits)}")
        fold = Candidates(transfer, split, partial / f"fold-{number}", replace(session, callbacks=()), _FOLD_SHARE)
        for name in fold.names:
            counts.setdefault(name, []).append(fold.counts(name))
        if (penalty := fold.head_penalty()) is not None:
            penalties.append(penalty)
    winner, record = _choose({name: np.concatenate(parts) for name, parts in counts.items()}, transfer, session)
    return winner, record, float(np.exp(np.median(np.log(penalties)))) if penalties else None


def _choose(counts: Mapping[str, np.ndarray], transfer: Transfer, session: Session) -> tuple[str, list[dict[str, Any]]]:
    """Go through the candidates in their order: which replaces the best so far?

    Where all classes are the base's, it must be better by 0.01 in 90 % of resamples: the base saw more places than the
    new labels show, where smaller gains may be losses. Where classes are new, being better is enough.
    """
    sure, gain = (_SURE, _GAIN) if transfer.plan.base_is_candidate else (0.5, 0.0)
    best: Candidate | None = None
    record = []
    for name, tiles in counts.items():
        candidate = Candidate(name, tiles)
        line = _line(candidate, best, transfer)
        line["won"] = best is None or is_significantly_better(candidate, best, sure, gain, session.seed)
        record.append(line)
        accuracy, mean_iou = (f"{x:.3f}" if (x := line[key]) is not None else "-" for key in _SCORES)
        compared = f", {'replaces' if line['won'] else 'does not replace'} {best.name}" if best else ""
        session.display.say(f"{name}: validation accuracy {accuracy}, mean IoU {mean_iou}{compared}")
        best = candidate if line["won"] else best
    if best is None:
        raise AssertionError("a strategy has at least one candidate")
    return best.name, record


def _line(candidate: Candidate, best: Candidate | None, transfer: Transfer) -> dict[str, Any]:
    matrix = candidate.scores(transfer.dataset.classes)
    values = (matrix.global_accuracy, matrix.mean_iou)
    scores = {key: None if np.isnan(x) else x for key, x in zip(_SCORES, values, strict=True)}
    return {"phase": candidate.name, **scores, "against": best.name if best else None, "won": best is None}
