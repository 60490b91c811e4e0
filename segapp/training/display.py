"""What a training shows in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from segapp.training.records import LogRow


class Display:
    """Lines and a progress bar on stderr, so that stdout stays free for results; nothing when `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def steps(self, total: int, done: int) -> Iterator[StepDisplay]:
        """A bar over `total` steps of which `done` are done; in a pipe or a log file, plain lines."""
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            yield StepDisplay(self, bar, bar.add_task("", total=total, completed=done))


class StepDisplay:
    """Shows steps as they are taken."""

    def __init__(self, display: Display, bar: Progress, task: TaskID) -> None:
        self._display, self._bar, self._task = display, bar, task

    def advance(self) -> None:
        """One step more."""
        self._bar.advance(self._task)

    def report(self, row: LogRow) -> None:
        """A line of the log: beside the bar, and by itself where a validation was made or no bar is drawn."""
        text = f"loss {row.loss:.4f}  accuracy {row.accuracy:.3f}"
        self._bar.update(self._task, description=text)
        if row.val_loss is not None:
            text += f"  validation loss {row.val_loss:.4f}  accuracy {row.val_accuracy:.3f}"
            text += f"  mean IoU {row.val_mean_iou:.3f}"
        if row.val_loss is not None or self._bar.disable:
            self._display.say(f"step {row.step:>6}  {text}")
