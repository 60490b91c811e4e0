"""Names, colours, areas and places of a class map, whatever wrote it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.attribute_table import write_class_names
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.open import open_raster
from segapp.viewing.class_map import ClassMap

from .conftest import CLASSES, PLACE, Files, probabilities_of, write_layer, write_scene


def _summary(found: ClassMap) -> dict[int, tuple[str, str, int]]:
    return {area.entry.id: (area.entry.name, area.entry.color, area.pixels) for area in found.areas}


def test_names_colours_and_areas_are_those_that_predict_wrote(files: Files) -> None:
    found = ClassMap(files.classes, RasterioRaster(files.scene))
    wanted = {c.id: (c.name, c.color, int((files.ids == c.id).sum())) for c in CLASSES.classes}
    assert _summary(found) == wanted
    assert [area.hectares for area in found.areas] == [n / 100 for _, _, n in wanted.values()]  # pixels of 10 m


def test_categories_name_the_classes_of_other_programs_maps(tmp_path: Path, files: Files) -> None:
    file = tmp_path / "map.tif"
    shutil.copy(files.classes, file)
    names = [""] * 10 + ["wood"] + [""] * 9 + ["lake"]
    categories = "".join(f"<Category>{name}</Category>" for name in names)
    text = (
        f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{categories}</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    Path(f"{file}.aux.xml").write_text(text)
    named = {key: value[:2] for key, value in _summary(ClassMap(file, RasterioRaster(files.scene))).items()}
    assert named == {10: ("wood", "#117733"), 20: ("lake", "#0064c8"), 30: ("class 30", "#ddaa33")}


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_a_map_without_names_takes_those_of_its_record_or_of_the_model(suffix: str, tmp_path: Path) -> None:
    ids = np.repeat(np.array([10, 20, 20, 30], np.uint8), 16).reshape(8, 8)
    file, scene = tmp_path / f"map{suffix}", RasterioRaster(write_scene(tmp_path / "scene.tif", ids[None]))
    if suffix == ".npy":
        np.save(file, ids)
    else:
        write_scene(file, ids[None])
    assert [area.entry.name for area in ClassMap(file, scene).areas] == ["class 10", "class 20", "class 30"]
    assert _summary(ClassMap(file, scene, CLASSES)) == {
        c.id: (c.name, c.color, int((ids == c.id).sum())) for c in CLASSES.classes
    }
    classes = [{"id": c.id, "name": c.name.upper(), "pixels": 0} for c in CLASSES.classes]
    record = {"scene": "scene.tif", "map": file.name, "classes": classes, "nodata_pixels": 0}
    Path(f"{file}.json").write_text(json.dumps(record))
    assert [area.entry.name for area in ClassMap(file, scene).areas] == [name.upper() for name in CLASSES.names]


def test_ids_of_sixteen_bits_keep_their_colours(tmp_path: Path, decode: Callable[[bytes], np.ndarray]) -> None:
    ids = np.where(np.arange(64).reshape(8, 8) % 3 == 0, 4000, 1).astype(np.uint16)
    file = write_scene(tmp_path / "map.tif", ids[None])
    classes = [{"id": 1, "name": "a", "color": "#010203"}, {"id": 4000, "name": "b", "color": "#a0b0c0"}]
    write_class_names(file, ClassTable.model_validate({"classes": classes}))
    found = ClassMap(file, RasterioRaster(file))
    tile = decode(found.tile(0, 0, 0))[:8, :8]
    assert np.array_equal(tile[..., 0], np.where(ids == 1, 1, 0xA0)) and (tile[..., 3] == 255).all()
    assert np.array_equal(decode(found.tile(0, 0, 0, {1}))[:8, :8, 3] == 255, ids == 4000)
    assert not decode(found.tile(0, 0, 0, {1, 4000}))[..., 3].any()


def test_a_map_of_a_part_lies_where_its_georeference_says(tmp_path: Path, files: Files) -> None:
    a, b, c, d, e, f = PLACE.transform
    place = type(PLACE)(PLACE.crs, (a, b, c + 100 * a, d, e, f + 50 * e))
    part = probabilities_of(3, (300, 400))
    for layer in ("classes", "probabilities"):
        write_layer(tmp_path / "part.tif", layer, part, place)
    found = ClassMap(tmp_path / "part.tif", RasterioRaster(files.scene))
    wanted = CLASSES.ids[part[200, 150].argmax()]
    said = found.at(50 + 200, 100 + 150)
    assert said["id"] == wanted
    assert [each["value"] for each in said["probabilities"]] == pytest.approx(part[200, 150].tolist(), abs=1 / 254)
    assert found.at(10, 10) == {"id": None, "probabilities": None, "confidence": None, "entropy": None}
    assert sum(area.pixels for area in found.areas) == 280 * 400  # of the map, not of the scene


def test_a_map_of_another_size_without_a_place_is_refused(tmp_path: Path, files: Files) -> None:
    np.save(tmp_path / "map.npy", np.ones((5, 6), np.uint8))
    with pytest.raises(InputError, match=r"map.npy: is 5x6 pixels where .*scene.tif is 700x900"):
        ClassMap(tmp_path / "map.npy", RasterioRaster(files.scene))


def test_what_is_no_class_map_is_refused(tmp_path: Path, files: Files) -> None:
    scene = RasterioRaster(files.scene)
    with pytest.raises(InputError, match="has 6 bands where a class map has one"):
        ClassMap(files.scene, scene)
    write_scene(tmp_path / "band.tif", files.pixels[:1])
    with pytest.raises(InputError, match="holds measurements and no classes"):
        ClassMap(tmp_path / "band.tif", scene)
    with pytest.raises(InputError, match="no such file"):
        ClassMap(tmp_path / "absent.tif", scene)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_palette_png_is_a_map(tmp_path: Path, files: Files) -> None:
    with (
        rasterio.open(files.classes) as source,
        rasterio.open(tmp_path / "map.png", "w", driver="PNG", width=900, height=700, count=1, dtype="uint8") as target,
    ):
        target.write(source.read(1), 1)
        target.write_colormap(1, source.colormap(1))
    found = ClassMap(tmp_path / "map.png", open_raster(files.scene))
    assert {area.entry.color for area in found.areas if area.entry.id} == set(CLASSES.colors)
