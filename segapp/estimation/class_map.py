"""A class map as the strata of a sample: its classes, their areas, and what it says at given places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as Place

from segapp.errors import InputError
from segapp.maps.pixel_area import hectares_by_row
from segapp.maps.record import read_record
from segapp.scenes.geotiff import open_quietly
from segapp.scenes.local import require_local, require_own_contents
from segapp.scenes.raster import Georeference

_STRIP = 256
NO_DATA = -1


@dataclass(frozen=True)
class MappedClass:
    """A class of a map: its id there, its name, its pixels and their area."""

    id: int
    name: str
    pixels: int
    hectares: float


class ClassMap:
    """A GeoTIFF, or another raster that GDAL reads, with one band of class ids and a CRS.

    Raises InputError where it is none, or where its CRS gives no areas.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_local(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a class map, as segapp predict writes it")
        require_own_contents(path)
        try:
            with open_quietly(path) as source:
                bands, dtype, self.shape = source.count, np.dtype(source.dtypes[0]), (source.height, source.width)
                self.crs: CRS | None = source.crs
                self.transform: Affine = source.transform
        except RasterioError as error:
            raise InputError(f"{path}: cannot be read as a raster ({error}); give a GeoTIFF of classes") from None
        if bands != 1 or dtype.kind not in "iu":
            raise InputError(f"{path}: has {bands} band(s) of {dtype}; give a map with one band of class ids")
        wkt = self.crs.to_wkt() if self.crs else None
        by_row = hectares_by_row(Georeference(wkt, tuple(self.transform)[:6]), self.shape)
        if by_row is None:
            raise InputError(f"{path}: has no CRS that gives areas; assign one (gdal_edit -a_srs)")
        self.hectares_of_a_pixel: np.ndarray = by_row

    @cached_property
    def pixels_by_row(self) -> dict[int, np.ndarray]:
        """For each class id of the map, in order, the (H,) int64 pixels of each row that have it."""
        found: dict[int, np.ndarray] = {}
        for row, ids, valid in self.strips():
            present, numbers = np.unique(ids[valid], return_inverse=True)
            lines = np.nonzero(valid)[0]
            counts = np.bincount(lines * len(present) + numbers, minlength=len(ids) * len(present))
            for number, value in enumerate(present.tolist()):
                rows = found.setdefault(value, np.zeros(self.shape[0], np.int64))
                rows[row : row + len(ids)] = counts.reshape(len(ids), -1)[:, number]
        if not found:
            raise InputError(f"{self.path}: holds no data at all; give a map with classes")
        return dict(sorted(found.items()))

    @cached_property
    def classes(self) -> tuple[MappedClass, ...]:
        """The classes that the map has pixels of, by id. Names are those of the record that predict wrote, else ids."""
        return tuple(
            MappedClass(
                value, self.names.get(value, str(value)), int(rows.sum()), float(rows @ self.hectares_of_a_pixel)
            )
            for value, rows in self.pixels_by_row.items()
        )

    @cached_property
    def names(self) -> dict[int, str]:
        """Names by id of all classes that the map may have, as its record says."""
        record = read_record(self.path)
        return {entry.id: entry.name for entry in record.classes} if record else {}

    def strips(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Rows of the map from top to bottom: the first one's number, (h, W) int64 ids, and (h, W) bool of data."""
        try:
            with open_quietly(self.path) as source:
                for row in range(0, self.shape[0], _STRIP):
                    place = Place(0, row, self.shape[1], min(_STRIP, self.shape[0] - row))
                    yield row, source.read(1, window=place).astype(np.int64), source.read_masks(1, window=place) != 0
        except RasterioError as error:
            raise InputError(f"{self.path}: cannot be read to its end ({error}); make it anew") from None

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(n,) int64 class ids at pixels; `NO_DATA` beyond the map and where it has none."""
        found = np.full(len(rows), NO_DATA, np.int64)
        inside = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.shape[1])
        for row, ids, valid in self.strips():
            (here,) = np.nonzero(inside & (rows >= row) & (rows < row + len(ids)))
            at = rows[here] - row, columns[here]
            found[here] = np.where(valid[at], ids[at], NO_DATA)
        return found
