"""How much land the pixels of a raster cover."""

from __future__ import annotations

import numpy as np
import pyproj
from pyproj.exceptions import CRSError, ProjError
from rasterio.crs import CRS
from rasterio.transform import Affine

from segapp.scenes.raster import Georeference

_SQUARE_METRES = 10_000  # of a hectare
_METRES_OF_A_DEGREE = 111_320
_CELL = 500  # metres: GeographicLib's areas are true to 0.1 square metres a vertex, too little for single pixels
_ROWS, _COLUMNS = 257, 9  # at most, at which areas are computed; between rows they are interpolated
_EDGE = np.linspace(-0.5, 0.5, 5)[:-1]  # along each edge of a cell, which need not be a geodesic
_TRUE_TO = 0.006
"""Projections whose areas are that close to those on the ellipsoid keep the areas of their plane: UTM, national grids.

Web Mercator is 0.7 % off even at the equator."""


def hectares_by_row(georeference: Georeference | None, shape: tuple[int, int]) -> np.ndarray | None:
    """(H,) area in hectares of a pixel in each row of a raster of `shape` (H, W); None where the CRS gives none.

    In degrees and in projections such as Web Mercator, whose plane changes areas by more than 0.6 %, areas are those on
    the ellipsoid (Karney 2013, by pyproj.Geod), the mean of a row; elsewhere they are those of the plane.
    """
    if georeference is None or georeference.crs is None:
        return None
    transform = Affine(*georeference.transform)
    crs = CRS.from_wkt(georeference.crs)
    planar = None
    if crs.is_projected:
        _, metres = crs.linear_units_factor
        planar = abs(transform.determinant) * metres**2 / _SQUARE_METRES
    elif not crs.is_geographic:
        return None
    try:
        on_ellipsoid = _on_ellipsoid(georeference.crs, transform, shape, metres if planar else _METRES_OF_A_DEGREE)
    except (CRSError, ProjError):
        on_ellipsoid = None
    if planar is not None and (on_ellipsoid is None or np.nanmax(np.abs(on_ellipsoid / planar - 1)) <= _TRUE_TO):
        return np.full(shape[0], planar)
    if on_ellipsoid is None:
        return None
    rows, mean = _row_centres(shape[0]), np.nanmean(on_ellipsoid, axis=1)
    return np.interp(np.arange(shape[0]) + 0.5, rows, mean)


def _on_ellipsoid(wkt: str, transform: Affine, shape: tuple[int, int], metres: float) -> np.ndarray | None:
    """(rows, columns) hectares of a pixel at some places, NaN where the CRS is not defined; None where it is nowhere.

    `metres` is the length of a unit of the CRS, roughly.
    """
    crs = pyproj.CRS.from_wkt(wkt)
    geodetic, ellipsoid = crs.geodetic_crs, crs.get_geod()
    if geodetic is None or ellipsoid is None:
        return None
    pixels = max(1, round(_CELL / (metres * abs(transform.determinant) ** 0.5)))  # a side of a cell
    x = np.concatenate([_EDGE, np.full(4, 0.5), -_EDGE, np.full(4, -0.5)]) * pixels
    y = np.concatenate([np.full(4, -0.5), _EDGE, np.full(4, 0.5), -_EDGE]) * pixels
    rows = _row_centres(shape[0])[:, np.newaxis, np.newaxis]
    columns = (np.linspace(0.5, shape[1] - 0.5, min(shape[1], _COLUMNS)))[np.newaxis, :, np.newaxis]
    rows, columns = np.broadcast_arrays(rows + y, columns + x)
    a, b, c, d, e, f = tuple(transform)[:6]
    to_degrees = pyproj.Transformer.from_crs(crs, geodetic, always_xy=True)
    longitudes, latitudes = to_degrees.transform(a * columns + b * rows + c, d * columns + e * rows + f)
    latitudes = np.clip(latitudes, -90, 90)
    areas = np.full(rows.shape[:2], np.nan)
    for place in np.argwhere(np.isfinite(longitudes + latitudes).all(axis=-1)):
        area, _ = ellipsoid.polygon_area_perimeter(longitudes[tuple(place)], latitudes[tuple(place)])
        areas[tuple(place)] = abs(area) / pixels**2 / _SQUARE_METRES
    if np.isnan(areas).all():
        return None
    areas[np.isnan(areas).all(axis=1)] = 0  # rows beside the Earth
    return areas


def _row_centres(height: int) -> np.ndarray:
    return np.linspace(0.5, height - 0.5, min(height, _ROWS))
