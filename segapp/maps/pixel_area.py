"""How much land a pixel covers."""

from __future__ import annotations

from rasterio.crs import CRS
from rasterio.transform import Affine

from segapp.scenes.raster import Georeference

_SQUARE_METRES = 10_000  # of a hectare


def hectares_of_a_pixel(georeference: Georeference | None) -> float | None:
    """The area of one pixel on the map's plane, in hectares; None where the CRS is not projected, or there is none."""
    if georeference is None or georeference.crs is None:
        return None
    crs = CRS.from_wkt(georeference.crs)
    if not crs.is_projected:
        return None
    _, metres = crs.linear_units_factor
    return abs(Affine(*georeference.transform).determinant) * metres**2 / _SQUARE_METRES
