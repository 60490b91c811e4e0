"""From a map by a drawn sample, which somebody fills in, to areas with intervals; what does not fit is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from click.testing import CliRunner

from segapp.cli import main
from segapp.errors import InputError
from segapp.estimation.area import area, draw_points
from segapp.maps.record import ClassArea, MapRecord, write_record

SIDE = 200
UTM = rasterio.Affine(30, 0, 400_000, 0, -30, 5_000_000)
DEGREES = rasterio.Affine(0.1, 0, 5, 0, -0.1, 70)


def _write(file: Path, ids: np.ndarray, crs: str = "EPSG:32632", transform: rasterio.Affine = UTM) -> Path:
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(file, "w", **profile, nodata=0, crs=crs, transform=transform) as target:
        target.write(ids, 1)
    return file


def _truth() -> np.ndarray:
    """Forest, some water, a rare third class, and a corner without data."""
    truth = np.full((SIDE, SIDE), 1, np.uint8)
    truth[50:120, 30:110] = 2
    truth[150:160, 150:170] = 3
    truth[:10, :10] = 0
    return truth


@pytest.fixture
def wrong_map(tmp_path: Path) -> Path:
    """A map that takes a twentieth of the forest for water."""
    ids = _truth()
    ids[(np.random.default_rng(0).random(ids.shape) < 0.05) & (ids == 1)] = 2
    file = _write(tmp_path / "map.tif", ids)
    classes = [ClassArea(id=i, name=name, pixels=0) for i, name in ((1, "forest"), (2, "water"), (3, "rare"))]
    write_record(file, MapRecord(scene="x", map="map.tif", classes=tuple(classes), nodata_pixels=0))
    return file


def _fill_in(points: Path, truth: np.ndarray, transform: rasterio.Affine = UTM) -> Path:
    """What an interpreter does: the true class to each point."""
    meta, _, wkb, values = pyogrio.raw.read(points)
    at = shapely.get_coordinates(shapely.from_wkb(wkb))
    columns, rows = ~transform * (at[:, 0], at[:, 1])
    fields = dict(zip(meta["fields"].tolist(), values, strict=True))
    fields["class_id"] = truth[rows.astype(int), columns.astype(int)].astype(np.int32)
    filled = points.with_name("filled.gpkg")
    pyogrio.raw.write(filled, wkb, list(fields.values()), list(fields), geometry_type="Point", crs=meta["crs"])
    return filled


def test_a_drawn_sample_that_is_filled_in_corrects_the_map(wrong_map: Path, tmp_path: Path) -> None:
    drawn = draw_points(wrong_map, tmp_path / "points.gpkg", target_error=0.02)
    assert set(drawn) == {"forest", "water", "rare"} and min(drawn.values()) == 50
    found = area(wrong_map, _fill_in(tmp_path / "points.gpkg", _truth()))
    for entry in found.classes:
        true = (_truth() == entry.id).sum() * 0.09
        assert abs(entry.hectares.value - true) <= max(entry.hectares.margin, 1e-6)
    water = found.classes[1]
    assert water.mapped_hectares > water.hectares.value + water.hectares.margin
    assert water.users_accuracy.value < 0.9 and water.producers_accuracy.value == pytest.approx(1)
    assert found.points == sum(drawn.values()) and not found.notes


def test_each_pixel_is_drawn_once_and_lies_in_its_stratum(wrong_map: Path, tmp_path: Path) -> None:
    draw_points(wrong_map, tmp_path / "points.gpkg", minimum=500)  # the rare class has 200 pixels
    meta, _, wkb, values = pyogrio.raw.read(tmp_path / "points.gpkg")
    fields = dict(zip(meta["fields"].tolist(), values, strict=True))
    at = shapely.get_coordinates(shapely.from_wkb(wkb))
    assert len(np.unique(at, axis=0)) == len(at)
    with rasterio.open(wrong_map) as source:
        assert [int(value[0]) for value in source.sample(at)] == fields["stratum"].tolist()
    assert (fields["stratum"] == 3).sum() == 200
    assert np.isnan(fields["class_id"].astype(float)).all()  # to be filled in


def test_the_same_seed_draws_the_same_points(wrong_map: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_points(wrong_map, tmp_path / f"{name}.gpkg", seed=seed)
    one, same, other = (pyogrio.raw.read(tmp_path / f"{name}.gpkg")[2].tolist() for name in "abc")
    assert one == same and one != other


def test_in_degrees_places_are_drawn_by_their_area(tmp_path: Path) -> None:
    file = _write(tmp_path / "map.tif", np.ones((600, 20), np.uint8), "EPSG:4326", DEGREES)  # 70 to 10 degrees north
    draw_points(file, tmp_path / "points.gpkg", target_error=0.008)
    _, _, wkb, _ = pyogrio.raw.read(tmp_path / "points.gpkg")
    latitudes = shapely.get_y(shapely.from_wkb(wkb))
    expected = (np.sin(np.radians(70)) - np.sin(np.radians(40))) / (np.sin(np.radians(70)) - np.sin(np.radians(10)))
    share = (latitudes > 40).mean()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(latitudes)) < 0.5 - expected


def test_points_are_taken_in_the_strata_of_their_drawing(wrong_map: Path, tmp_path: Path) -> None:
    draw_points(wrong_map, tmp_path / "points.gpkg")
    filled = _fill_in(tmp_path / "points.gpkg", _truth())
    right_map = _write(tmp_path / "later.tif", _truth())
    found = area(right_map, filled)
    assert found.overall_accuracy.value == pytest.approx(1)
    assert found.overall_accuracy.standard_error == pytest.approx(0)
    before = area(wrong_map, filled)
    for one, other in zip(found.classes, before.classes, strict=True):
        assert one.hectares.value == pytest.approx(other.hectares.value)


def test_names_stand_for_ids_and_what_is_left_out_is_said(wrong_map: Path, tmp_path: Path) -> None:
    rows, columns = np.random.default_rng(0).integers(0, SIDE, (2, 3000))
    x, y = UTM * (columns + 0.5, rows + 0.5)
    names = np.array(["", "forest", "water", "rare"], object)[_truth()[rows, columns]]
    points = tmp_path / "simple.geojson"
    in_degrees = rasterio.warp.transform("EPSG:32632", "EPSG:4326", x, y)
    geometries = shapely.to_wkb(shapely.points(*in_degrees))
    pyogrio.raw.write(points, geometries, [names], ["seen"], geometry_type="Point", crs="EPSG:4326")
    found = area(wrong_map, points, attribute="seen")
    assert found.points == (names != "").sum()
    assert any("have no class in 'seen'" in note for note in found.notes)
    assert all(entry.users_accuracy.value > 0.5 for entry in found.classes)


def test_the_command_draws_and_estimates(wrong_map: Path, tmp_path: Path) -> None:
    points, results = tmp_path / "points.gpkg", tmp_path / "area.json"
    runner = CliRunner()
    drawn = runner.invoke(main, ["area", "--map", str(wrong_map), "--design", str(points)])
    assert drawn.exit_code == 0 and "50 points in rare" in drawn.output
    filled = _fill_in(points, _truth())
    done = runner.invoke(main, ["area", "--map", str(wrong_map), "--reference", str(filled), "--json", str(results)])
    assert done.exit_code == 0 and "overall accuracy" in done.output and "±" in done.output
    found = json.loads(results.read_text())
    assert found["classes"][1]["name"] == "water" and found["classes"][1]["hectares"]["margin"] > 0
    assert np.sum(found["matrix"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--map", "map.tif"], "give --reference with filled-in points, or --design"),
        (["--map", "no.tif", "--design", "p.gpkg"], "no.tif: no such file"),
        (["--map", "map.tif", "--design", "p.shp"], "p.shp: points are written as a GeoPackage"),
        (["--map", "map.tif", "--design", "there.gpkg"], "there.gpkg: exists already"),
        (["--map", "map.tif", "--reference", "there.gpkg"], "none of its points has a class in 'class_id'"),
        (["--map", "map.tif", "--reference", "one.gpkg"], "1 of its points are in class 'forest' of the map"),
        (["--map", "map.tif", "--reference", "there.gpkg", "--attribute", "x"], "has no field 'x'"),
        (["--map", "map.tif", "--reference", "boxes.gpkg"], "geometries that are no points"),
        (["--map", "map.tif", "--reference", "words.gpkg"], "holds 'swamp', which is no class"),
        (["--map", "three.tif", "--reference", "there.gpkg"], "has 3 band(s)"),
        (["--map", "nowhere.tif", "--reference", "there.gpkg"], "has no CRS that gives areas"),
        (["--map", "map.tif", "--design", "p.gpkg", "--target-error", "2"], "lie between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: list[str], said: str, wrong_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_points("map.tif", "there.gpkg")  # not filled in
    box = shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)]))
    pyogrio.raw.write("boxes.gpkg", box, [np.array([1])], ["class_id"], geometry_type="Polygon", crs="EPSG:32632")
    point = shapely.to_wkb(shapely.points([400_700.0], [4_999_300.0]))
    word = [np.array(["swamp"], object)]
    pyogrio.raw.write("words.gpkg", point, word, ["class_id"], geometry_type="Point", crs="EPSG:32632")
    pyogrio.raw.write("one.gpkg", point, [np.array([1])], ["class_id"], geometry_type="Point", crs="EPSG:32632")
    profile = {"driver": "GTiff", "height": 4, "width": 4, "dtype": "uint8"}
    with rasterio.open("three.tif", "w", **profile, count=3, crs="EPSG:32632", transform=UTM) as target:
        target.write(np.ones((3, 4, 4), np.uint8))
    with rasterio.open("nowhere.tif", "w", **profile, count=1, transform=UTM) as target:
        target.write(np.ones((1, 4, 4), np.uint8))
    done = CliRunner().invoke(main, ["area", *arguments])
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert said in line and len(line) <= 200 + len("segapp: ")
    assert not list(tmp_path.glob("p.*"))


def test_a_file_that_is_no_raster_is_named(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_text("no raster")
    with pytest.raises(InputError, match="cannot be read as a raster"):
        area(tmp_path / "map.tif", tmp_path / "points.gpkg")
