"""What the values of a class map mean: names and colours that the map, or a file beside it, gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

from matplotlib import colormaps
from matplotlib.colors import to_hex

from segapp.classes import ClassTable
from segapp.configuration import validate
from segapp.maps.record import read_record
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.raster import Raster

_NAME, _VALUE, _RED, _GREEN, _BLUE = 2, 5, 6, 7, 8  # GDAL's GDALRATFieldUsage


@dataclass(frozen=True)
class LegendEntry:
    """One class: the `id` in the file, its `name`, and its `color` as "#rrggbb"."""

    id: int
    name: str
    color: str


def legend_of(file: Path, raster: Raster, found: Iterable[int], known: ClassTable | None = None) -> list[LegendEntry]:
    """The classes of the map in `file` in the order it lists them, then the other values `found` in it.

    Names are those of the map's raster attribute table or categories, of its record, else of `known`; colours those of
    the table or its palette, else as segapp gives them.
    """
    names, colors = _beside(file)
    palette = _palette(raster)
    table = known
    if (record := read_record(file)) is not None:
        classes = [{"id": entry.id, "name": entry.name} for entry in record.classes]
        recorded = validate(ClassTable, {"classes": classes}, f"{file}.json")
        table = recorded if table is None or table.names != recorded.names else table
    if table is not None:
        names = names or dict(zip(table.ids.tolist(), table.names, strict=True))
        defaults = dict(zip(table.ids.tolist(), table.colors, strict=True))
    else:
        defaults = {}
    values = [*names, *(value for value in sorted(found) if value not in names)]
    return [
        LegendEntry(
            value,
            names.get(value, f"class {value}"),
            colors.get(value) or palette.get(value) or defaults.get(value) or to_hex(colormaps["tab20"](place % 20)),
        )
        for place, value in enumerate(values)
    ]


def _beside(file: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by value in `file`.aux.xml, GDAL's Persistent Auxiliary Metadata; empty where it has none."""
    try:
        band = Xml.parse(f"{file}.aux.xml").find("PAMRasterBand")
    except (OSError, Xml.ParseError):
        return {}, {}
    if band is None:
        return {}, {}
    names, colors = _attribute_table(band)
    if not names:
        categories = enumerate(band.iterfind("CategoryNames/Category"))
        names = {value: category.text for value, category in categories if category.text}
    return names, colors


def _attribute_table(band: Xml.Element) -> tuple[dict[int, str], dict[int, str]]:
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return {}, {}
    usages = [column.findtext("Usage", "") for column in table.iterfind("FieldDefn")]
    place = {int(usage): number for number, usage in enumerate(usages) if usage.isdigit()}
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    for row in table.iterfind("Row"):
        cells = [cell.text or "" for cell in row.iterfind("F")]
        try:
            value = int(float(cells[place[_VALUE]]))
            names[value] = cells[place[_NAME]] or f"class {value}"
            red, green, blue = (int(float(cells[place[usage]])) for usage in (_RED, _GREEN, _BLUE))
        except (KeyError, IndexError, ValueError):
            continue  # a table of another kind: without names, or without colours
        colors[value] = _hexadecimal(red, green, blue)
    return names, colors


def _palette(raster: Raster) -> dict[int, str]:
    """The colours of the file's palette by value. Black stands for no colour: GDAL fills up palettes with it."""
    if not isinstance(raster, RasterioRaster):
        return {}
    with raster.dataset() as dataset:
        try:
            palette = dataset.colormap(1)
        except ValueError:
            return {}
    return {value: _hexadecimal(*color[:3]) for value, color in palette.items() if any(color[:3])}


def _hexadecimal(red: int, green: int, blue: int) -> str:
    return "#" + bytes(min(max(part, 0), 255) for part in (red, green, blue)).hex()
