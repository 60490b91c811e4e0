"""Maps written tile by tile."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import tracemalloc
import warnings
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from scipy.io import loadmat

from segapp.classes import ClassTable, SegClass
from segapp.errors import InputError
from segapp.maps.layers import Layer, format_of
from segapp.maps.writers import MapWriter, open_writer
from segapp.scenes.raster import Georeference
from segapp.windows import Window, grid, whole

CLASSES = ClassTable(
    classes=(
        SegClass(id=2, name='wet & "dry" <land>', color="#ff8000"),
        SegClass(id=1, name="Gewässer", color="#0000ff"),
        SegClass(id=200, name="roof"),
    )
)
MANY_IDS = ClassTable(classes=(SegClass(id=40_000, name="far", color="#010203"), SegClass(id=7, name="near")))
UTM = Georeference(CRS.from_epsg(32633).to_wkt(), (10.0, 0.0, 4e5, 0.0, -10.0, 5e6))
TAGS = {"SEGAPP_MODEL": "water & ice"}
LAYERS = ("classes", "probabilities", "probabilities-float32", "confidence", "entropy")


def made_up(layer: Layer, shape: tuple[int, int], classes: ClassTable = CLASSES) -> np.ndarray:
    """(H, W) or (H, W, K) noise as `values_of` could give it, with "no data" in it."""
    generator = np.random.default_rng(0)
    layer_format = format_of(layer, classes)
    size = layer_format.array_shape(shape)
    if layer == "classes":
        return generator.choice(np.append(classes.ids, classes.nodata), size).astype(layer_format.dtype)
    values = generator.random(size).astype(np.float32)
    if layer == "probabilities":
        return np.where(values < 0.1, 255, values * 254).astype(np.uint8)
    return np.where(values < 0.1, np.nan, values).astype(np.float32)


def start(file: Path, layer: Layer = "classes", classes: ClassTable = CLASSES, **options: object) -> MapWriter:
    chosen: dict = {"shape": (40, 50), "georeference": UTM, "tags": TAGS, **options}
    return open_writer(file, layer, classes=classes, **chosen)


def write(file: Path, values: np.ndarray, layer: Layer = "classes", tile: int = 256, **options: object) -> Path:
    writer = start(file, layer, shape=values.shape[:2], **options)
    for window in grid(whole(values.shape[:2]), tile, tile):
        writer.write(window, values[window.slices])
    writer.close()
    writer.deliver()
    return file


def read(file: Path, layer: Layer) -> np.ndarray:
    if file.suffix == ".npy":
        return np.load(file)
    if file.suffix == ".mat":
        return loadmat(file)[layer.removesuffix("-float32")]
    with warnings.catch_warnings(action="ignore"), rasterio.open(file) as dataset:
        return dataset.read(1) if dataset.count == 1 else np.moveaxis(dataset.read(), 0, -1)


class TestEveryKind:
    @settings(max_examples=40)  # each writes a file
    @given(
        kind=st.sampled_from((".tif", ".npy", ".mat", ".png")),
        layer=st.sampled_from(LAYERS),
        shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        tile=st.integers(20, 400),
        georeference=st.sampled_from((UTM, None)),
    )
    def test_what_was_written_by_tiles_is_read_back(self, kind, layer, shape, tile, georeference):
        layer = "classes" if kind == ".png" else layer
        values = made_up(layer, shape)
        with tempfile.TemporaryDirectory() as folder:
            file = write(Path(folder) / f"map{kind}", values, layer, tile, georeference=georeference)
            found = read(file, layer)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    @pytest.mark.parametrize("classes", [CLASSES, CLASSES.model_copy(update={"nodata": 255})])
    def test_pixels_never_written_are_no_data(self, tmp_path, kind, classes):
        writer = start(tmp_path / f"map{kind}", classes=classes)
        writer.write(Window(3, 4, 2, 5), np.full((2, 5), 200, np.uint8))
        writer.close()
        writer.deliver()
        expected = np.full((40, 50), classes.nodata)
        expected[3:5, 4:9] = 200
        np.testing.assert_array_equal(read(writer.file, "classes"), expected)

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    def test_the_name_appears_only_on_delivery(self, tmp_path, kind):
        writer = start(tmp_path / f"map{kind}")
        writer.write(Window(0, 0, 40, 50), made_up("classes", (40, 50)))
        assert not writer.file.exists()
        writer.close()
        writer.close()
        assert not writer.file.exists() and writer.temporary.parent == tmp_path
        writer.deliver()
        writer.abandon()
        assert {path.name for path in tmp_path.iterdir()} - {f"map{kind}.aux.xml"} == {f"map{kind}"}

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    @pytest.mark.parametrize("stage", ["opened", "written", "closed", "abandoned"])
    def test_abandoning_leaves_nothing(self, tmp_path, kind, stage):
        writer = start(tmp_path / f"map{kind}")
        if stage != "opened":
            writer.write(Window(0, 0, 40, 50), made_up("classes", (40, 50)))
        if stage == "closed":
            writer.close()
        if stage == "abandoned":
            writer.abandon()
        writer.abandon()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    def test_what_a_killed_attempt_left_is_removed(self, tmp_path, kind):
        other = tmp_path / f".other{kind}.01234567.partial{kind}"
        other.touch()
        killed = start(tmp_path / f"map{kind}")
        killed.write(Window(0, 0, 40, 50), made_up("classes", (40, 50)))
        write(tmp_path / f"map{kind}", made_up("classes", (40, 50)))
        assert not killed.temporary.exists() and other.exists()
        with pytest.raises(OSError, match=f"map{kind}: cannot be written"):
            killed.close()
            killed.deliver()
        assert (read(killed.file, "classes") == made_up("classes", (40, 50))).all()

    def test_side_files_of_a_former_map_do_not_outlive_it(self, tmp_path):
        for side in (".aux.xml", ".ovr"):
            (tmp_path / f"map.tif{side}").write_text("former")
        write(tmp_path / "map.tif", made_up("confidence", (40, 50)), "confidence")
        assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]

    @pytest.mark.parametrize("kind", [".TIF", ".tiff"])
    def test_suffixes_may_be_spelled_otherwise(self, tmp_path, kind):
        values = made_up("classes", (40, 50))
        assert (read(write(tmp_path / f"map{kind}", values), "classes") == values).all()


class TestGeoTiff:
    def test_a_class_map_says_where_it_lies_and_what_it_holds(self, tmp_path):
        with rasterio.open(write(tmp_path / "map.tif", made_up("classes", (300, 520)))) as dataset:
            assert dataset.crs == CRS.from_epsg(32633)
            assert tuple(dataset.transform)[:6] == UTM.transform
            assert dataset.nodata == CLASSES.nodata
            assert dataset.descriptions == ("class",)
            assert dataset.colorinterp == (ColorInterp.palette,)
            assert dataset.colormap(1)[2] == (255, 128, 0, 255) and dataset.colormap(1)[1] == (0, 0, 255, 255)
            assert TAGS.items() <= dataset.tags().items()
            assert dataset.block_shapes == [(256, 256)] and dataset.compression.value == "DEFLATE"

    def test_probabilities_name_their_classes_and_their_scale(self, tmp_path):
        with rasterio.open(write(tmp_path / "map.tif", made_up("probabilities", (40, 50)), "probabilities")) as dataset:
            assert dataset.descriptions == tuple(CLASSES.names)
            assert dataset.scales == (1 / 254,) * 3 and dataset.nodata == 255

    @pytest.mark.parametrize("layer", ["confidence", "entropy", "probabilities-float32"])
    def test_quantities_are_floats_and_nan_where_there_is_no_data(self, tmp_path, layer):
        with rasterio.open(write(tmp_path / "map.tif", made_up(layer, (40, 50)), layer)) as dataset:
            assert np.isnan(dataset.nodata) and dataset.dtypes[0] == "float32"
            assert dataset.descriptions == (tuple(CLASSES.names) if dataset.count == 3 else (layer,))

    def test_ids_of_16_bits_have_colours_too(self, tmp_path):
        values = made_up("classes", (40, 50), MANY_IDS)
        file = write(tmp_path / "map.tif", values, classes=MANY_IDS)
        with rasterio.open(file) as dataset:
            assert dataset.dtypes == ("uint16",) and dataset.colormap(1)[40_000] == (1, 2, 3, 255)
        assert (read(file, "classes") == values).all()

    @pytest.mark.parametrize("georeference", [None, Georeference(None, (2.0, 0.0, 7.0, 0.0, 2.0, 9.0))])
    def test_a_scene_without_crs_gives_a_map_without_one_and_no_warning(self, tmp_path, georeference):
        with warnings.catch_warnings(action="error"):
            file = write(tmp_path / "map.tif", made_up("classes", (40, 50)), georeference=georeference)
        with warnings.catch_warnings(action="ignore"), rasterio.open(file) as dataset:
            assert dataset.crs is None
            assert tuple(dataset.transform)[:6] == (georeference.transform if georeference else (1, 0, 0, 0, 1, 0))


def band_that_gdal_sees(file: Path) -> Xml.Element:
    """GDAL's own description of the band, with what it read from the side file."""
    rasterio.shutil.copy(file, file.with_suffix(".vrt"), driver="VRT")
    band = Xml.parse(file.with_suffix(".vrt")).find("VRTRasterBand")
    assert band is not None
    return band


def table_of(band: Xml.Element) -> list[list[str | None]]:
    return [[field.text for field in row] for row in band.iterfind("GDALRasterAttributeTable/Row")]


class TestClassNames:
    @pytest.mark.parametrize("kind", [".tif", ".png"])
    def test_gdal_finds_names_and_colours(self, tmp_path, kind):
        band = band_that_gdal_sees(write(tmp_path / f"map{kind}", made_up("classes", (40, 50))))
        categories = [category.text or "" for category in band.iterfind("CategoryNames/Category")]
        assert {i: name for i, name in enumerate(categories) if name} == {c.id: c.name for c in CLASSES.classes}
        assert table_of(band)[:2] == [["2", CLASSES.names[0], "255", "128", "0"], ["1", "Gewässer", "0", "0", "255"]]

    def test_ids_of_16_bits_are_in_the_table_alone(self, tmp_path):
        band = band_that_gdal_sees(
            write(tmp_path / "map.tif", made_up("classes", (40, 50), MANY_IDS), classes=MANY_IDS)
        )
        assert band.find("CategoryNames") is None
        assert [row[:2] for row in table_of(band)] == [["40000", "far"], ["7", "near"]]

    def test_characters_that_xml_forbids_do_not_spoil_the_names(self, tmp_path):
        odd = ClassTable(classes=(SegClass(id=1, name="a\x01b"), SegClass(id=2, name="c\x00")))
        band = band_that_gdal_sees(write(tmp_path / "map.tif", made_up("classes", (40, 50), odd), classes=odd))
        assert [row[1] for row in table_of(band)] == ["a b", "c "]

    def test_gdalinfo_shows_them(self, tmp_path):
        if shutil.which("gdalinfo") is None:
            pytest.skip("gdalinfo is not installed (Debian: gdal-bin)")
        file = write(tmp_path / "map.tif", made_up("classes", (40, 50)))
        shown = json.loads(subprocess.run(["gdalinfo", "-json", file], capture_output=True, check=True).stdout)
        (band,) = shown["bands"]
        assert shown["geoTransform"] == [4e5, 10, 0, 5e6, 0, -10] and "UTM zone 33N" in shown["coordinateSystem"]["wkt"]
        assert band["noDataValue"] == 0 and band["description"] == "class"
        assert band["colorTable"]["entries"][2] == [255, 128, 0, 255]
        names = [row["f"][1] for row in shown["rat"]["row"]]
        assert names == CLASSES.names


class TestPng:
    def test_palette_indexes_are_the_ids(self, tmp_path):
        values = made_up("classes", (40, 50))
        with Image.open(write(tmp_path / "map.png", values)) as picture:
            assert picture.mode == "P" and (np.asarray(picture) == values).all()
            assert picture.getpalette()[3 * 2 : 3 * 3] == [255, 128, 0]
            assert picture.info["transparency"] == CLASSES.nodata

    def test_other_layers_and_larger_ids_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"map\.png: PNG holds classes, not entropy; write \.tif or \.npy"):
            start(tmp_path / "map.png", "entropy")
        with pytest.raises(InputError, match=r"map\.png: PNG holds ids up to 255, but there is 40000"):
            start(tmp_path / "map.png", classes=MANY_IDS)
        assert list(tmp_path.iterdir()) == []


class TestArrays:
    def test_mat_tells_ids_and_names(self, tmp_path):
        variables = loadmat(write(tmp_path / "map.mat", made_up("classes", (40, 50))))
        assert variables["class_ids"].ravel().tolist() == [2, 1, 200]
        assert [name.item() for name in variables["class_names"].ravel()] == CLASSES.names
        assert variables["nodata"].item() == 0 and variables["classes"].dtype == np.uint8

    def test_mat_tells_the_scale_of_probabilities(self, tmp_path):
        variables = loadmat(write(tmp_path / "map.mat", made_up("probabilities", (40, 50)), "probabilities"))
        assert variables["scale"].item() == 1 / 254 and variables["nodata"].item() == 255

    def test_mat_refuses_what_it_cannot_hold_before_the_work(self, tmp_path):
        with pytest.raises(InputError, match=r"map\.mat: MAT holds arrays below 2 GB, but this is 2\.5 GB"):
            start(tmp_path / "map.mat", shape=(50_000, 50_000))
        assert list(tmp_path.iterdir()) == []

    def test_npy_is_never_in_memory_as_a_whole(self, tmp_path):
        tile = np.ones((64, 4096), np.uint8)
        tracemalloc.start()
        writer = start(tmp_path / "map.npy", shape=(4096, 4096))
        for row in range(0, 4096, 64):
            writer.write(Window(row, 0, *tile.shape), tile)
        writer.close()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        writer.deliver()
        assert peak < 4096 * 4096 / 16
        assert np.load(writer.file, mmap_mode="r").all()


class TestMistakes:
    def test_an_unknown_suffix(self, tmp_path):
        message = r"map\.jpg: no map can be written as '\.jpg'; use \.tif, \.tiff, \.png, \.npy or \.mat"
        with pytest.raises(InputError, match=message):
            start(tmp_path / "map.jpg")

    def test_only_a_geotiff_can_be_cloud_optimized(self, tmp_path):
        with pytest.raises(InputError, match="only a GeoTIFF can be cloud optimized"):
            start(tmp_path / "map.npy", cog=True)

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    def test_no_folder_to_write_to(self, tmp_path, kind):
        with pytest.raises(InputError, match=f"map{kind}: its folder does not exist; make it first"):
            start(tmp_path / "absent" / f"map{kind}")

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    def test_a_folder_of_that_name(self, tmp_path, kind):
        (tmp_path / f"map{kind}").mkdir()
        with pytest.raises(InputError, match=f"map{kind}: is a folder; name a file"):
            start(tmp_path / f"map{kind}")

    @pytest.mark.parametrize("kind", [".tif", ".npy", ".mat", ".png"])
    def test_a_folder_that_may_not_be_written(self, tmp_path, kind, monkeypatch):
        def refuse(path: Path, **options: object) -> None:  # permissions would not stop a superuser
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "touch", refuse)
        with pytest.raises(InputError, match=rf"map{kind}: cannot be made \(Permission denied\); name a place"):
            start(tmp_path / f"map{kind}")
