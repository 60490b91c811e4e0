"""Reference points in a vector file: read onto a map, or drawn for somebody to fill in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from segapp.errors import InputError
from segapp.estimation.class_map import ClassMap
from segapp.maps.partial import PartialFile
from segapp.scenes.geotiff import without_warnings
from segapp.scenes.vectors import VECTOR_ERRORS, layer_information, may_be_in, reproject

CLASS, STRATUM, SHARE = "class_id", "stratum", "stratum_share"
"""Fields of a drawn sample: the reference class, which is to be filled in; the class of the map, and its share of the
mapped area, when the sample was drawn."""


@dataclass(frozen=True, eq=False)
class ReferencePoints:
    """Points on a map: (n,) rows and columns of pixels, (n,) reference class ids, and how many points have no class.

    `stratum` (n,) and `shares` by stratum are there where the file holds a sample that `draw` made.
    """

    rows: np.ndarray
    columns: np.ndarray
    classes: np.ndarray
    empty: int
    stratum: np.ndarray | None
    shares: dict[int, float] | None


def read_points(path: Path, attribute: str, layer: str | None, onto: ClassMap) -> ReferencePoints:
    """The points of a vector file with the class in the field `attribute`, as an id or as a name of the map's classes.

    Raises InputError where the file holds other geometries, no CRS, no such field, or what is no class.
    """
    chosen, information = layer_information(path, layer, remedy="give the one with the points as --layer")
    fields = [str(field) for field in information["fields"]]
    if attribute not in fields:
        raise InputError(
            f"{path}: has no field '{attribute}'; give one of its fields as --attribute: {', '.join(fields)}"
        )
    if information["crs"] is None:
        raise InputError(
            f"{path}: has no CRS, so its points cannot be placed on {onto.path}; assign one (ogr2ogr -a_srs)"
        )
    drawn = attribute == CLASS and {STRATUM, SHARE} <= set(fields)
    try:
        file_crs = CRS.from_user_input(information["crs"])
        if not may_be_in(file_crs, information["total_bounds"]):
            raise InputError(f"{path}: its coordinates are no degrees, though its CRS says so; save it with its CRS")
        columns = [attribute, STRATUM, SHARE] if drawn else [attribute]
        with without_warnings(RuntimeWarning):
            meta, _, wkb, values = pyogrio.raw.read(path, layer=chosen, columns=columns, force_2d=True)
        points = reproject(shapely.from_wkb(wkb), file_crs, onto.crs)
    except (*VECTOR_ERRORS, CRSError) as error:
        raise InputError(f"{path}: its points cannot be brought onto {onto.path} ({error}); check its CRS") from None
    if not (shapely.get_type_id(points) == shapely.GeometryType.POINT).all():
        raise InputError(
            f"{path}: holds geometries that are no points; give points, as segapp area --design draws them"
        )
    by_name = dict(zip(meta["fields"].tolist(), values, strict=True))
    classes, given = _class_ids(path, attribute, by_name[attribute], onto)
    if not given.any():
        raise InputError(f"{path}: none of its points has a class in '{attribute}'; fill it in first")
    columns_, rows = ~onto.transform * (shapely.get_x(points[given]), shapely.get_y(points[given]))
    stratum = by_name[STRATUM][given].astype(np.int64) if drawn else None
    shares = dict(zip(by_name[STRATUM].tolist(), by_name[SHARE].tolist(), strict=True)) if drawn else None
    rows, columns_ = (np.floor(where).astype(np.int64) for where in (rows, columns_))
    return ReferencePoints(rows, columns_, classes[given], int((~given).sum()), stratum, shares)


def draw(onto: ClassMap, numbers: dict[int, int], file: Path, seed: int) -> None:
    """Write `numbers` of points for each class id of the map to the GeoPackage `file`, with the class to be filled in.

    In each class, places are drawn without replacement, each with a probability in proportion to its area; they are the
    centres of pixels, and stand in random order. Raises InputError where `file` exists or cannot be made.
    """
    if file.suffix.lower() != ".gpkg":
        raise InputError(f"{file}: points are written as a GeoPackage; give a name that ends in .gpkg")
    if file.exists():
        raise InputError(f"{file}: exists already, and may be filled in; give another name, or remove it")
    rng = np.random.default_rng(seed)
    wanted = {value: _pixels(onto, value, number, rng) for value, number in numbers.items()}
    stratum, rows, columns = _places(onto, wanted)
    order = rng.permutation(len(stratum))
    x, y = onto.transform * (columns[order] + 0.5, rows[order] + 0.5)
    whole = sum(entry.hectares for entry in onto.classes)
    known = {entry.id: (entry.name, entry.hectares / whole) for entry in onto.classes}
    stratum = stratum[order]
    fields = {
        CLASS: np.zeros(len(stratum), np.int32),
        STRATUM: stratum.astype(np.int32),
        "stratum_name": np.array([known[value][0] for value in stratum.tolist()], object),
        SHARE: np.array([known[value][1] for value in stratum.tolist()]),
    }
    partial = PartialFile(file)
    try:
        with partial.writing():
            pyogrio.raw.write(
                partial.temporary,
                shapely.to_wkb(shapely.points(x, y)),
                list(fields.values()),
                list(fields),
                field_mask=[np.ones(len(stratum), bool), None, None, None],
                layer="points",
                driver="GPKG",
                geometry_type="Point",
                crs=onto.crs.to_wkt() if onto.crs else None,
            )
            partial.sync()
        partial.deliver()
    finally:
        partial.abandon()


def _class_ids(path: Path, attribute: str, values: np.ndarray, onto: ClassMap) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 ids, and (n,) bool of those that are given."""
    ids, given = np.zeros(len(values), np.int64), np.ones(len(values), bool)
    id_of_name = {name: value for value, name in onto.names.items()}
    for number, value in enumerate(values.tolist()):
        if value is None or value != value or value == "":
            given[number] = False
            continue
        try:
            found = id_of_name[value] if value in id_of_name else float(value)
            ids[number] = int(found)
        except (ValueError, OverflowError):
            found = float("nan")
        if ids[number] != found:
            names = ", ".join(id_of_name) or "the ids of the map"
            raise InputError(
                f"{path}: field '{attribute}' holds '{value}', which is no class; classes are {names}"[:200]
            )
    return ids, given


def _pixels(onto: ClassMap, value: int, number: int, rng: np.random.Generator) -> dict[int, list[int]]:
    """Different pixels of a class: by row, which of the class's pixels in it, counted from the left."""
    counts = onto.pixels_by_row[value]
    weight = counts * onto.hectares_of_a_pixel
    chosen: set[tuple[int, int]] = set()
    if number >= counts.sum():
        chosen.update((int(row), place) for row in np.nonzero(counts)[0] for place in range(counts[row]))
    while len(chosen) < number:
        row = int(rng.choice(len(weight), p=weight / weight.sum()))
        chosen.add((row, int(rng.integers(counts[row]))))
    by_row: dict[int, list[int]] = {}
    for row, place in sorted(chosen):
        by_row.setdefault(row, []).append(place)
    return by_row


def _places(onto: ClassMap, wanted: dict[int, dict[int, list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) classes, rows and columns of the pixels that `_pixels` chose in each class."""
    found: list[tuple[int, int, int]] = []
    for first, ids, valid in onto.strips():
        for value, by_row in wanted.items():
            for row in range(first, first + len(ids)):
                if row in by_row:
                    (columns,) = np.nonzero((ids[row - first] == value) & valid[row - first])
                    found += [(value, row, int(columns[place])) for place in by_row[row]]
    classes, rows, columns = np.array(found, np.int64).reshape(-1, 3).T
    return classes, rows, columns
