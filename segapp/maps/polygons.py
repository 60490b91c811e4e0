"""Polygons of a finished class map, as GeoPackage or GeoJSON."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from pyogrio import raw, read_info
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio import features
from rasterio import windows as rasterio_windows
from rasterio.errors import RasterioError

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.partial import PartialFile
from segapp.maps.pixel_area import hectares_by_row
from segapp.scenes.geotiff import open_quietly
from segapp.scenes.raster import Georeference
from segapp.windows import grid, whole

_LAYER = "classes"
_POLYGONS_AT_A_TIME = 10_000
_STRIP = (512, 8192)  # pixels of the map that are copied at a time
_BYTES_A_POINT = 60  # 16 of coordinates, and a share of attributes and of the spatial index
_DIGITS = 8  # of degrees: a millimetre, since pixels of drones are centimetres


def write_polygons(classes_file: Path, file: Path, classes: ClassTable, minimum_pixels: int = 1) -> None:
    """Write the areas of one class in the map `classes_file` as polygons to `file`, .gpkg or .geojson.

    Areas are joined by pixel edges. Those of fewer than `minimum_pixels` go to their largest neighbour (GDAL's sieve),
    so that the total stays; what has only "no data" around it stays as small as it is. "No data" is no polygon. The
    layer "classes" has the fields class_id, class_name, pixels and, where the CRS gives areas, hectares. GeoPackage
    keeps the map's CRS; GeoJSON is in WGS 84 (RFC 7946). Without a CRS, coordinates are those of the map's transform,
    without that too column and row.

    Memory grows with the polygons, about 1.5 kB each, and when sieving by a byte a pixel. Raises InputError when
    `classes_file` is no map of `classes` or `file` cannot be made, OSError when it cannot be written.
    """
    suffix = file.suffix.lower()
    if suffix not in (".gpkg", ".geojson"):
        raise InputError(f"{file}: no polygons can be written as '{file.suffix}'; use .gpkg or .geojson")
    partial = PartialFile(file)
    package = partial.temporary if suffix == ".gpkg" else Path(f"{partial.temporary}.gpkg")
    try:
        with partial.writing(), rasterio.Env(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            try:
                with _open_map(classes_file) as source:
                    _write_package(source, package, partial, classes, minimum_pixels)
                if suffix == ".geojson":
                    _translate_to_geojson(package, partial)
            except (DataSourceError, DataLayerError) as error:
                raise OSError(str(error)) from None
            partial.sync()
        partial.deliver()
    finally:
        partial.abandon()


def _open_map(file: Path) -> Any:
    try:
        return open_quietly(file)
    except RasterioError as error:
        raise InputError(f"{file}: cannot be read as a map ({error}); give a GeoTIFF of classes") from None


def _write_package(source: Any, package: Path, partial: PartialFile, classes: ClassTable, minimum_pixels: int) -> None:
    layer = _PackageLayer(package, source, classes)
    layer.write(np.array([], object), np.array([], np.uint8))
    for polygons, indexes in _polygons(source, Path(f"{partial.temporary}.tif"), partial, classes, minimum_pixels):
        partial.require_room(_BYTES_A_POINT * shapely.get_num_coordinates(polygons).sum())
        layer.write(polygons, indexes)
    if read_info(package, layer=_LAYER)["features"] != layer.written:
        raise OSError("it is cut off")


def _polygons(
    source: Any, working: Path, partial: PartialFile, classes: ClassTable, minimum_pixels: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(N,) polygons in columns and rows, and their (N,) network indexes; N is at most `_POLYGONS_AT_A_TIME`."""
    profile = {"height": source.height, "width": source.width, "count": 1, "dtype": np.uint8}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1}
    with open_quietly(working, "w+", driver="GTiff", BIGTIFF="IF_SAFER", **profile, **layout) as shifted:
        # "No data" has to be 0, so that the band can be its own mask: `IGNORED_INDEX` + 1 is 0 in 8 bits.
        for window in grid(whole(source.shape), *_STRIP):
            place = rasterio_windows.Window(window.col, window.row, window.width, window.height)
            ids = source.read(1, window=place)
            partial.require_room(ids.size)
            shifted.write(classes.to_indexes(ids, source.name, of_map=True) + np.uint8(1), 1, window=place)
        band = rasterio.band(shifted, 1)
        minimum = min(minimum_pixels, source.width * source.height - 1)  # rasterio takes no larger one
        if minimum > 1:
            shifted.write(features.sieve(band, minimum, mask=band), 1)
        shapes = features.shapes(band, mask=band)
        while found := list(islice(shapes, _POLYGONS_AT_A_TIME)):
            yield _from_rings([shape["coordinates"] for shape, _ in found]), np.array([int(v) - 1 for _, v in found])


def _from_rings(polygons: list[list[list[tuple[float, float]]]]) -> np.ndarray:
    """(N,) polygons of N lists of rings, the outer ring first."""
    rings = [ring for polygon in polygons for ring in polygon]
    ring_of_point = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    polygon_of_ring = np.repeat(np.arange(len(polygons)), [len(polygon) for polygon in polygons])
    return shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=ring_of_point), indices=polygon_of_ring)


class _PackageLayer:
    """The layer of a new GeoPackage in the coordinates of `source`."""

    def __init__(self, package: Path, source: Any, classes: ClassTable) -> None:
        self.written: int | None = None
        self._package = package
        self._classes = classes
        self._crs = source.crs.to_wkt() if source.crs else None
        self._transform = tuple(source.transform)[:6]
        by_row = hectares_by_row(Georeference(self._crs, self._transform), source.shape)
        # of a column from the first row down to each edge between rows
        self._hectares_above = None if by_row is None else np.concatenate([[0], np.cumsum(by_row)])

    def write(self, polygons: np.ndarray, indexes: np.ndarray) -> None:
        """Add (N,) polygons in columns and rows with their (N,) network indexes; the first call makes the layer."""
        pixels = np.rint(shapely.area(polygons)).astype(np.int64)
        columns: dict[str, np.ndarray] = {
            "class_id": self._classes.ids[indexes].astype(np.int32),
            "class_name": np.array(self._classes.names, object)[indexes],
            "pixels": pixels,
        }
        above = self._hectares_above
        if above is not None:  # with areas for rows, all edges being those of pixels, areas are those of the land
            rows_as_areas = shapely.transform(
                polygons, lambda p: np.column_stack([p[:, 0], above[p[:, 1].astype(int)]])
            )
            columns["hectares"] = shapely.area(rows_as_areas)
        a, b, c, d, e, f = self._transform
        located = shapely.transform(polygons, lambda points: points @ np.array([[a, d], [b, e]]) + (c, f))
        raw.write(
            self._package,
            shapely.to_wkb(located),
            list(columns.values()),
            list(columns),
            layer=_LAYER,
            driver="GPKG",
            geometry_type="Polygon",
            crs=self._crs,
            append=self.written is not None,
        )
        self.written = (self.written or 0) + len(polygons)


def _translate_to_geojson(package: Path, partial: PartialFile) -> None:
    """GeoJSON cannot be written in pieces, but read from a GeoPackage and written in one stream."""
    partial.require_room(3 * package.stat().st_size)
    with raw.open_arrow(package, layer=_LAYER, use_pyarrow=False) as (layer, stream):
        raw.write_arrow(
            stream,
            partial.temporary,
            layer=_LAYER,
            driver="GeoJSON",
            geometry_name=layer["geometry_name"],
            geometry_type="Polygon",
            crs=layer["crs"],
            RFC7946="YES" if layer["crs"] else "NO",
            COORDINATE_PRECISION=_DIGITS,
        )
    with partial.temporary.open("rb") as written:
        written.seek(-min(16, partial.temporary.stat().st_size), 2)
        if not written.read().rstrip().endswith(b"]\n}"):
            raise OSError("it is cut off")
