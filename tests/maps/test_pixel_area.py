"""Areas of pixels."""

from __future__ import annotations

import pytest
from rasterio.crs import CRS

from segapp.maps.pixel_area import hectares_of_a_pixel
from segapp.scenes.raster import Georeference

US_SURVEY_FOOT = 1200 / 3937  # metres


def georeference(crs: str | None, *transform: float) -> Georeference:
    return Georeference(CRS.from_user_input(crs).to_wkt() if crs else None, transform or (10.0, 0, 0, 0, -10.0, 0))


def test_metres():
    assert hectares_of_a_pixel(georeference("EPSG:32633")) == pytest.approx(0.01)


def test_feet():
    assert hectares_of_a_pixel(georeference("EPSG:2263")) == pytest.approx(100 * US_SURVEY_FOOT**2 / 10_000)


def test_rotated_pixels_keep_their_area():
    assert hectares_of_a_pixel(georeference("EPSG:32633", 6, 8, 0, 8, -6, 0)) == pytest.approx(0.01)


@pytest.mark.parametrize("nowhere", [None, georeference(None), georeference("EPSG:4326")])
def test_degrees_and_places_unknown_have_no_area(nowhere):
    assert hectares_of_a_pixel(nowhere) is None
