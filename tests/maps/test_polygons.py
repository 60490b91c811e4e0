"""Polygons of class maps."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyogrio import raw
from pyogrio.errors import DataSourceError
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform as transform_points

from segapp.classes import ClassTable, SegClass
from segapp.errors import InputError
from segapp.maps import polygons
from segapp.maps.pixel_area import hectares_by_row
from segapp.maps.polygons import write_polygons
from segapp.scenes.raster import Georeference
from segapp.windows import Window
from tests.maps.test_writers import CLASSES, MANY_IDS, UTM, made_up, start, write

FEET = Georeference(CRS.from_epsg(2263).to_wkt(), (1.0, 0.0, 9.8e5, 0.0, -1.0, 2e5))


def read(file: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(N,) geometries and the (N,) values of each field."""
    information, _, geometries, values = raw.read(file, layer="classes")
    return shapely.from_wkb(geometries), dict(zip(information["fields"], values, strict=True))


def polygons_of(folder: Path, values: np.ndarray, minimum: int = 1, suffix: str = ".gpkg", **options) -> Path:
    classes = options.get("classes", CLASSES)
    write_polygons(write(folder / "map.tif", values, **options), folder / f"map{suffix}", classes, minimum)
    return folder / f"map{suffix}"


@st.composite
def class_maps(draw: st.DrawFn) -> tuple[np.ndarray, ClassTable]:
    """(H, W) ids, noise or coarse patches of it, and their classes."""
    classes = draw(st.sampled_from((CLASSES, MANY_IDS, CLASSES.model_copy(update={"nodata": 255}))))
    coarse = made_up("classes", draw(st.tuples(st.integers(1, 20), st.integers(1, 20))), classes)
    coarse = np.random.default_rng(draw(st.integers(0, 1000))).permuted(coarse)
    return coarse.repeat(draw(st.integers(1, 4)), axis=0).repeat(draw(st.integers(1, 4)), axis=1), classes


@settings(max_examples=50)  # each writes files
@given(class_maps(), st.sampled_from((1, 2, 9, 10_000)), st.sampled_from((".gpkg", ".geojson")))
def test_every_labelled_pixel_is_in_one_polygon(class_map, minimum, suffix):
    ids, classes = class_map
    with tempfile.TemporaryDirectory() as folder:
        file = polygons_of(Path(folder), ids, minimum, suffix, classes=classes, georeference=None)
        geometries, fields = read(file)
    if not len(geometries):  # GeoJSON without features has no fields either
        assert (ids == classes.nodata).all()
        return
    assert shapely.is_valid(geometries).all()
    np.testing.assert_array_equal(fields["pixels"], shapely.area(geometries))
    assert fields["pixels"].sum() == (ids != classes.nodata).sum()
    burned = np.full(ids.shape, classes.nodata, np.int32)
    rasterize(zip(geometries, fields["class_id"].tolist(), strict=True), out=burned)
    np.testing.assert_array_equal(burned == classes.nodata, ids == classes.nodata)
    if minimum == 1:
        np.testing.assert_array_equal(burned, ids)


def test_small_areas_go_to_their_largest_neighbour_and_never_over_no_data(tmp_path):
    ids = np.full((20, 30), 1, np.uint8)
    ids[:, 15:] = 2
    ids[5, 5] = ids[9, 20:23] = 200  # one pixel in the larger class, three in the other
    ids[12:17, 2:7] = 0
    ids[14, 4] = 2  # an island in "no data"
    _, fields = read(polygons_of(tmp_path, ids, minimum=4))
    assert sorted(zip(fields["class_id"].tolist(), fields["pixels"].tolist(), strict=True)) == [
        (1, 20 * 15 - 25),
        (2, 1),
        (2, 20 * 15),
    ]


def test_fields_and_crs_of_a_geopackage(tmp_path):
    ids = np.full((4, 6), 1, np.uint8)
    ids[1:3, 2:5] = 2
    file = polygons_of(tmp_path, ids)
    geometries, fields = read(file)
    assert pyogrio.list_layers(file)[:, 0].tolist() == ["classes"]
    assert pyogrio.read_info(file)["crs"] == "EPSG:32633"
    assert {name: sorted(values.tolist()) for name, values in fields.items()} == {
        "class_id": [1, 2],
        "class_name": sorted(["Gewässer", 'wet & "dry" <land>']),
        "pixels": [6, 18],
        "hectares": pytest.approx([0.06, 0.18]),
    }
    assert shapely.unary_union(geometries).bounds == (4e5, 5e6 - 40, 4e5 + 60, 5e6)


def test_hectares_honour_the_unit_of_the_crs(tmp_path):
    _, fields = read(polygons_of(tmp_path, np.full((100, 100), 1, np.uint8), georeference=FEET))
    assert fields["hectares"].item() == pytest.approx(10_000 * (1200 / 3937) ** 2 / 10_000)


def test_there_are_no_hectares_where_pixels_have_no_area(tmp_path):
    _, fields = read(polygons_of(tmp_path, made_up("classes", (5, 5)), georeference=None))
    assert list(fields) == ["class_id", "class_name", "pixels"]


@pytest.mark.parametrize(("crs", "pixel", "y"), [(4326, 0.1, 60), (3857, 10_000, 9e6)])
def test_hectares_are_those_of_the_land_row_by_row(tmp_path, crs, pixel, y):
    place = Georeference(CRS.from_epsg(crs).to_wkt(), (pixel, 0, 0, 0, -pixel, y))
    ids = np.random.default_rng(0).choice(np.array([1, 2, 200], np.uint8), (30, 40))
    ids[3:9, 5:20] = ids[20:28, 2:30] = 2  # with holes
    ids[22:24, 7:9] = 200
    _, fields = read(polygons_of(tmp_path, ids, georeference=place))
    by_row = hectares_by_row(place, ids.shape)
    assert np.ptp(by_row) > 0.01 * by_row.mean()
    for value in (1, 2, 200):
        expected = ((ids == value) * by_row[:, None]).sum()
        assert fields["hectares"][fields["class_id"] == value].sum() == pytest.approx(expected)


def test_geojson_is_in_degrees_as_rfc_7946_wants(tmp_path):
    ids = np.full((40, 60), 1, np.uint8)
    ids[10:20, 10:20] = 2
    file = polygons_of(tmp_path, ids, suffix=".geojson")
    collection = json.loads(file.read_text(encoding="utf-8"))
    assert "crs" not in collection and len(collection["features"]) == 2
    geometries, fields = read(file)
    assert fields["hectares"].sum() == pytest.approx(40 * 60 * 0.01)
    (x,), (y,) = transform_points("EPSG:32633", "EPSG:4326", [4e5 + 100], [5e6 - 100])
    corners = shapely.get_coordinates(geometries[fields["class_id"] == 2])
    assert abs(corners - (x, y)).max(axis=1).min() < 1e-8  # a millimetre
    for geometry in geometries:
        assert geometry.exterior.is_ccw and not any(hole.is_ccw for hole in geometry.interiors)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_more_polygons_than_are_written_at_a_time(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(polygons, "_POLYGONS_AT_A_TIME", 7)
    ids = made_up("classes", (20, 20))
    geometries, fields = read(polygons_of(tmp_path, ids, suffix=suffix))
    assert len(geometries) > 70 and fields["pixels"].sum() == (ids != 0).sum()


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".GPKG"])
def test_a_map_of_no_data_gives_a_layer_without_polygons(tmp_path, suffix):
    geometries, fields = read(polygons_of(tmp_path, np.zeros((5, 5), np.uint8), suffix=suffix))
    assert len(geometries) == 0
    assert suffix == ".geojson" or list(fields) == ["class_id", "class_name", "pixels", "hectares"]


def test_nothing_is_left_beside_polygons_and_former_ones_are_replaced(tmp_path):
    (tmp_path / "map.gpkg").write_text("former")
    (tmp_path / "map.gpkg-wal").write_text("former")
    polygons_of(tmp_path, made_up("classes", (20, 20)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.gpkg", "map.tif", "map.tif.aux.xml"]
    assert pyogrio.read_info(tmp_path / "map.gpkg")["features"] > 0


class TestMistakes:
    def test_an_unknown_suffix(self, tmp_path):
        with pytest.raises(
            InputError, match=r"map\.shp: no polygons can be written as '\.shp'; use \.gpkg or \.geojson"
        ):
            polygons_of(tmp_path, made_up("classes", (5, 5)), suffix=".shp")

    def test_no_map(self, tmp_path):
        (tmp_path / "map.tif").write_text("no map")
        with pytest.raises(InputError, match=r"map\.tif: cannot be read as a map"):
            write_polygons(tmp_path / "map.tif", tmp_path / "map.gpkg", CLASSES)
        assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]

    def test_a_map_of_other_classes(self, tmp_path):
        others = ClassTable(classes=(SegClass(id=1, name="a"), SegClass(id=3, name="b")))
        file = write(tmp_path / "map.tif", made_up("classes", (5, 5)))
        with pytest.raises(InputError, match=r"map\.tif: ids that are no class: "):
            write_polygons(file, tmp_path / "map.gpkg", others)
        assert not list(tmp_path.glob("*map.gpkg*"))

    @pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
    @pytest.mark.parametrize("failing", ["write", "write_arrow"])
    def test_a_full_disk_leaves_nothing(self, tmp_path, suffix, failing, monkeypatch):
        if (suffix, failing) == (".gpkg", "write_arrow"):
            pytest.skip("a GeoPackage is not translated")
        working = getattr(raw, failing)

        def fail(*arguments: object, **options: object) -> None:
            working(*arguments, **options)
            raise DataSourceError("disk is full")

        file = write(tmp_path / "map.tif", made_up("classes", (20, 20)), georeference=UTM)
        monkeypatch.setattr(raw, failing, fail)
        with pytest.raises(OSError, match=rf"map{suffix}: cannot be written \(disk is full\); free some space"):
            write_polygons(file, tmp_path / f"map{suffix}", CLASSES)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]

    @pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
    def test_polygons_that_were_cut_off_are_noticed(self, tmp_path, suffix, monkeypatch):
        file = write(tmp_path / "map.tif", made_up("classes", (20, 20)))
        name = "write" if suffix == ".gpkg" else "write_arrow"
        working = getattr(raw, name)

        def lose(*arguments: object, **options: object) -> None:
            if suffix == ".geojson":
                working(*arguments, **options)
                target = Path(str(arguments[1]))
                target.write_bytes(target.read_bytes()[:-100])
            elif not options["append"]:  # only the first, empty part arrives
                working(*arguments, **options)

        monkeypatch.setattr(raw, name, lose)
        with pytest.raises(OSError, match="it is cut off"):
            write_polygons(file, tmp_path / f"map{suffix}", CLASSES)
        assert not (tmp_path / f"map{suffix}").exists()


def test_a_map_that_is_not_yet_delivered_can_be_used(tmp_path):
    writer = start(tmp_path / "map.tif", shape=(20, 20))
    writer.write(Window(0, 0, 20, 20), np.full((20, 20), 2, np.uint8))
    writer.close()
    write_polygons(writer.temporary, tmp_path / "map.gpkg", CLASSES)
    writer.deliver()
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert (dataset.read(1) == 2).all()
