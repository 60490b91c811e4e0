"""Places on Earth: across 180 degrees, by ground control points or polynomials alone, and by world files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.writers import open_writer
from segapp.prediction.area import area_of
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.windows import Window, whole
from tests.scenes.test_geotiff import write_tiff

CLASSES = ClassTable.model_validate({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]})
SIDE = 64


def box(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def features(path: Path, *parts: tuple[str, dict[str, Any]]) -> Path:
    listed = [{"type": "Feature", "properties": {"cls": name}, "geometry": geometry} for name, geometry in parts]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": listed}))
    return path


def polygon(*corners: float) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": box(*corners)}


def ids(image: Path, labels: Path) -> np.ndarray:
    scene = open_scene([image], ImageRules(), label_file=labels, label_rules=LabelRules(), classes=CLASSES)
    found, labelled = scene.read_label_ids(whole(scene.shape))
    return np.where(labelled, found.astype(int), 0)


class TestAcross180Degrees:
    HALVES = np.repeat([[1, 2]], SIDE, 0).repeat(SIDE // 2, 1)

    def image(self, folder: Path, west: float) -> Path:
        place = {"crs": "EPSG:4326", "transform": Affine(2 / SIDE, 0, west, 0, -2 / SIDE, 10)}
        return write_tiff(folder / "i.tif", np.ones((SIDE, SIDE), np.uint8), **place)

    @pytest.mark.parametrize("west", [179, -181])
    @pytest.mark.parametrize(
        ("eastern", "western"), [((179, 180), (-180, -179)), ((179, 180), (180, 181)), ((-181, -180), (-180, -179))]
    )
    def test_polygons_are_where_they_are_on_earth(
        self, tmp_path: Path, west: float, eastern: tuple[float, float], western: tuple[float, float]
    ) -> None:
        parts = [(name, polygon(w, 8, e, 10)) for name, (w, e) in (("a", eastern), ("b", western))]
        labels = features(tmp_path / "l.geojson", *parts)
        np.testing.assert_array_equal(ids(self.image(tmp_path, west), labels), self.HALVES)

    def test_a_feature_of_two_parts_is_on_both_sides_and_the_last_feature_wins(self, tmp_path: Path) -> None:
        both = {"type": "MultiPolygon", "coordinates": [box(179, 8, 180, 10), box(-180, 8, -179, 10)]}
        labels = features(tmp_path / "l.geojson", ("a", both), ("b", polygon(-180, 8, -179, 10)))
        np.testing.assert_array_equal(ids(self.image(tmp_path, 179), labels), self.HALVES)

    def test_polygons_in_degrees_are_placed_on_utm(self, tmp_path: Path) -> None:
        x, y = Transformer.from_crs(4326, 32660, always_xy=True).transform(180, 9)
        place = {"crs": "EPSG:32660", "transform": Affine(100, 0, round(x) - 3200, 0, -100, round(y))}
        image = write_tiff(tmp_path / "i.tif", np.ones((SIDE, SIDE), np.uint8), **place)
        labels = features(tmp_path / "l.geojson", ("a", polygon(179, 8, 180, 10)), ("b", polygon(-180, 8, -179, 10)))
        assert (ids(image, labels) == self.HALVES).mean() > 0.98

    @pytest.mark.parametrize("west", [179, -181])
    def test_rasters_a_turn_away_are_placed(self, tmp_path: Path, west: float) -> None:
        other = -181 if west == 179 else 179
        place = {"crs": "EPSG:4326", "transform": Affine(1 / SIDE, 0, other, 0, -1 / SIDE, 10)}
        fine = write_tiff(tmp_path / "l.tif", self.HALVES.repeat(2, 0).repeat(2, 1).astype(np.uint8), **place)
        np.testing.assert_array_equal(ids(self.image(tmp_path, west), fine), self.HALVES)

    def test_rasters_that_are_cut_there_are_refused(self, tmp_path: Path) -> None:
        place = {"crs": "EPSG:4326", "transform": Affine(1, 0, -180, 0, -1, 90)}
        world = write_tiff(tmp_path / "l.tif", np.ones((180, 360), np.uint8), **place)
        with pytest.raises(InputError, match=r"l\.tif: is cut where the image goes on, at 180 degrees; reproject"):
            ids(self.image(tmp_path, 179), world)
        assert (ids(self.image(tmp_path, 177), world) == 1).all()

    @pytest.mark.parametrize("west", [179, -181])
    def test_an_area_may_be_cut_there(self, tmp_path: Path, west: float) -> None:
        scene = open_scene([self.image(tmp_path, west)], ImageRules())
        both = features(
            tmp_path / "a.geojson", ("x", polygon(179.5, 8.5, 180, 9.5)), ("y", polygon(-180, 8.5, -179.5, 9.5))
        )
        area = area_of(scene, None, both)
        assert area.window == Window(16, 16, 32, 32) and area.inside(area.window) is None


POINTS = [
    GroundControlPoint(row=row, col=col, x=500_000 + 10 * col, y=5_000_000 - 10 * row)
    for row in (0, 64)
    for col in (0, 64)
]
POLYNOMIALS = RPC(
    height_off=0, height_scale=100, lat_off=45, lat_scale=1, long_off=15, long_scale=1, line_off=32, line_scale=32,
    samp_off=30, samp_scale=32, line_num_coeff=[0, 0, -1, *[0] * 17], line_den_coeff=[1, *[0] * 19],
    samp_num_coeff=[0, 1, *[0] * 18], samp_den_coeff=[1, *[0] * 19],
)  # fmt: skip


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("kind", ["points", "polynomials", "both"])
def test_what_places_a_scene_without_a_transform_is_kept_in_maps_and_said(tmp_path: Path, kind: str, cog: bool) -> None:
    file = write_tiff(tmp_path / "i.tif", np.ones((SIDE, SIDE), np.uint8))
    with rasterio.open(file, "r+") as opened:
        if kind != "polynomials":
            opened.gcps = (POINTS, CRS.from_epsg(32633))
        if kind != "points":
            opened.rpcs = POLYNOMIALS
    scene = open_scene([file], ImageRules())
    (remark,) = scene.remarks
    words = {
        "points": "4 ground control points alone",
        "polynomials": "rational polynomials (RPC) alone",
        "both": "4 g",
    }
    assert words[kind] in remark and "GeoTIFF maps keep them" in remark and scene.georeference is None
    points = scene.raster.control_points
    assert points is not None
    window = Window(8, 4, 32, 40)
    writer = open_writer(
        tmp_path / "m.tif", "classes", window.shape, None, CLASSES, {}, cog=cog, control_points=points.of_window(window)
    )
    writer.write(Window(0, 0, *window.shape), np.ones(window.shape, np.uint8))
    writer.close()
    writer.deliver()
    with rasterio.open(tmp_path / "m.tif") as written:
        found, crs = written.gcps
        if kind != "polynomials":
            assert crs.to_epsg() == 32633
            assert {(p.row + 8, p.col + 4, p.x, p.y) for p in found} == {(p.row, p.col, p.x, p.y) for p in POINTS}
        if kind != "points":
            assert (written.rpcs.line_off, written.rpcs.samp_off) == (24, 26)


@pytest.mark.parametrize(("suffix", "world"), [(".png", ".pgw"), (".jpg", ".jgw"), (".png", ".wld"), (".jpeg", ".jgw")])
def test_world_files_place_pictures(tmp_path: Path, suffix: str, world: str) -> None:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / f"i{suffix}")
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / f"without{suffix}")
    assert open_raster(tmp_path / f"without{suffix}").georeference is None
    (tmp_path / f"i{world}").write_text("2\n0\n0\n-2\n500001\n4999999\n")
    raster = open_raster(tmp_path / f"i{suffix}")
    assert raster.georeference == Georeference(None, (2, 0, 500_000, 0, -2, 5_000_000))


def test_a_crs_beside_a_picture_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "i.png")
    with rasterio.open(tmp_path / "i.png", "r+") as opened:
        opened.transform, opened.crs = Affine(2, 0, 500_000, 0, -2, 5_000_000), CRS.from_epsg(32633)
    found = open_raster(tmp_path / "i.png").georeference
    assert found is not None and found.crs is not None and CRS.from_wkt(found.crs).to_epsg() == 32633
