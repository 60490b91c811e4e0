"""The part of a scene that is mapped: windows and polygons, by window and in the scene's own pixels."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from segapp.errors import InputError
from segapp.prediction.area import Area, area_of
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules
from segapp.windows import Window, grid, whole
from tests.scenes.test_geotiff import write_tiff

HEIGHT, WIDTH = 60, 80
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 6_000_000)


def scene_of(folder: Path, crs: str | None = "EPSG:32633", transform: Affine | None = TRANSFORM) -> RasterScene:
    place = {} if transform is None else {"transform": transform}
    write_tiff(folder / "scene.tif", np.zeros((HEIGHT, WIDTH), np.uint8), crs=crs, **place)
    return open_scene([folder / "scene.tif"], ImageRules())


def save(path: Path, shapes: list[Any], crs: str | None = "EPSG:32633", transform: Affine | None = TRANSFORM) -> Path:
    """`shapes` in pixels (x the column, y the row), written in the coordinates of `transform`."""

    def placed(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transform * points.T) if transform is not None else points

    if crs is None:
        warnings.filterwarnings("ignore", "'crs' was not provided")
    kind = shapes[0].geom_type if len({shape.geom_type for shape in shapes}) == 1 else "Unknown"
    wkb = shapely.to_wkb(shapely.transform(np.array(shapes), placed))
    pyogrio.raw.write(path, wkb, [], [], geometry_type=kind, crs=crs)
    return path


def mask_of(area: Area, shape: tuple[int, int] = (HEIGHT, WIDTH), tile: tuple[int, int] = (17, 23)) -> np.ndarray:
    """(H, W) bool: what `area` holds, asked tile by tile."""
    mask = np.zeros(shape, bool)
    for window in grid(area.window, *tile):
        inside = area.inside(window)
        mask[window.slices] = True if inside is None else inside
    return mask


def test_without_a_choice_all_of_the_scene_is_mapped(tmp_path: Path) -> None:
    area = area_of(scene_of(tmp_path))
    assert area.window == whole((HEIGHT, WIDTH)) and area.inside(area.window) is None


@given(st.integers(-90, 90), st.integers(-90, 90), st.integers(-5, 99), st.integers(-5, 99))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_is_cut_at_the_edges_and_must_hold_something(
    tmp_path: Path, row: int, col: int, height: int, width: int
) -> None:
    scene, window = scene_of(tmp_path), Window(row, col, height, width)
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[max(row, 0) : max(row + height, 0), max(col, 0) : max(col + width, 0)] = True
    if wanted.any():
        np.testing.assert_array_equal(mask_of(area_of(scene, window)), wanted)
    else:
        with pytest.raises(InputError, match=r"scene\.tif: of the window .* nothing lies in its 60x80 pixels"):
            area_of(scene, window)


# thousandths, moved by what no slope between two of them makes up: no edge runs through a pixel's centre
thousandths = st.floats(-20, 100).map(lambda x: round(x, 3))
corners = st.tuples(thousandths.map(lambda x: x + math.pi * 1e-5), thousandths.map(lambda y: y + math.e * 1e-5))


def star(points: list[tuple[float, float]]) -> shapely.Polygon:
    """The polygon that visits `points` in their order around their centre."""
    x, y = np.mean(points, axis=0)
    return shapely.Polygon(sorted(points, key=lambda point: math.atan2(point[1] - y, point[0] - x)))


polygons = st.lists(corners, min_size=3, max_size=8, unique=True).map(star).filter(lambda shape: shape.is_valid)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(polygons, min_size=1, max_size=3), st.sampled_from([None, Window(10, 20, 30, 25)]))
def test_polygons_asked_by_window_are_the_polygons_burned_at_once(
    tmp_path: Path, shapes: list[shapely.Polygon], window: Window | None
) -> None:
    scene = scene_of(tmp_path)
    placed = [shapely.transform(shape, lambda points: np.column_stack(TRANSFORM * points.T)) for shape in shapes]
    expected = geometry_mask(placed, (HEIGHT, WIDTH), TRANSFORM, invert=True)
    if window is not None:
        outside = np.ones_like(expected)
        outside[window.slices] = False
        expected[outside] = False
    aoi = save(tmp_path / "aoi.fgb", shapes)
    if not expected.any():
        try:
            assert not mask_of(area_of(scene, window, aoi)).any()
        except InputError as error:
            assert "none of its polygons lies in" in str(error)
        return
    np.testing.assert_array_equal(mask_of(area_of(scene, window, aoi)), expected)


def test_a_polygon_that_crosses_itself_outside_the_scene_is_mended(tmp_path: Path) -> None:
    crossing = shapely.Polygon([(10, 10), (200, 10), (100, -50), (120, 50), (10, 30)])
    assert not crossing.is_valid
    mask = mask_of(area_of(scene_of(tmp_path), aoi=save(tmp_path / "aoi.gpkg", [crossing])))
    assert mask[10:29, 10:80].all() and not mask[:10].any() and not mask[:, :10].any()


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb"])
def test_the_window_is_the_bounding_box_of_the_polygons_cut_at_the_scene(tmp_path: Path, suffix: str) -> None:
    hole = shapely.Polygon(shapely.box(70, 5, 99, 30).exterior, [shapely.box(72, 7, 74, 9).exterior])
    aoi = save(tmp_path / f"aoi{suffix}", [hole, shapely.box(60.2, 20.2, 63.7, 40.7)])
    area = area_of(scene_of(tmp_path), aoi=aoi)
    assert area.window == Window(5, 60, 36, 20)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:30, 70:], expected[7:9, 72:74], expected[20:41, 60:64] = True, False, True
    np.testing.assert_array_equal(mask_of(area), expected)
    assert area.inside(Window(6, 75, 4, 4)) is None
    both = area_of(scene_of(tmp_path), Window(0, 0, 25, 65), aoi)
    assert both.window == Window(5, 60, 20, 5)
    np.testing.assert_array_equal(mask_of(both)[:25, :65], expected[:25, :65])


def test_an_area_can_be_sent_to_another_process(tmp_path: Path) -> None:
    area = area_of(scene_of(tmp_path), aoi=save(tmp_path / "aoi.gpkg", [shapely.box(3, 4, 9.4, 7)]))
    expected = mask_of(area)
    sent = pickle.loads(pickle.dumps(area))
    assert sent == area
    np.testing.assert_array_equal(mask_of(sent), expected)


def to_degrees(points: np.ndarray) -> np.ndarray:
    return np.column_stack(transform_points("EPSG:32633", "EPSG:4326", *points.T))


def test_degrees_are_brought_to_the_crs_of_the_scene(tmp_path: Path) -> None:
    shape = shapely.transform(shapely.box(10, 20, 30, 45), lambda points: np.column_stack(TRANSFORM * points.T))
    aoi = save(tmp_path / "aoi.geojson", [shapely.transform(shape, to_degrees)], "EPSG:4326", transform=None)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:45, 10:30] = True
    np.testing.assert_array_equal(mask_of(area_of(scene_of(tmp_path), aoi=aoi)), expected)


def test_a_polygon_of_half_the_world_can_be_cut_to_the_scene(tmp_path: Path) -> None:
    # many of its vertices have no place in the scene's UTM zone; its western edge runs through the scene
    west = to_degrees(np.array([[500_400.0, 5_999_700.0]]))[0, 0]
    aoi = save(tmp_path / "aoi.geojson", [shapely.box(west, -90, 180, 90)], "EPSG:4326", transform=None)
    mask = mask_of(area_of(scene_of(tmp_path), aoi=aoi))
    assert mask[:, 41:].all() and not mask[:, :39].any()


def test_polygons_on_both_sides_of_the_date_line_are_found(tmp_path: Path) -> None:
    transform = Affine(1000, 0, 790_000, 0, -1000, 100_000)  # zone 60 reaches over 180 degrees here
    shapes = [shapely.box(179.0, 0.2, 179.9, 0.8), shapely.box(-179.9, 0.2, -179.6, 0.8)]
    aoi = save(tmp_path / "aoi.geojson", shapes, "EPSG:4326", transform=None)
    mask = mask_of(area_of(scene_of(tmp_path, "EPSG:32660", transform), aoi=aoi))
    columns = np.flatnonzero(mask[50])
    assert len(columns) and (np.diff(columns) > 1).sum() == 1  # two parts


@pytest.mark.parametrize("transform", [None, Affine(2, 0, 100, 0, -2, 50)])
def test_a_scene_without_crs_takes_polygons_without_one(tmp_path: Path, transform: Affine | None) -> None:
    scene = scene_of(tmp_path, None, transform)
    area = area_of(scene, aoi=save(tmp_path / "aoi.shp", [shapely.box(3, 4, 9, 7)], None, transform))
    assert area.window == Window(4, 3, 3, 6) and mask_of(area).sum() == 18


def test_polygons_in_collections_count_and_points_do_not(tmp_path: Path) -> None:
    collection = shapely.GeometryCollection([shapely.Point(50, 50), shapely.MultiPolygon([shapely.box(3, 4, 9, 7)])])
    aoi = save(tmp_path / "aoi.geojson", [collection, shapely.LineString([(0, 0), (70, 50)])])
    assert area_of(scene_of(tmp_path), aoi=aoi).window == Window(4, 3, 3, 6)


def test_areas_that_cannot_be_placed_say_why(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "plain").mkdir()
    scene, plain = scene_of(tmp_path), scene_of(tmp_path / "plain", None, None)
    box = shapely.box(3, 4, 9, 7)
    good = save(tmp_path / "good.gpkg", [box])
    empty = tmp_path / "empty.geojson"
    empty.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    broken = tmp_path / "broken.geojson"
    broken.write_text(empty.read_text()[:20])
    for where, aoi, message in (
        (scene, save(tmp_path / "bare.shp", [box], None), r"bare\.shp: has no CRS, so it cannot be placed on .*scene"),
        (plain, good, r"scene\.tif: has no CRS, so .*good\.gpkg cannot be placed on it"),
        (scene, save(tmp_path / "points.gpkg", [shapely.Point(3, 4)]), r"points\.gpkg: holds no polygons"),
        (scene, empty, r"empty\.geojson: holds no polygons"),
        (scene, broken, r"broken\.geojson: cannot be read as vectors"),
        (scene, tmp_path / "none.gpkg", r"none\.gpkg: no such file"),
        (scene, save(tmp_path / "far.gpkg", [shapely.box(900, 4, 909, 7)]), r"far\.gpkg: none of its polygons lies in"),
        (scene, save(tmp_path / "between.gpkg", [shapely.box(9.6, 9.6, 10.4, 10.4)]), r"between\.gpkg: none of its"),
        (scene, shared_data / "rstoolbox" / "lsat_polygons.geojson", r"its coordinates are no degrees, though"),
    ):
        with pytest.raises(InputError, match=message) as told:
            area_of(where, aoi=aoi)
        assert "\n" not in str(told.value)
    with pytest.raises(InputError, match=r"good\.gpkg: none of its polygons lies in the window of .*scene\.tif"):
        area_of(scene, Window(30, 30, 5, 5), good)
    lost = scene_of(tmp_path / "plain", "EPSG:4326", Affine(1, 0, 5e5, 0, 1, 5e5))
    with pytest.raises(InputError, match=r"good\.gpkg: "):
        area_of(lost, aoi=good)
