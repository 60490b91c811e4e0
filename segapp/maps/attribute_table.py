"""Class names beside a GeoTIFF, where GDAL and QGIS look for them: rasterio's writer has no place for names."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from matplotlib.colors import to_rgb

from segapp.classes import ClassTable

_MOST_CATEGORIES = 256  # names are listed for every value from 0, which makes sense for 8 bits only
# (name, type, usage) of the columns in the numbers of GDAL's GDALRATFieldType and GDALRATFieldUsage
_INTEGER, _STRING = 0, 2
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class name", _STRING, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def rgb_of(classes: ClassTable) -> list[tuple[int, int, int]]:
    """Red, green and blue, 0 to 255, of each class."""
    return [tuple(round(255 * part) for part in to_rgb(color)) for color in classes.colors]  # type: ignore[misc]


def write_class_names(map_file: Path, classes: ClassTable) -> None:
    """Write names and colours of the classes to `map_file`.aux.xml, GDAL's Persistent Auxiliary Metadata.

    A raster attribute table lists the classes; the largest id being below 256, category names do too.
    """
    root = Xml.Element("PAMDataset")
    band = Xml.SubElement(root, "PAMRasterBand", band="1")
    names = {c.id: _NOT_IN_XML.sub(" ", c.name) for c in classes.classes}
    if max(names) < _MOST_CATEGORIES:
        categories = Xml.SubElement(band, "CategoryNames")
        for value in range(max(names) + 1):
            Xml.SubElement(categories, "Category").text = names.get(value, "")
    table = Xml.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = Xml.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
            Xml.SubElement(column, tag).text = text
    for index, (class_id, rgb) in enumerate(zip(names, rgb_of(classes), strict=True)):
        row = Xml.SubElement(table, "Row", index=str(index))
        for text in (str(class_id), names[class_id], *map(str, rgb)):
            Xml.SubElement(row, "F").text = text
    Xml.indent(root)
    Xml.ElementTree(root).write(f"{map_file}.aux.xml", encoding="utf-8")
