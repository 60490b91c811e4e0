"""The part of a scene that is mapped: a window, the polygons of a vector file, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import geometry_mask
from rasterio.transform import Affine

from segapp.errors import InputError
from segapp.scenes.raster import Georeference
from segapp.scenes.scene import Scene
from segapp.scenes.vectors import (
    VECTOR_ERRORS,
    around_the_globe,
    bounds_around,
    layer_information,
    may_be_in,
    reproject,
)
from segapp.windows import Window, whole


@dataclass(frozen=True)
class Area:
    """The part of a scene that is mapped."""

    window: Window
    """In the scene's pixels, not empty."""
    polygons: tuple[shapely.Polygon, ...] | None = None
    """What of the window is mapped, with x the column and y the row in the scene; None means all of it."""

    def inside(self, window: Window) -> np.ndarray | None:
        """(h, w) bool for a window in the scene's pixels: whether a polygon holds the pixel's centre.

        None means all of it.
        """
        if self.polygons is None:
            return None
        box = shapely.box(window.col, window.row, window.col_stop, window.row_stop)
        found = [self.polygons[i] for i in self._index.query(box)]
        if not found:
            return np.zeros(window.shape, bool)
        inside = geometry_mask(found, window.shape, Affine.translation(window.col, window.row), invert=True)
        return None if inside.all() else inside

    @cached_property
    def _index(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)


def area_of(scene: Scene, window: Window | None = None, aoi: Path | None = None) -> Area:
    """What of `window` (by default all) and of the polygons of the vector file `aoi` lies in `scene`.

    Polygons are brought to the scene's CRS vertex by vertex. In a scene without CRS they must have none either, and
    stand in the coordinates of its transform, or in pixels (column, row). Raises InputError where nothing is left, and
    where the file holds no polygons or cannot be placed.
    """
    extent = whole(scene.shape)
    if window is not None:
        extent = window.intersect(extent)
        if extent.empty:
            raise InputError(
                f"{scene.path}: of the window of {window.height}x{window.width} pixels from row {window.row} and "
                f"column {window.col} nothing lies in its {scene.shape[0]}x{scene.shape[1]} pixels; choose another"
            )
    if aoi is None:
        return Area(extent)
    polygons = _polygons(aoi, scene)
    if len(polygons):
        west, north, east, south = shapely.total_bounds(polygons)
        row, col = math.ceil(north - 0.5), math.ceil(west - 0.5)  # the first with its centre inside, and the last:
        last_row, last_col = math.floor(south - 0.5), math.floor(east - 0.5)
        extent = extent.intersect(Window(row, col, last_row + 1 - row, last_col + 1 - col))
    if extent.empty or not len(polygons):
        where = scene.path if window is None else f"the window of {scene.path}"
        raise InputError(
            f"{aoi}: none of its polygons lies in {where}; give polygons of that place, or check their CRS"
        )
    return Area(extent, tuple(polygons))


def _polygons(path: Path, scene: Scene) -> np.ndarray:
    """The polygons of `path` that touch `scene` or its margin, with x the column and y the row in it."""
    layer, information = layer_information(path, remedy="save the one with the area as a file of its own")
    georeference = scene.georeference or Georeference(None, tuple(Affine.identity())[:6])
    stated = information["crs"]
    if stated is None and georeference.crs is not None:
        raise InputError(f"{path}: has no CRS, so it cannot be placed on {scene.path}; assign one (ogr2ogr -a_srs)")
    if stated is not None and georeference.crs is None:
        raise InputError(
            f"{scene.path}: has no CRS, so {path} cannot be placed on it; assign one (gdal_edit -a_srs), or give "
            f"polygons without a CRS (GPKG or a shapefile) in the coordinates of the image"
        )
    try:
        crs = CRS.from_wkt(georeference.crs) if georeference.crs else None
        file_crs = CRS.from_user_input(stated) if stated else None
        if file_crs and not may_be_in(file_crs, information["total_bounds"]):
            raise InputError(
                f"{path}: its coordinates are no degrees, though its CRS is {stated}; save it with its CRS"
            )
        _, _, wkb, _ = pyogrio.raw.read(path, layer=layer, columns=[], force_2d=True)
        polygons = _parts(shapely.from_wkb(wkb) if wkb is not None else np.empty(0, object))
        if not len(polygons):
            raise InputError(f"{path}: holds no polygons; draw the area as one or more")
        transform = Affine(*georeference.transform)
        region = _region(bounds_around(scene.shape, transform, crs, file_crs), file_crs)
        polygons = reproject(_cut(polygons, region), file_crs, crs)
        if crs is not None and crs.is_geographic:
            west, _, east, _ = bounds_around(scene.shape, transform, crs, crs)
            polygons, _ = around_the_globe(polygons, west, east)
        polygons = polygons[np.isfinite(shapely.bounds(polygons)).all(axis=1)]  # the others have no place there
    except (*VECTOR_ERRORS, CRSError) as error:
        raise InputError(f"{path}: its polygons cannot be brought onto {scene.path} ({error}); reproject it") from None
    to_pixels = ~transform
    return shapely.transform(polygons, lambda points: np.column_stack(to_pixels * (points[:, 0], points[:, 1])))


def _region(bounds: tuple[float, float, float, float], crs: CRS | None) -> shapely.Geometry:
    """What lies within `bounds`; in degrees also a full turn west and east of it."""
    west, south, east, north = bounds
    if crs is None or not crs.is_geographic:
        return shapely.box(*bounds)
    east += 360 if west > east else 0  # across 180 degrees
    return shapely.union_all([shapely.box(west + turn, south, east + turn, north) for turn in (-360, 0, 360)])


def _cut(polygons: np.ndarray, region: shapely.Geometry) -> np.ndarray:
    """What of `polygons` lies in `region`: coordinates far from the scene may have none in its CRS."""
    shapely.prepare(region)
    polygons = polygons[shapely.intersects(region, polygons)]
    within = shapely.contains(region, polygons)
    cut = shapely.intersection(region, shapely.make_valid(polygons[~within]))
    return np.concatenate([polygons[within], _parts(cut)])


def _parts(geometries: np.ndarray) -> np.ndarray:
    """The polygons of which `geometries` consist; missing ones, points and lines are left out."""
    parts = shapely.get_parts(shapely.get_parts(geometries[~shapely.is_missing(geometries)]))  # of collections too
    return parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]
