"""Areas of pixels are those of the land, whatever the CRS."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Geod, Transformer
from rasterio.crs import CRS

from segapp.maps.pixel_area import hectares_by_row
from segapp.scenes.raster import Georeference

US_SURVEY_FOOT = 1200 / 3937  # metres


def georeference(crs: str | None, *transform: float) -> Georeference:
    return Georeference(CRS.from_user_input(crs).to_wkt() if crs else None, transform or (10.0, 0, 0, 0, -10.0, 0))


@pytest.mark.parametrize(
    ("place", "hectares"),
    [
        (georeference("EPSG:32633"), 0.01),
        (georeference("EPSG:2263"), 100 * US_SURVEY_FOOT**2 / 10_000),
        (georeference("EPSG:32633", 6, 8, 0, 8, -6, 0), 0.01),  # rotated
        (georeference("EPSG:3035", 10, 0, 4e6, 0, -10, 3e6), 0.01),  # of equal area
    ],
)
def test_areas_of_maps_that_hardly_distort_are_those_of_the_plane(place: Georeference, hectares: float) -> None:
    found = hectares_by_row(place, (40, 30))
    assert found is not None and found.shape == (40,)
    np.testing.assert_allclose(found, hectares, rtol=1e-9)


def geodesic(crs: str, corners: np.ndarray) -> float:
    """Hectares of a polygon whose edges are straight in `crs`, (N, 2), by 2000 points along each."""
    x, y = (np.interp(np.linspace(0, 4, 8001), range(5), [*column, column[0]]) for column in corners.T)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*to_degrees.transform(x, y))
    return abs(area) / 10_000


@pytest.mark.parametrize("pixel", [0.05, 10, 1000])
@pytest.mark.parametrize("northing", [0, 4e6, 8399737.89, 1.4e7, -1.2e7])
def test_areas_in_web_mercator_are_those_on_the_ellipsoid(pixel: float, northing: float) -> None:
    height, width = 50, 40
    found = hectares_by_row(georeference("EPSG:3857", pixel, 0, 0, 0, -pixel, northing), (height, width))
    south, east = northing - height * pixel, width * pixel
    corners = np.array([[0, northing], [east, northing], [east, south], [0, south]])
    assert found is not None and found.sum() * width == pytest.approx(
        geodesic("EPSG:3857", corners), rel=1e-3 if pixel < 1 else 1e-6
    )


@pytest.mark.parametrize(
    ("pixel", "west", "north"),
    [(1e-4, 15, 60.001), (0.01, -180, 0.2), (0.01, 179.8, 80.5), (0.5, 0, 45), (1, -180, 90), (0.01, 0, 90)],
)
def test_areas_in_degrees_are_those_on_the_ellipsoid(pixel: float, west: float, north: float) -> None:
    height, width = 50, 40
    found = hectares_by_row(georeference("EPSG:4326", pixel, 0, west, 0, -pixel, north), (height, width))
    south, east = north - height * pixel, west + width * pixel
    corners = np.array([[west, north], [east, north], [east, south], [west, south]])
    assert found is not None and found.sum() * width == pytest.approx(geodesic("EPSG:4326", corners), rel=2e-4)


def test_all_pixels_of_the_earth_are_the_earth() -> None:
    found = hectares_by_row(georeference("EPSG:4326", 0.1, 0, -180, 0, -0.1, 90), (1800, 3600))
    assert found is not None and found.sum() * 3600 == pytest.approx(510_065_621_724_000 / 10_000, rel=1e-4)


def test_polar_maps_have_the_areas_of_their_rows() -> None:
    found = hectares_by_row(georeference("EPSG:3995", 1000, 0, -3e6, 0, -1000, 3e6), (6000, 6000))
    assert found is not None and found.min() < 99 < found.max()  # true at 71 degrees north


@pytest.mark.parametrize("nowhere", [None, georeference(None), Georeference('LOCAL_CS["x",UNIT["metre",1]]', (1,) * 6)])
def test_places_unknown_have_no_area(nowhere: Georeference | None) -> None:
    assert hectares_by_row(nowhere, (4, 5)) is None
