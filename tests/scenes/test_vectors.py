"""Polygons burned onto a scene's grid, by window, in the scene's own CRS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.errors import InputError
from segapp.scenes.labels import open_labels
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.scenes.vectors import VectorLabels
from segapp.windows import Window, grid, whole

CLASSES = ClassTable.model_validate(
    {"classes": [{"id": 10, "name": "forest"}, {"id": 20, "name": "water"}], "ignore": [99]}
)
UTM = CRS.from_epsg(32633).to_wkt()
IMAGE = ArrayRaster(
    "image.tif",
    np.zeros((10, 12), np.uint8),
    georeference=Georeference(UTM, (10.0, 0.0, 500_000.0, 0.0, -10.0, 6_000_000.0)),
)


def rectangle(row: int, col: int, height: int, width: int) -> shapely.Polygon:
    """The polygon of a window of `IMAGE`."""
    return shapely.box(
        500_000 + 10 * col, 6_000_000 - 10 * (row + height), 500_000 + 10 * (col + width), 6_000_000 - 10 * row
    )


def write(path: Path, geometries: list[shapely.Geometry], crs: str | None = "EPSG:32633", **fields: list[Any]) -> Path:
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(geometries)),
        [np.array(values, object if isinstance(values[0], str) else None) for values in fields.values()],
        list(fields),
        geometry_type="Polygon",
        crs=crs,
    )
    return path


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
@pytest.mark.parametrize("values", [[10, 20, 99], ["forest", "water", "99"]])
def test_features_are_burned_by_id_or_name_and_the_last_one_wins(
    tmp_path: Path, suffix: str, values: list[Any]
) -> None:
    shapes = [rectangle(0, 0, 6, 6), rectangle(4, 4, 4, 4), rectangle(0, 9, 2, 2)]
    path = write(tmp_path / f"labels{suffix}", shapes, kind=values, other=[1, 2, 3])
    ids, labelled = open_labels(path, LabelRules(attribute="kind"), IMAGE, CLASSES).read(whole((10, 12)))
    expected = np.zeros((10, 12), int)
    expected[:6, :6], expected[4:8, 4:8], expected[:2, 9:11] = 10, 20, 99
    np.testing.assert_array_equal(labelled, expected != 0)
    np.testing.assert_array_equal(ids[labelled], expected[expected != 0])


def test_the_only_field_needs_no_choice_and_a_missing_one_is_answered_with_those_there_are(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone.gpkg", [rectangle(0, 0, 2, 2)], kind=["water"])
    assert open_labels(alone, LabelRules(), IMAGE, CLASSES).read(Window(0, 0, 1, 1))[0].item() == 20
    several = write(tmp_path / "several.gpkg", [rectangle(0, 0, 2, 2)], kind=["water"], note=["x"])
    for rules in (LabelRules(), LabelRules(attribute="class")):
        with pytest.raises(InputError, match=r"several\.gpkg: .*set 'attribute' .* to one of its fields: kind, note"):
            open_labels(several, rules, IMAGE, CLASSES)


def test_values_that_are_no_class_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.gpkg", [rectangle(0, 0, 2, 2)] * 3, kind=["watr", "forest", "watr"])
    with pytest.raises(InputError, match=r"labels\.gpkg: field 'kind' .*'watr' \(2 features\); classes: forest, water"):
        open_labels(path, LabelRules(), IMAGE, CLASSES).read(whole((10, 12)))


def test_vectors_that_cannot_be_placed_say_why(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.gpkg", [rectangle(0, 0, 2, 2)], kind=["water"])
    bare = write(tmp_path / "bare.shp", [rectangle(0, 0, 2, 2)], crs=None, kind=["water"])
    broken = tmp_path / "broken.geojson"
    broken.write_text("{")
    for file, rules, image, message in (
        (path, LabelRules(), ArrayRaster("plain.png", np.zeros((4, 4))), r"plain\.png: has no CRS"),
        (bare, LabelRules(), IMAGE, r"bare\.shp: has no CRS"),
        (bare, LabelRules(crs="EPSG:x"), IMAGE, r"bare\.shp: its CRS 'EPSG:x' is not understood"),
        (path, LabelRules(layer="roads"), IMAGE, "has no layer 'roads'; set 'layer' to one of: labels"),
        (broken, LabelRules(), IMAGE, r"broken\.geojson: cannot be read as vectors"),
        (tmp_path / "none.gpkg", LabelRules(), IMAGE, r"none\.gpkg: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            open_labels(file, rules, image, CLASSES)


def test_a_scene_without_features_is_unlabelled(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.gpkg", [rectangle(5000, 5000, 2, 2)], kind=["water"])
    assert not open_labels(path, LabelRules(), IMAGE, CLASSES).read(whole((10, 12)))[1].any()


def rstoolbox_classes() -> ClassTable:
    names = ["cleared", "fallen_dry", "forest", "water"]
    return ClassTable.model_validate({"classes": [{"id": i, "name": n} for i, n in enumerate(names, 1)], "ignore": [0]})


POLYGONS_CRS = LabelRules(crs="EPSG:32622")


def test_burned_polygons_agree_with_the_raster_made_of_them(shared_data: Path) -> None:
    folder, classes = shared_data / "rstoolbox", rstoolbox_classes()
    raster, burned = (
        scene.read_labels(whole(scene.shape))
        for scene in (
            open_scene(
                [folder / "lsat.tif"], ImageRules(), label_file=folder / file, label_rules=rules, classes=classes
            )
            for file, rules in (("lsat_labels.tif", LabelRules()), ("lsat_polygons.geojson", POLYGONS_CRS))
        )
    )
    assert (raster != IGNORED_INDEX).sum() > 1000
    np.testing.assert_array_equal(raster, burned)


def test_metres_in_a_geojson_without_crs_are_not_taken_for_degrees(shared_data: Path) -> None:
    folder = shared_data / "rstoolbox"
    with pytest.raises(InputError, match=r"no degrees, though its CRS is EPSG:4326; set 'crs' .*EPSG:32622"):
        open_labels(folder / "lsat_polygons.geojson", LabelRules(), open_raster(folder / "lsat.tif"), CLASSES)


def test_geometries_are_brought_to_the_crs_of_the_scene(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "rstoolbox"
    _, _, wkb, (kinds,) = pyogrio.raw.read(folder / "lsat_polygons.geojson")

    def to_degrees(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transform("EPSG:32622", "EPSG:4326", *points.T))

    degrees = write(
        tmp_path / "degrees.geojson",
        list(shapely.transform(shapely.from_wkb(wkb), to_degrees)),
        "EPSG:4326",
        kind=kinds.tolist(),
    )
    image = open_raster(folder / "lsat.tif")
    from_degrees, from_metres = (
        open_labels(file, rules, image, rstoolbox_classes()).read(whole(image.shape))[0]
        for file, rules in ((degrees, LabelRules()), (folder / "lsat_polygons.geojson", POLYGONS_CRS))
    )
    np.testing.assert_array_equal(from_degrees, from_metres)


def test_polygons_burned_by_window_equal_those_burned_at_once(shared_data: Path) -> None:
    folder = shared_data / "rstoolbox"
    image = open_raster(folder / "lsat.tif")
    labels = open_labels(folder / "lsat_polygons.geojson", POLYGONS_CRS, image, rstoolbox_classes())
    at_once, _ = labels.read(whole(image.shape))
    for window in grid(whole(image.shape), 37, 53):
        np.testing.assert_array_equal(labels.read(window)[0], at_once[window.slices])


def test_only_features_near_the_scene_are_read(shared_data: Path) -> None:
    folder = shared_data / "rstoolbox"
    with rasterio.open(folder / "lsat.tif") as file:
        corner = Georeference(file.crs.to_wkt(), tuple(file.transform)[:6])
    labels = VectorLabels(
        folder / "lsat_polygons.geojson", POLYGONS_CRS, "corner", (40, 40), corner, rstoolbox_classes()
    )
    total = len(json.loads((folder / "lsat_polygons.geojson").read_text())["features"])
    assert 0 < len(labels._features[0]) < total
