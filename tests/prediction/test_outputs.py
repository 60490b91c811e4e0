"""No file of the user is written over, and a map is kept only where this run would make the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segapp.errors import InputError
from segapp.inference.settings import RunSettings
from segapp.prediction.outputs import files_made, outputs_of
from segapp.prediction.predict import map_scenes
from segapp.prediction.settings import MapSettings
from segapp.scenes.rules import ImageRules

WriteScene = Callable[..., Path]
ALL = MapSettings(layers=("confidence",), polygons="gpkg")


@pytest.fixture
def scene(write_scene: WriteScene, tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", (60, 50))


@pytest.fixture
def copied_model(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


@pytest.mark.parametrize("name", ["map.confidence.tif", "map.gpkg", "map.tif.json"])
def test_what_lies_where_a_file_would_be_made_is_kept(
    name: str, model_folder: Path, scene: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("theirs")
    for resume in (False, True):
        with pytest.raises(InputError, match=rf"{name}: exists already and would be replaced"):
            map_scenes(model_folder, scene, tmp_path / "map.tif", ALL, quiet=True, resume=resume)
    assert (tmp_path / name).read_text() == "theirs" and not (tmp_path / "map.tif").exists()


def test_a_layer_of_one_scene_is_no_map_of_another(model_folder: Path, scene: Path, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for name in ("a.tif", "a.confidence.tif"):
        (scenes / name).write_bytes(scene.read_bytes())
    with pytest.raises(InputError, match=r"a.confidence.tif: would be made for both"):
        map_scenes(model_folder, scenes, tmp_path / "maps", ALL, quiet=True)
    assert not (tmp_path / "maps").exists()


def test_what_an_interrupted_run_left_is_replaced(model_folder: Path, scene: Path, tmp_path: Path) -> None:
    output = tmp_path / "map.tif"
    first = map_scenes(model_folder, scene, output, ALL, quiet=True)
    before = output.read_bytes()
    output.unlink()  # it gets its name last
    assert map_scenes(model_folder, scene, output, ALL, quiet=True, resume=True) == first
    assert output.read_bytes() == before


def _other_scene(scene: Path, model: Path, output: Path) -> None:
    with rasterio.open(scene, "r+") as file:
        file.write(file.read() + np.uint16(1))


def _other_classes(scene: Path, model: Path, output: Path) -> None:
    document = json.loads((model / "model.json").read_text())
    document["classes"]["classes"][0]["name"] = "renamed"
    (model / "model.json").write_text(json.dumps(document))


def _without_layer(scene: Path, model: Path, output: Path) -> None:
    output.with_name("map.confidence.tif").unlink()


def _truncated(scene: Path, model: Path, output: Path) -> None:
    output.write_bytes(output.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_scene, r"map.tif: was made of another scene.tif"),
        (_other_classes, r"map.tif: was made with another model;"),
        (_without_layer, r"map.confidence.tif: is missing since map.tif was made"),
        (_truncated, r"map.tif: has changed since map.tif was made"),
    ],
)
def test_a_map_of_something_else_is_not_kept(
    change: Callable[[Path, Path, Path], None],
    reason: str,
    copied_model: Path,
    scene: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "map.tif"
    map_scenes(copied_model, scene, output, ALL, quiet=True)
    change(scene, copied_model, output)
    with pytest.raises(InputError, match=reason):
        map_scenes(copied_model, scene, output, ALL, quiet=True, resume=True)
    output.unlink()  # as the line says
    map_scenes(copied_model, scene, output, ALL, quiet=True, resume=True)
    map_scenes(copied_model, scene, output, ALL, quiet=True, resume=True)


def test_a_map_with_nan_for_no_data_is_resumed(model_folder: Path, scene: Path, tmp_path: Path) -> None:
    settings = MapSettings(rules=ImageRules(nodata=float("nan")))
    first = map_scenes(model_folder, scene, tmp_path / "map.tif", settings, quiet=True)
    again = map_scenes(model_folder, scene, tmp_path / "map.tif", settings, RunSettings(), quiet=True, resume=True)
    assert again.records[0].files == first.records[0].files


def test_a_name_that_ends_in_digits_is_a_folders() -> None:
    assert outputs_of([Path("a.tif")], Path("maps_2026.11.26")) == [Path("maps_2026.11.26/a.tif")]
    assert outputs_of([Path("a.tif")], Path("map.mat")) == [Path("map.mat")]


def test_the_map_is_the_last_of_the_files_made() -> None:
    names = [file.name for file in files_made(Path("m.tif"), ALL)]
    assert names == ["m.confidence.tif", "m.gpkg", "m.tif.json", "m.tif"]
