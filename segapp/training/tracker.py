"""What TensorBoard shows of a training: curves, what the network makes of a few places, the confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf

from segapp.evaluation.confusion import ConfusionMatrix
from segapp.training.log_rows import LogRow

EVENTS_FOLDER = "events"
_MOST_NUMBERS = 10
"""Classes up to which the cells of a confusion matrix can be read."""
_LONGEST_NAME = 24
_DOTS_PER_INCH = 80


class Tracker:
    """Writes TensorBoard's events into a folder of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._events = tf.summary.create_file_writer(str(folder / EVENTS_FOLDER))

    def row(self, row: LogRow) -> None:
        """The numbers of a line of the log, each as a scalar of its name."""
        with self._events.as_default(step=row.step):
            for name, value in asdict(row).items():
                if name != "step" and value is not None:
                    tf.summary.scalar(name, value)
        self._events.flush()

    def validation(self, step: int, pictures: Iterable[tuple[str, np.ndarray]], matrix: ConfusionMatrix) -> None:
        """What a validation at `step` saw: (description, picture), each (h, w, 3) uint8, and the confusion matrix."""
        with self._events.as_default(step=step):
            for number, (description, picture) in enumerate(pictures, start=1):
                tf.summary.image(f"sample/{number}", picture[np.newaxis], description=description)
            tf.summary.image("confusion", confusion_picture(matrix)[np.newaxis], description="share of each row")
        self._events.flush()


def track_text(folder: Path, tag: str, markdown: str) -> None:
    """Add a text to TensorBoard's events of `folder`."""
    with tf.summary.create_file_writer(str(folder / EVENTS_FOLDER)).as_default(step=0):
        tf.summary.text(tag, markdown)


def confusion_picture(matrix: ConfusionMatrix) -> np.ndarray:
    """The matrix with each row as shares of its reference pixels, (H, W, 3) uint8; rows of absent classes are empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size, rows = len(matrix.classes), matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(matrix.counts, rows, out=np.full(matrix.counts.shape, np.nan), where=rows > 0)
    side = min(12.0, 3 + 0.5 * size)
    figure = Figure(figsize=(side, side), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    names = [name[:_LONGEST_NAME] for name in matrix.classes.names]
    axes.set_xticks(range(size), names, rotation=90, parse_math=False)
    axes.set_yticks(range(size), names, parse_math=False)
    axes.set(xlabel="prediction", ylabel="reference")
    if size <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share == share:
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font does not have
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
