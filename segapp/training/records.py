"""What a training leaves to look at: `log.csv`, TensorBoard events, and `training-progress.png`."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import tensorflow as tf

LOG_FILE, PLOT_FILE, EVENTS_FOLDER = "log.csv", "training-progress.png", "events"


@dataclass(frozen=True)
class LogRow:
    """One line of the log: means since the line before, and the validation where one was made at this step."""

    step: int
    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    seconds: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_mean_iou: float | None = None


class TrainingLog:
    """Appends to `log.csv` and to TensorBoard's events, and draws the progress plot."""

    def __init__(self, folder: Path, resume_at: int = 0) -> None:
        """Lines past step `resume_at` are dropped, so that what is done again is not there twice."""
        self._folder = folder
        self._file = folder / LOG_FILE
        kept = [row for row in read_log(folder) if row.step <= resume_at]
        temporary = self._file.with_suffix(".writing")
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(LogRow)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in kept)
        temporary.replace(self._file)
        self._events = tf.summary.create_file_writer(str(folder / EVENTS_FOLDER))

    def write(self, row: LogRow) -> None:
        """Add one line."""
        values = asdict(row)
        with self._file.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, list(values)).writerow(values)
        with self._events.as_default(step=row.step):
            for name, value in values.items():
                if name != "step" and value is not None:
                    tf.summary.scalar(name, value)
        self._events.flush()

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


def read_log(folder: Path) -> list[LogRow]:
    """The lines of a training's `log.csv`; a last line that was cut off while writing is left out."""
    file = folder / LOG_FILE
    if not file.exists():
        return []
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            try:
                numbers = {key: None if value == "" else float(value) for key, value in line.items()}
                rows.append(LogRow(**{**numbers, "step": int(line["step"]), "epoch": int(line["epoch"])}))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                break
    return rows
