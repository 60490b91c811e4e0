"""The lines of a training's `log.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

LOG_FILE = "log.csv"


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


def read_log(folder: Path) -> list[LogRow]:
    """The lines of a training's `log.csv` up to the first that is damaged, or was cut off while it was written.

    None where there is no log. Raises OSError where it cannot be read.
    """
    rows: list[LogRow] = []
    try:
        with (folder / LOG_FILE).open(newline="", encoding="utf-8", errors="replace") as stream:
            for line in csv.DictReader(stream):
                numbers = {key: None if value == "" else float(value) for key, value in line.items()}
                rows.append(LogRow(**{**numbers, "step": int(line["step"]), "epoch": int(line["epoch"])}))  # type: ignore[arg-type]
    except (FileNotFoundError, csv.Error, KeyError, TypeError, ValueError):
        pass
    return rows


def start_log(folder: Path, rows: Iterable[LogRow]) -> None:
    """Replace `log.csv` by one of these lines, by rename."""
    file = folder / LOG_FILE
    temporary = file.with_suffix(".writing")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(LogRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    temporary.replace(file)


def append_row(folder: Path, row: LogRow) -> None:
    """Add one line to `log.csv`."""
    values = asdict(row)
    with (folder / LOG_FILE).open("a", newline="", encoding="utf-8") as stream:
        csv.DictWriter(stream, list(values)).writerow(values)
