"""Labels drawn as polygons, burned onto a scene's grid as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio._err import CPLE_BaseError  # PROJ's errors, which rasterio does not wrap
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.features import rasterize
from rasterio.transform import Affine, array_bounds
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.scenes.geotiff import without_warnings
from segapp.scenes.local import require_local, require_own_contents
from segapp.scenes.raster import Georeference
from segapp.scenes.rules import LabelRules
from segapp.windows import Window

VECTOR_SUFFIXES = frozenset({".geojson", ".json", ".gpkg", ".shp", ".fgb", ".kml", ".gml"})
VECTOR_ERRORS = (
    DataSourceError,
    DataLayerError,
    RasterioError,
    CPLE_BaseError,
    shapely.errors.ShapelyError,
    UnicodeDecodeError,
)
"""What is raised where features cannot be read, or cannot be brought to another CRS."""
_UNLABELLED = np.iinfo(np.int32).min


def layer_information(path: Path, layer: str | None = None, *, remedy: str) -> tuple[str | None, dict[str, Any]]:
    """The name of a layer, and what pyogrio finds of it: "crs", "fields", "total_bounds", ...

    Without `layer` it is the only one that has geometries. Raises InputError when the file is missing, holds no vectors
    or has no such layer, and with `remedy` where several have geometries.
    """
    require_local(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    require_own_contents(path)
    try:
        with without_warnings(RuntimeWarning):
            layers = pyogrio.list_layers(path).tolist()
            names = [str(name) for name, kind in layers if kind is not None] or [str(name) for name, _ in layers]
            if layer is None and len(names) > 1:
                listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise InputError(f"{path}: has several layers with geometries; {remedy}: {listed}")
            chosen = layer or (names[0] if names else None)
            return chosen, pyogrio.read_info(path, layer=chosen)
    except DataLayerError:
        raise InputError(f"{path}: has no layer '{layer}'; set 'layer' to one of: {', '.join(names)}") from None
    except (DataSourceError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as vectors ({error}); give GeoJSON, GPKG or a shapefile") from None


def may_be_in(crs: CRS, bounds: Sequence[float] | None) -> bool:
    """False where coordinates are no degrees though `crs` is: GeoJSON without a CRS is often in metres."""
    return not crs.is_geographic or bounds is None or max(map(abs, bounds)) <= 360


def bounds_around(
    shape: tuple[int, int], transform: Affine, crs: CRS | None, target: CRS | None
) -> tuple[float, float, float, float]:
    """West, south, east and north in the CRS `target`, 1 % too wide, of a raster of `shape` (H, W).

    West is greater than east across the date line.
    """
    x1, y1, x2, y2 = array_bounds(*shape, transform)
    bounds = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if crs != target:  # bounds curve between two projections: sampled edges and the margin keep what may touch
        bounds = transform_bounds(crs, target, *bounds, densify_pts=51)
    west, south, east, north = bounds
    margin = 0.01 * max(east - west, north - south)
    return west - margin, south - margin, east + margin, north + margin


def reproject(geometries: np.ndarray, crs: CRS | None, target: CRS | None) -> np.ndarray:
    """Geometries in the CRS `crs`, vertex by vertex, in the CRS `target`."""

    def moved(coordinates: np.ndarray) -> np.ndarray:
        return np.column_stack(transform_points(crs, target, *coordinates.T)) if len(coordinates) else coordinates

    return geometries if crs == target else shapely.transform(geometries, moved)


def around_the_globe(geometries: np.ndarray, west: float, east: float) -> tuple[np.ndarray, np.ndarray]:
    """Geometries in degrees, moved by full turns to where they touch longitudes from `west` to `east`.

    Files cut features at 180 degrees (RFC 7946), which a scene across it is not. Returns (N,) geometries and (N,) their
    indexes, in order.
    """
    first, _, last, _ = shapely.bounds(geometries).T
    moved, indexes = [], []
    for turn in (-360.0, 0.0, 360.0):
        (found,) = np.nonzero((first + turn <= east) & (last + turn >= west))
        if len(found):
            moved.append(shapely.transform(geometries[found], lambda points, by=turn: points + np.array([by, 0.0])))
            indexes.append(found)
    if not moved:
        return geometries[:0], np.zeros(0, int)
    order = np.argsort(together := np.concatenate(indexes), kind="stable")
    return np.concatenate(moved)[order], together[order]


class VectorLabels:
    """Features of a vector file as class ids: a pixel takes the id of the last feature that holds its centre.

    Geometries are brought to the scene's CRS first. Features are read at the first `read`, only those that may touch
    the scene. Raises InputError where the file, its layer, its CRS or the field with the class is missing.
    """

    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path,
        rules: LabelRules,
        image_path: str,
        shape: tuple[int, int],
        georeference: Georeference | None,
        classes: ClassTable,
    ) -> None:
        self.path = str(path)
        self._rules = rules
        self._shape = shape
        self._classes = classes
        self._layer, information = layer_information(
            path, rules.layer, remedy="set 'layer' of the labels to the one with the classes"
        )
        if georeference is None or georeference.crs is None:
            raise InputError(
                f"{image_path}: has no CRS, so the vectors of {path} cannot be placed on it; "
                f"georeference the image or give labels as a raster of its size"
            )
        stated = rules.crs or information["crs"]
        if stated is None:
            raise InputError(f"{path}: has no CRS, so it cannot be placed on {image_path}; set 'crs' of the labels")
        self._transform = Affine(*georeference.transform)
        try:
            self._crs, self._file_crs = CRS.from_wkt(georeference.crs), CRS.from_user_input(stated)
        except (CRSError, ValueError):
            raise InputError(f"{path}: its CRS '{stated}' is not understood; set 'crs' of the labels") from None
        if not may_be_in(self._file_crs, information["total_bounds"]):
            raise InputError(
                f"{path}: its coordinates are no degrees, though its CRS is {stated}; set 'crs' of the labels "
                f"(that of the image is {self._crs.to_string()})"
            )
        extent = information["total_bounds"]
        self._longitudes = () if extent is None else (extent[0], extent[2])
        self._attribute = self._choose_attribute([str(field) for field in information["fields"]])

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        geometries, ids, tree = self._features
        transform = self._transform * Affine.translation(window.col, window.row)
        found = np.sort(tree.query(shapely.box(*array_bounds(*window.shape, transform))))  # in the file's order
        burned = np.full(window.shape, _UNLABELLED, np.int32)
        if len(found):
            rasterize(zip(geometries[found], ids[found].tolist(), strict=True), out=burned, transform=transform)
        return burned, burned != _UNLABELLED

    def _choose_attribute(self, fields: list[str]) -> str:
        attribute = self._rules.attribute or (fields[0] if len(fields) == 1 else None)
        if attribute is None or attribute not in fields:
            missing = "does not say which field holds the class" if attribute is None else f"has no field '{attribute}'"
            listed = ", ".join(fields) or "none, so add one"
            raise InputError(f"{self.path}: {missing}; set 'attribute' of the labels to one of its fields: {listed}")
        return attribute

    @cached_property
    def _features(self) -> tuple[np.ndarray, np.ndarray, shapely.STRtree]:
        """Geometries in the scene's CRS, their (N,) int32 class ids, and an index over them."""
        try:
            bounds = bounds_around(self._shape, self._transform, self._crs, self._file_crs)
            longitudes = (bounds[0], bounds[2], *self._longitudes)
            as_they_are = not self._file_crs.is_geographic or max(map(abs, longitudes)) <= 180
            with without_warnings(RuntimeWarning):
                _, _, wkb, (values,) = pyogrio.raw.read(
                    self.path,
                    layer=self._layer,
                    columns=[self._attribute],
                    bbox=bounds if as_they_are and bounds[0] <= bounds[2] else None,  # else across 180 degrees
                    force_2d=True,
                )
            geometries = shapely.from_wkb(wkb)
            present = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
            geometries, values = reproject(geometries[present], self._file_crs, self._crs), values[present]
            if self._crs.is_geographic:
                west, _, east, _ = bounds_around(self._shape, self._transform, self._crs, self._crs)
                geometries, found = around_the_globe(geometries, west, east)
                values = values[found]
        except VECTOR_ERRORS as error:
            raise InputError(
                f"{self.path}: its features cannot be brought onto the scene ({error}); check them, and its CRS"
            ) from None
        return geometries, self._class_ids(values), shapely.STRtree(geometries)

    def _class_ids(self, values: np.ndarray) -> np.ndarray:
        """(N,) int32 ids of attribute values that are ids or class names; a missing value means unlabelled."""
        id_of_name = {c.name: c.id for c in self._classes.classes}
        ids: list[int] = []
        unknown: dict[str, int] = {}
        for value in values.tolist():
            if value is None or value != value:
                ids.append(_UNLABELLED)
                continue
            try:
                number = id_of_name[value] if value in id_of_name else float(value)
                if int(number) != number or not _UNLABELLED < number <= np.iinfo(np.int32).max:
                    raise ValueError
            except (ValueError, OverflowError):
                unknown[str(value)] = unknown.get(str(value), 0) + 1
                continue
            ids.append(int(number))
        if any(_as_utf8(value) in id_of_name for value in unknown):
            encoding = Path(self.path).with_suffix(".cpg")
            raise InputError(
                f"{self.path}: its text is UTF-8, but no .cpg file states it; write UTF-8 into {encoding.name}"
            )
        if unknown:
            listed = ", ".join(f"'{value}' ({count} features)" for value, count in list(unknown.items())[:3])
            listed += f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise InputError(
                f"{self.path}: field '{self._attribute}' holds neither class names nor ids: {listed}; "
                f"classes: {', '.join(self._classes.names)}"
            )
        return np.array(ids, np.int32)


def _as_utf8(text: str) -> str | None:
    """UTF-8 text that was read as Latin-1 or as Windows' Western European, as it was meant."""
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeError):
            return text.encode(encoding).decode("utf-8")
    return None
