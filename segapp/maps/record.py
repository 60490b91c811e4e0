"""What a finished map is: from which scene, made with what, how large its classes are. `<map>.json` holds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.configuration import Strict, write_json


class ClassArea(Strict):
    """The pixels that a map gives to a class, and their area in hectares where the CRS gives it."""

    id: int
    name: str
    pixels: int
    hectares: float | None = None


class MapRecord(Strict):
    """One mapped scene. `made_with` is all that decides what its pixels are, and which `server` worked them out.

    `scene_sha256` is over the contents of the scene's files. `files` are the map and what was made beside it, by name,
    with their sizes in bytes; 0 while it is being made.
    """

    scene: str
    scene_sha256: str = ""
    map: str
    files: dict[str, int] = Field(default_factory=dict)
    classes: tuple[ClassArea, ...]
    nodata_pixels: int
    made_with: dict[str, Any] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def record_file(output: Path) -> Path:
    """Where the record of the map `output` lies."""
    return output.with_name(output.name + ".json")


def write_record(output: Path, record: MapRecord) -> None:
    """Write the record of a finished map, by rename."""
    write_json(record_file(output), record.model_dump(mode="json"))


def read_record(output: Path) -> MapRecord | None:
    """The record of the map `output`; None where the map is not finished."""
    return read_unfinished_record(output) if output.exists() else None


def read_unfinished_record(output: Path) -> MapRecord | None:
    """The record of the map `output`, which may still be missing; None where there is no record."""
    try:
        return MapRecord.model_validate_json(record_file(output).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def print_summary(records: Sequence[MapRecord], console: Console) -> None:
    """A row for each scene and a column for each class: hectares where all scenes have them, else pixels."""
    names = list(dict.fromkeys(entry.name for record in records for entry in record.classes))
    in_hectares = all(entry.hectares is not None for record in records for entry in record.classes)
    table = Table(title=f"Area by class in {'hectares' if in_hectares else 'pixels'}")
    table.add_column("scene")
    for name in (*names, "no data, pixels"):
        table.add_column(escape(name), justify="right")
    for record in records:
        areas = {entry.name: entry.hectares if in_hectares else entry.pixels for entry in record.classes}
        shown = [_shown(areas.get(name)) for name in names]
        table.add_row(escape(Path(record.scene).name), *shown, _shown(record.nodata_pixels))
    console.print(table)


def _shown(area: float | None) -> str:
    if area is None:
        return "-"
    return f"{area:,.2f}" if isinstance(area, float) else f"{area:,}"
