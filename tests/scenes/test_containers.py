"""Files that hold several things, and paths that lead elsewhere, are read right or refused in a line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyogrio
import pytest
import shapely
from click.testing import CliRunner
from PIL import Image
from rasterio.rio.main import main_group as rio
from scipy.io import savemat

from segapp.classes import ClassTable
from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.prediction.area import area_of
from segapp.prediction.inputs import find_scenes
from segapp.scenes.labels import open_labels
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules, LabelRules
from segapp.windows import whole
from tests.scenes.format_checks import noise, read_whole
from tests.scenes.test_geotiff import write_tiff
from tests.scenes.test_mat import write_mat73
from tests.scenes.test_vectors import IMAGE, UTM, rectangle

CLASSES = ClassTable.model_validate({"classes": [{"id": 10, "name": "Gebüsch"}, {"id": 20, "name": "Wälder"}]})


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        open_raster(Path(path), **options)
    assert len(str(error.value).replace(str(Path(path).parent), "")) <= 200
    return str(error.value)


class TestPages:
    def save(self, path: Path, *pages: np.ndarray) -> Path:
        first, *rest = map(Image.fromarray, pages)
        first.save(path, save_all=True, append_images=rest)
        return path

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_of_one_size_and_type_are_bands_and_it_is_said(self, tmp_path: Path, dtype: Any) -> None:
        pixels = noise(dtype, (20, 30, 6))
        path = self.save(tmp_path / "a.tif", *np.moveaxis(pixels, -1, 0))
        raster = open_raster(path)
        np.testing.assert_array_equal(read_whole(raster), pixels)
        assert (raster.path, raster.remarks) == (str(path), ("its 6 pages are read as 6 bands",))

    @pytest.mark.parametrize(
        "other", [np.zeros((10, 15), np.uint16), np.zeros((20, 30), np.uint8), np.zeros((20, 30, 3), np.uint8)]
    )
    def test_of_several_kinds_are_refused_and_the_remedy_works(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: np.ndarray
    ) -> None:
        pixels = noise(np.uint16, (20, 30))
        path = self.save(tmp_path / "a.tif", pixels, other)
        assert "has 2 pages that are not bands of one image (page 1 is 20x30x1 uint16, 2 is " in refused(path)
        monkeypatch.chdir(tmp_path)
        assert CliRunner().invoke(rio, ["convert", "GTIFF_DIR:1:a.tif", "page.tif"]).exit_code == 0
        np.testing.assert_array_equal(read_whole(open_raster(tmp_path / "page.tif"))[..., 0], pixels)

    def test_overviews_and_masks_are_no_pages(self, tmp_path: Path) -> None:
        import rasterio

        pixels = noise(np.uint16, (600, 500, 2))
        path = write_tiff(tmp_path / "a.tif", pixels, mask=np.ones((600, 500), bool), tiled=True)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4])
        np.testing.assert_array_equal(read_whole(open_raster(path)), pixels)


class TestHdf5:
    cube = noise(np.uint16, (20, 300, 200))

    @pytest.mark.parametrize(
        ("attributes", "scale_on", "axis"),
        [
            ({"interleave": "bil"}, None, 1),
            ({"Interleave": b"BSQ"}, None, 0),
            ({}, (2, "bands"), 2),
            ({}, (1, "nchannels"), 1),
            ({}, (0, "wavelength"), 0),
        ],
    )
    def test_the_order_of_axes_that_the_file_states_counts(
        self, tmp_path: Path, attributes: dict[str, Any], scale_on: tuple[int, str] | None, axis: int
    ) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["cube"] = self.cube
            file["cube"].attrs.update(attributes)
            if scale_on:
                file[scale_on[1]] = np.linspace(400, 900, self.cube.shape[scale_on[0]])
                file[scale_on[1]].make_scale()
                file["cube"].dims[scale_on[0]].attach_scale(file[scale_on[1]])
        raster = open_raster(tmp_path / "a.h5", variable="cube")
        np.testing.assert_array_equal(read_whole(raster), np.moveaxis(self.cube, axis, -1))

    @pytest.mark.parametrize("where", ["attribute", "beside", "scale"])
    @pytest.mark.parametrize("unit", ["nm", "micrometers", None])
    def test_wavelengths_are_read(self, tmp_path: Path, where: str, unit: str | None) -> None:
        lengths = np.array([490, 560, 665, 842]) / (1000 if unit == "micrometers" else 1)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["g/cube"] = noise(np.uint16, (40, 50, 4))
            if where == "attribute":
                file["g/cube"].attrs.update({"wavelength": lengths, "wavelength_units": unit or ""})
            else:
                file["g/wavelengths"] = lengths
                file["g/wavelengths"].attrs["units"] = unit or ""
            if where == "scale":
                file.move("g/wavelengths", "wl")
                file["g/cube"].dims[2].attach_scale(file["wl"])
        scene = open_scene([tmp_path / "a.h5"], ImageRules(variable="g/cube"))
        assert [band.wavelength_nm for band in scene.bands] == [490, 560, 665, 842]


class TestFieldsOfStructs:
    pixels = noise(np.uint16, (40, 50, 4))

    def write(self, path: Path, version: str) -> Path:
        if version == "5":
            scene = {"data": self.pixels, "info": {"labels": self.pixels[..., 0]}, "name": "x"}
            savemat(path, {"s": scene, "n": np.ones(3)})
            return path
        write_mat73(path, n=np.ones((3, 1)))
        with h5py.File(path, "r+") as file:
            group = file.create_group("s")
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for name, array in (("data", self.pixels), ("info/labels", self.pixels[..., 0])):
                group[name] = array.T
                group[name].attrs["MATLAB_class"] = np.bytes_("uint16")
        return path

    @pytest.mark.parametrize("version", ["5", "7.3"])
    def test_are_variables(self, tmp_path: Path, version: str) -> None:
        path = self.write(tmp_path / "a.mat", version)
        for name, expected in (("s.data", self.pixels), ("s.info.labels", self.pixels[..., :1])):
            np.testing.assert_array_equal(read_whole(open_raster(path, variable=name)), expected)
        message = refused(path)
        assert "'s.data' (40x50x4 uint16)" in message and "'s.info.labels' (40x50 uint16)" in message

    @pytest.mark.parametrize("version", ["5", "7.3"])
    def test_that_are_missing_are_answered_with_those_there_are(self, tmp_path: Path, version: str) -> None:
        message = refused(self.write(tmp_path / "a.mat", version), variable="s.image")
        assert "has no variable 's.image'; usable are: " in message and "'s.data'" in message


def write_layers(path: Path, *layers: tuple[str, list[shapely.Geometry] | None, list[Any]]) -> Path:
    for number, (name, geometries, values) in enumerate(layers):
        wkb = None if geometries is None else shapely.to_wkb(np.array(geometries))
        kind = None if geometries is None else "Polygon"
        field = np.array(values, object if isinstance(values[0], str) else np.int32)
        pyogrio.raw.write(
            path, wkb, [field], ["kind"], layer=name, geometry_type=kind, crs="EPSG:32633", append=number > 0
        )
    return path


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
class TestLayers:
    extent = ("extent", [rectangle(0, 0, 10, 12)], [10])
    cover = ("landcover", [rectangle(0, 0, 10, 6), rectangle(0, 6, 10, 6)], [10, 20])

    def test_several_with_geometries_are_refused_and_the_remedy_works(self, tmp_path: Path) -> None:
        path = write_layers(tmp_path / "l.gpkg", self.extent, self.cover)
        with pytest.raises(InputError, match=r"l\.gpkg: has several layers.*set 'layer' .*: extent, landcover"):
            open_labels(path, LabelRules(attribute="kind"), IMAGE, CLASSES)
        labels = open_labels(path, LabelRules(attribute="kind", layer="landcover"), IMAGE, CLASSES)
        assert np.unique(labels.read(whole((10, 12)))[0]).tolist() == [10, 20]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_tables_of_styles_do_not_count(self, tmp_path: Path, order: tuple[int, int]) -> None:
        layers = (self.cover, ("layer_styles", None, ["x"]))
        path = write_layers(tmp_path / "q.gpkg", *(layers[i] for i in order))
        labels = open_labels(path, LabelRules(attribute="kind"), IMAGE, CLASSES)
        assert np.unique(labels.read(whole((10, 12)))[0]).tolist() == [10, 20]

    def test_of_an_area_must_be_one(self, tmp_path: Path) -> None:
        write_tiff(tmp_path / "i.tif", np.zeros((10, 12), np.uint8), crs="EPSG:32633", transform=_affine())
        scene = open_scene([tmp_path / "i.tif"], ImageRules())
        path = write_layers(tmp_path / "l.gpkg", self.extent, self.cover)
        with pytest.raises(InputError, match="save the one with the area as a file of its own: extent, landcover"):
            area_of(scene, None, path)
        alone = write_layers(tmp_path / "a.gpkg", self.cover, ("layer_styles", None, ["x"]))
        assert area_of(scene, None, alone).window == whole((10, 12))


def _affine() -> Any:
    from rasterio.transform import Affine

    georeference = IMAGE.georeference
    assert isinstance(georeference, Georeference) and georeference.crs == UTM
    return Affine(*georeference.transform)


class TestShapefileEncodings:
    def labels(self, path: Path) -> list[int]:
        return np.unique(open_labels(path, LabelRules(), IMAGE, CLASSES).read(whole((10, 12)))[0]).tolist()

    def write(self, path: Path, encoding: str) -> Path:
        shapes = shapely.to_wkb(np.array([rectangle(0, 0, 10, 6), rectangle(0, 6, 10, 6)]))
        names = np.array(["Gebüsch", "Wälder"], object)
        pyogrio.raw.write(path, shapes, [names], ["k"], geometry_type="Polygon", crs="EPSG:32633", encoding=encoding)
        return path

    @pytest.mark.parametrize("encoding", ["CP1252", "UTF-8", "CP1250"])
    def test_that_a_cpg_file_states_are_read(self, tmp_path: Path, encoding: str) -> None:
        assert self.labels(self.write(tmp_path / "a.shp", encoding)) == [10, 20]

    def test_utf_8_without_a_cpg_file_is_found_and_the_remedy_works(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.shp", "UTF-8")
        path.with_suffix(".cpg").unlink()
        with pytest.raises(
            InputError, match=r"a\.shp: its text is UTF-8, but no \.cpg file .*; write UTF-8 into a\.cpg"
        ):
            self.labels(path)
        path.with_suffix(".cpg").write_text("UTF-8")
        assert self.labels(path) == [10, 20]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://bucket/x.tif", "is remote"),
        ("https://example.org/x.tif", "is remote"),
        ("gs://bucket/scenes/*.tif", "is remote"),
        ("zip://a.zip!in.tif", "is packed"),
        ("/vsizip/a.zip/in.tif", "is a virtual path of GDAL"),
        ("/vsicurl/https://example.org/x.tif", "is a virtual path of GDAL"),
        ("a.zip", "is an archive; unpack it"),
        ("a.tar.gz", "is an archive; unpack it"),
        ("a.shp.zip", "is an archive; unpack it"),
        ("a.SAFE", "name its band files"),
        ("a.zarr", "is not supported"),
    ],
)
def test_what_is_not_local_or_packed_is_refused_wherever_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a.SAFE", "a.zarr"):
        (tmp_path / folder).mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in.tif", b"x")
    write_tiff(tmp_path / "i.tif", np.zeros((4, 5), np.uint8))
    assert words in refused(path)
    with pytest.raises(InputError, match=words):
        find_scenes([path])
    for image, labels in ((path, "i.tif"), ("i.tif", path)):
        scene = f'[[scenes]]\nimage = {json.dumps(image)}\nlabels = {json.dumps(labels)}\nrole = "train"\n'
        classes = '[classes]\nlist = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'
        (tmp_path / "d.toml").write_text(f"schema = 1\n{classes}{scene}")
        with pytest.raises(InputError, match=words):
            read_dataset(tmp_path / "d.toml")


def test_files_that_macos_puts_beside_others_are_none_of_a_glob(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiff(tmp_path / f"{name}.tif", np.zeros((4, 5), np.uint8))
        write_tiff(tmp_path / f"{name}_l.png", np.ones((4, 5), np.uint8), driver="PNG")
        (tmp_path / f"._{name}.tif").write_bytes(b"\0\5\x16\7")
        (tmp_path / f"._{name}_l.png").write_bytes(b"\0\5\x16\7")
    classes = '[classes]\nlist = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'
    scene = '[[scenes]]\nimage = "*.tif"\nlabels = "*{name}_l.*"\nrole = "train"\n'
    (tmp_path / "d.toml").write_text(f"schema = 1\n{classes}{scene}")
    assert [scene.name for _, scene in read_dataset(tmp_path / "d.toml").members] == ["a", "b"]
    for source in (tmp_path, tmp_path / "*.tif", tmp_path / "*a.*"):
        assert all(not file.name.startswith(".") for file in find_scenes([source]))
