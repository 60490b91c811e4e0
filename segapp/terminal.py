"""What is written to a terminal, a pipe or a file: one kind of console for every verb."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from io import StringIO
from typing import Any, TextIO

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

_WIDE = 10_000
"""Columns of what is no terminal: a table is as wide as it needs to be, and no name is cut off."""


class _SafeConsole(Console):
    """Shows control characters, which names in files may hold, as question marks."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def console(*, stderr: bool = False, quiet: bool = False, file: TextIO | None = None) -> Console:
    """What results are printed with, or with `stderr` progress and messages, or with `file` what goes there.

    It is as wide as its terminal; in a pipe or a file as wide as COLUMNS says, else as wide as need be, and then no
    control character is written. NO_COLOR is respected.
    """
    made = _SafeConsole(file=file, stderr=stderr, quiet=quiet, highlight=False, emoji=False)
    if not made.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        made.width = _WIDE
    return made


def as_text(show: Callable[[Console], None]) -> str:
    """What `show` prints, as it stands in a file."""
    page = StringIO()
    show(console(file=page))
    return page.getvalue()


def printable(text: str) -> str:
    """`text` with a question mark for every control character but line ends: others command a terminal."""
    return "".join("?" if unicodedata.category(c) == "Cc" and c != "\n" else c for c in text)


class RateColumn(ProgressColumn):
    """How many units a second a progress bar has advanced of late."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(rate(task.speed, self._unit), style="progress.data.speed")


def rate(per_second: float | None, unit: str) -> str:
    """A rate as people read it, as in "3.1 steps/s" or "0.28 million pixels/s"; empty where it is not known yet."""
    if not per_second:
        return ""
    if per_second >= 1e5:
        return f"{per_second / 1e6:,.2f} million {unit}/s"
    return f"{per_second:,.0f} {unit}/s" if per_second >= 100 else f"{per_second:.2g} {unit}/s"
