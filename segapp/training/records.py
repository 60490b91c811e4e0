"""What a training leaves to look at: `log.csv`, TensorBoard events, and `training-progress.png`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segapp.evaluation.confusion import ConfusionMatrix
from segapp.training.log_rows import LogRow, append_row, read_log, start_log
from segapp.training.tracker import Tracker

PLOT_FILE = "training-progress.png"


class TrainingLog:
    """Appends to `log.csv` and to TensorBoard's events, and draws the progress plot."""

    def __init__(self, folder: Path, resume_at: int = 0) -> None:
        """Lines past step `resume_at` are dropped, so that what is done again is not there twice."""
        self._folder = folder
        start_log(folder, [row for row in read_log(folder) if row.step <= resume_at])
        self._tracker = Tracker(folder)

    def write(self, row: LogRow) -> None:
        """Add one line."""
        append_row(self._folder, row)
        self._tracker.row(row)

    def show(self, step: int, pictures: Iterable[tuple[str, np.ndarray]], matrix: ConfusionMatrix) -> None:
        """Add what a validation at `step` saw to TensorBoard's events, as `Tracker.validation` takes it."""
        self._tracker.validation(step, pictures, matrix)

    def plot(self) -> None:
        """Draw accuracy and loss over the steps, training and validation, as MATLAB's training progress window does."""
        from matplotlib.figure import Figure

        rows = read_log(self._folder)
        validated = [row for row in rows if row.val_loss is not None]
        figure = Figure(figsize=(9, 6), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for panel, name, label in zip(panels, ("accuracy", "loss"), ("Accuracy", "Loss"), strict=True):
            panel.plot([r.step for r in rows], [getattr(r, name) for r in rows], lw=1, label="training")
            values = [getattr(r, f"val_{name}") for r in validated]
            panel.plot([r.step for r in validated], values, "k--o", ms=3, lw=1, label="validation")
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
        panels[0].set_ylim(0, 1)
        panels[0].legend(loc="lower right")
        panels[1].lines[1].set_label("validation, cross entropy alone")
        panels[1].legend(handles=panels[1].lines[1:], loc="upper right")
        panels[1].set_ylim(bottom=0)
        panels[1].set_xlabel("step")
        temporary = self._folder / f".{PLOT_FILE}"
        figure.savefig(temporary, dpi=110, format="png")
        temporary.replace(self._folder / PLOT_FILE)
