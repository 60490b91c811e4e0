"""From scenes to maps: the right pixels in the right place, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask
from rasterio.transform import xy

from segapp.errors import InputError
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import load
from segapp.model.model_scene import open_for_model
from segapp.prediction.predict import map_scenes
from segapp.prediction.settings import MapSettings
from segapp.windows import Window
from tests.prediction.conftest import CLASSES, NAMES

WriteScene = Callable[..., Path]


def _ids(model: Path, scene: Path) -> np.ndarray:
    """The map of the whole scene at once."""
    network = load(model)
    opened = open_for_model(scene, network.spec)
    return CLASSES.to_ids(Predictor(TensorFlowEngine(network), tile=2048).class_map(opened))


def test_a_map_has_the_scenes_place_and_the_networks_classes(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    run = RunSettings(tile=128, precision="float32")
    maps = map_scenes(model_folder, scene, tmp_path / "map.tif", run=run, quiet=True)
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "map.tif") as target:
        found = target.read(1)
        assert (target.crs, target.transform, target.shape) == (source.crs, source.transform, source.shape)
        assert target.nodata == CLASSES.nodata and target.block_shapes == [(256, 256)]
        assert target.colormap(1)[20] == (0, 100, 200, 255)
        assert target.tags()["SEGAPP_SCENE"] == "scene.tif"
    expected = _ids(model_folder, scene)
    assert (found == expected).mean() > 0.9999  # ties
    assert (found[:9] == CLASSES.nodata).all() and len(np.unique(found)) == 4
    (record,) = maps.records
    assert {entry.id: entry.pixels for entry in record.classes} == {i: int((found == i).sum()) for i in (10, 20, 30)}
    assert record.nodata_pixels == 9 * 420
    assert [entry.hectares for entry in record.classes] == pytest.approx([e.pixels * 0.09 for e in record.classes])


def test_layers_agree_with_the_classes(model_folder: Path, write_scene: WriteScene, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", (90, 70))
    settings = MapSettings(layers=("probabilities-float32", "confidence", "entropy"))
    map_scenes(model_folder, scene, tmp_path / "map.tif", settings, quiet=True)

    def read(name: str) -> np.ndarray:
        with rasterio.open(tmp_path / name) as target:
            return target.read()

    probabilities, (confidence,), (entropy,) = (
        read(f"map.{layer}.tif") for layer in ("probabilities", "confidence", "entropy")
    )
    (ids,) = read("map.tif")
    valid = ids != CLASSES.nodata
    np.testing.assert_array_equal(CLASSES.ids[probabilities.argmax(0)][valid], ids[valid])
    np.testing.assert_allclose(probabilities.sum(0)[valid], 1, atol=1e-5)
    np.testing.assert_array_equal(confidence[valid], probabilities.max(0)[valid])
    expected = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(0) / np.log(3)
    np.testing.assert_allclose(entropy[valid], expected[valid], atol=1e-5)
    assert np.isnan(confidence[~valid]).all() and np.isnan(probabilities[:, ~valid]).all()


@pytest.mark.parametrize("window", [Window(37, 51, 100, 130), Window(-10, 400, 50, 50)])
def test_a_window_is_mapped_as_it_is_in_the_whole_scene(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path, window: Window
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    map_scenes(model_folder, scene, tmp_path / "map.tif", MapSettings(window=window), quiet=True)
    inside = window.intersect(Window(0, 0, 300, 420))
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "map.tif") as target:
        assert target.shape == inside.shape
        assert target.xy(0, 0) == source.xy(inside.row, inside.col)
        assert (target.read(1) == _ids(model_folder, scene)[inside.slices]).mean() > 0.999


def test_outside_the_area_of_interest_there_is_no_data(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    with rasterio.open(scene) as source:
        corners = [xy(source.transform, row, col) for row, col in ((50, 60), (60, 200), (150, 130))]
    ring = [[float(x), float(y)] for x, y in [*corners, corners[0]]]
    area = {"type": "Polygon", "coordinates": [ring]}
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
        "features": [{"type": "Feature", "properties": {}, "geometry": area}],
    }
    (tmp_path / "area.geojson").write_text(json.dumps(collection))
    settings = MapSettings(aoi=tmp_path / "area.geojson")
    map_scenes(model_folder, scene, tmp_path / "map.tif", settings, quiet=True)
    with rasterio.open(tmp_path / "map.tif") as target:
        found = target.read(1)
        outside = geometry_mask([area], found.shape, target.transform)
        first = [int(value) for value in ~target.transform * corners[0]]
    assert ((found == CLASSES.nodata) == outside).all() and 0 < outside.sum() < outside.size
    assert found.shape[0] < 110 and first == [0, 0]


def test_arrays_and_pictures_are_mapped_in_kind(model_folder: Path, write_scene: WriteScene, tmp_path: Path) -> None:
    with rasterio.open(write_scene(tmp_path / "scene.tif", (60, 50))) as source:
        pixels = source.read().transpose(1, 2, 0)
    (tmp_path / "scenes").mkdir()
    np.save(tmp_path / "scenes" / "array.npy", pixels)
    map_scenes(model_folder, tmp_path / "scenes", tmp_path / "maps", quiet=True)
    found = np.load(tmp_path / "maps" / "array.npy")
    assert found.shape == (60, 50) and set(np.unique(found)) <= {0, 10, 20, 30}


def test_one_bad_scene_does_not_stop_the_others(model_folder: Path, write_scene: WriteScene, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for name in ("a", "c"):
        write_scene(scenes / f"{name}.tif", (60, 50))
    shutil.copy(write_scene(tmp_path / "whole.tif", (60, 50)), scenes / "b.tif")
    (scenes / "b.tif").write_bytes((scenes / "b.tif").read_bytes()[:9000])
    maps = map_scenes(model_folder, scenes, tmp_path / "maps", quiet=True)
    assert [Path(record.map).name for record in maps.records] == ["a.tif", "c.tif"]
    (failure,) = maps.failures
    assert failure.scene == scenes / "b.tif" and "b.tif: " in failure.reason
    assert not [file for file in (tmp_path / "maps").iterdir() if "b.tif" in file.name]


def test_maps_are_not_overwritten_and_resumed_only_with_the_same_settings(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene, output = write_scene(tmp_path / "scene.tif", (60, 50)), tmp_path / "map.tif"
    first = map_scenes(model_folder, scene, output, quiet=True)
    before = output.stat().st_mtime_ns
    with pytest.raises(InputError, match=r"map.tif: exists already; .* --resume"):
        map_scenes(model_folder, scene, output, quiet=True)
    assert map_scenes(model_folder, scene, output, quiet=True, resume=True) == first
    assert output.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="was made with another layers"):
        map_scenes(model_folder, scene, output, MapSettings(layers=("entropy",)), quiet=True, resume=True)


def test_a_file_that_is_no_finished_map_is_never_written_over(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene, theirs = write_scene(tmp_path / "scene.tif", (60, 50)), write_scene(tmp_path / "map.tif", (9, 20))
    before = theirs.read_bytes()
    for output, reason in ((theirs, "is no map that segapp finished; remove it"), (scene, "is a scene itself")):
        with pytest.raises(InputError, match=rf"{output.name}: {reason}"):
            map_scenes(model_folder, scene, output, quiet=True, resume=True)
    assert theirs.read_bytes() == before


def test_values_unlike_those_of_training_are_noted(model_folder: Path, write_scene: WriteScene, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", (60, 50))
    from segapp.scenes.rules import ImageRules

    for name, scale in (("map", 1.0), ("dark", 1e-8)):
        settings = MapSettings(rules=ImageRules(scale=scale, unit="reflectance"))
        (record,) = map_scenes(model_folder, scene, tmp_path / f"{name}.tif", settings, quiet=True).records
        (note,) = record.notes
        assert "scene.tif: values are unlike those of training" in note and "check --scale" in note
    (record,) = map_scenes(model_folder, scene, tmp_path / "other.tif", quiet=True).records
    assert record.notes == ()


def _start(model: Path, scenes: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "segapp", "predict", str(scenes), "--model", str(model), "--output", str(output)]
    command += ["--also", "confidence", "--polygons", "gpkg", "--tile-size", "128", "--quiet", *more]
    return subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})


def _contents(folder: Path) -> dict[str, tuple[object, ...]]:
    """Pixels and tags of all rasters."""
    found = {}
    for file in sorted(folder.glob("[!.]*.tif")):
        with rasterio.open(file) as raster:
            found[file.name] = (raster.read().tobytes(), tuple(sorted(raster.tags().items())), str(raster.nodata))
    return found


def test_killed_at_any_moment_and_resumed_it_ends_as_uninterrupted(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for number in range(6):
        write_scene(scenes / f"{number}.tif", (500, 400), seed=number)
    assert _start(model_folder, scenes, tmp_path / "whole").wait() == 0
    expected = _contents(tmp_path / "whole")
    assert len(expected) == 12
    output = tmp_path / "killed"
    rng = np.random.default_rng(int(time.time()))
    for wanted in (1, 3):  # maps finished before it is killed
        process = _start(model_folder, scenes, output, "--resume")
        while process.poll() is None and len(list(output.glob("*.json"))) < wanted:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = _contents(output)
        assert found.items() <= expected.items()
    assert _start(model_folder, scenes, output, "--resume").wait() == 0
    assert _contents(output) == expected
    assert {file.name for file in output.iterdir()} == {file.name for file in (tmp_path / "whole").iterdir()}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("landsat7/L7_ETMs.tif", {"bands": (1, 2, 3, 4, 5, 6)}),
        ("rstoolbox/lsat.tif", {"bands": (1, 2, 3, 4, 5, 7)}),
    ],
)
def test_real_scenes_give_maps_that_gdal_reads(
    shared_data: Path, model_folder: Path, tmp_path: Path, name: str, settings: dict[str, object]
) -> None:
    from segapp.scenes.rules import ImageRules

    rules = ImageRules.model_validate({**settings, "scale": 1 / 400, "names": NAMES})
    output = tmp_path / "map.tif"
    (record,) = map_scenes(
        model_folder, shared_data / name, output, MapSettings(rules=rules, polygons="gpkg"), quiet=True
    ).records
    with rasterio.open(shared_data / name) as source, rasterio.open(output) as target:
        assert (target.crs, target.transform, target.shape) == (source.crs, source.transform, source.shape)
        mapped = int((target.read(1) != target.nodata).sum())
        pixel = abs(source.transform.a * source.transform.e)
    from pyogrio.raw import read
    from shapely import area, from_wkb

    geometries = read(tmp_path / "map.gpkg")[2]
    assert area(from_wkb(geometries)).sum() == pytest.approx(mapped * pixel, rel=1e-9)
    assert sum(entry.pixels for entry in record.classes) == mapped > 0
    if shutil.which("gdalinfo") is None:
        pytest.skip("gdalinfo is not installed (Debian: gdal-bin); the rest of this test passed")
    done = subprocess.run(["gdalinfo", "-json", str(output)], capture_output=True, check=True, text=True)
    information = json.loads(done.stdout)
    (band,) = information["bands"]
    assert band["colorInterpretation"] == "Palette" and band["noDataValue"] == CLASSES.nodata
    assert band["colorTable"]["entries"][10][:3] == [0, 100, 0]
    assert band["categories"][20] == "water & ice" or "water & ice" in done.stdout
    assert information["geoTransform"] and information["coordinateSystem"]["wkt"]


def test_a_scene_without_a_valid_pixel_is_refused(model_folder: Path, write_scene: WriteScene, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", (8, 50))
    with pytest.raises(InputError, match=r"scene.tif: holds no valid pixel"):
        map_scenes(model_folder, scene, tmp_path / "map.tif", quiet=True)
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]
