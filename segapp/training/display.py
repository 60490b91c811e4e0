"""What a training says: in the terminal, and in `messages.log` for one that nobody watches."""

from __future__ import annotations

import datetime
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from segapp.terminal import RateColumn, console, printable, rate
from segapp.training.log_rows import LogRow

MESSAGES_FILE = "messages.log"
_RATE_PERIOD = 600.0
"""Seconds over which the rate is taken: validations, which come seldom, count."""


class Display:
    """Lines and a progress bar on stderr, so that stdout stays free for results; nothing there when `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = console(stderr=True, quiet=quiet)
        self._messages: FileIO | None = None
        self._said: list[str] = []

    def keep_in(self, folder: Path) -> None:
        """Write what was said and will be to `messages.log` in `folder`, too; once a folder is given it stays."""
        if self._messages is None:
            self._messages = FileIO(folder / MESSAGES_FILE, "a")  # open, so that it may move with its folder
            weakref.finalize(self, self._messages.close)
            for line in self._said:
                self._write(line)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)
        self.note(text)

    def note(self, text: str) -> None:
        """One line in `messages.log` alone."""
        line = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(printable(text).split())}\n"
        if self._messages is None:
            self._said.append(line)
        else:
            self._write(line)

    @contextmanager
    def steps(self, total: int, done: int) -> Iterator[StepDisplay]:
        """A bar over `total` steps of which `done` are done; in a pipe or a log file, plain lines."""
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn("steps"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(
            *columns,
            console=self.console,
            disable=not self.console.is_interactive,
            transient=True,
            speed_estimate_period=_RATE_PERIOD,
        ) as bar:
            task = bar.add_task("", total=total, completed=done)
            try:
                yield StepDisplay(self, bar, task)
            except BaseException as error:
                reason = f"{type(error).__name__} {error}".strip()
                self.note(f"ended at step {bar.tasks[task].completed:.0f} of {total}: {reason}")
                raise

    def _write(self, line: str) -> None:
        assert self._messages is not None
        with suppress(OSError):  # a full disk is reported by what matters more
            self._messages.write(line.encode())


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
        line = f"step {row.step:>6}  {text}{self._pace()}"
        if row.val_loss is not None or self._bar.disable:
            self._display.say(line)
        else:
            self._display.note(line)

    def _pace(self) -> str:
        """Rate and remaining time, where they are known."""
        task = self._bar.tasks[self._task]
        if not task.speed or task.time_remaining is None:
            return ""
        return f"  {rate(task.speed, 'steps')}, {datetime.timedelta(seconds=round(task.time_remaining))} left"
