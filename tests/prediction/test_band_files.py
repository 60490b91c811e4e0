"""Files of one band each are one scene, whichever of them is named; and a map never replaces a scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from segapp.cli import main
from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec
from segapp.prediction.inputs import find_scenes, group_by_bands
from segapp.prediction.predict import map_scenes
from segapp.scenes.band_files import BandFiles, differing_parts, same_scene
from segapp.scenes.geotiff import open_quietly
from segapp.scenes.rules import ImageReading, ImageRules
from segapp.windows import whole
from tests.prediction.conftest import NAMES
from tests.prediction.test_inputs import model_of
from tests.scenes.test_geotiff import write_tiff

LANDSAT = ("B2", "B3", "B4", "B5", "B6", "B7")


def write(folder: Path, *names: str, bands: int = 1) -> list[Path]:
    """Files whose pixels are the number of the file, from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_tiff(folder / name, np.full((20, 30, bands), number, np.uint16)) for number, name in enumerate(names, 1)
    ]


def taken(spec: ModelSpec, *sources: Path) -> tuple[list[list[int]], list[str]]:
    """The files, by their numbers, that each scene is read from in the model's order; and what is left out."""
    scenes, beside = group_by_bands(find_scenes(sources), spec)
    opened = [open_for_model(scene, spec) for scene in scenes]
    pixels = [scene.read(whole(scene.shape))[0, 0].round(4) for scene in opened]
    return [[int(value) for value in values] for values in pixels], [file.name for file in beside]


@pytest.mark.parametrize(
    ("names", "order", "beside"),
    [
        ([f"LC08_L2SP_a_SR_{b}.TIF" for b in ("B1", *LANDSAT)], [2, 3, 4, 5, 6, 7], ["LC08_L2SP_a_QA_PIXEL.TIF"]),
        ([f"LC08_a_{b}.TIF" for b in reversed(LANDSAT)], [6, 5, 4, 3, 2, 1], []),
        ([f"LE07_a_{b}.TIF" for b in ("B1", "B2", "B3", "B4", "B5", "B7")], [1, 2, 3, 4, 5, 6], []),
        (
            [f"T32TMT_20200901T101031_{b}_20m.jp2" for b in ("B02", "B03", "B04", "B05", "B11", "B12", "B8A")],
            [1, 2, 3, 7, 5, 6],
            ["T32TMT_20200901T101031_SCL_20m.jp2", "T32TMT_20200901T101031_TCI_20m.jp2"],
        ),
        ([f"{name}.tif" for name in reversed(NAMES)], [6, 5, 4, 3, 2, 1], []),
        ([f"field-7.{name}.tif" for name in NAMES], [1, 2, 3, 4, 5, 6], []),
    ],
)
@pytest.mark.parametrize("how", ["folder", "glob", "one"])
def test_are_put_in_the_models_order(
    tmp_path: Path, names: list[str], order: list[int], beside: list[str], how: str
) -> None:
    files = write(tmp_path / "scene", *names)
    write(tmp_path / "scene", *beside)
    sources = {"folder": [tmp_path / "scene"], "glob": files[1:], "one": files[:1]}[how]
    found, left_out = taken(model_of(*NAMES, scale=1.0), *sources)
    assert found == [order] and left_out == (beside if how == "folder" else [])


def test_of_several_scenes_are_apart_and_have_maps_of_their_names(tmp_path: Path) -> None:
    for scene in ("LC08_a", "LC08_b"):
        write(tmp_path, *(f"{scene}_{band}.TIF" for band in LANDSAT))
    scenes, _ = group_by_bands(find_scenes([tmp_path]), model_of(*NAMES))
    assert [scene.stem for scene in scenes] == ["LC08_a", "LC08_b"]
    assert all(isinstance(scene, BandFiles) and len(scene.files) == 6 for scene in scenes)


def test_files_that_only_sound_like_bands_are_scenes(tmp_path: Path) -> None:
    files = write(tmp_path, "park_red.tif", "park_green.tif", bands=6)
    assert group_by_bands(files, model_of(*NAMES)) == (files, [])
    single = write(tmp_path / "one", "a_B2.tif", "a_B3.tif")
    assert group_by_bands(single, model_of("thermal")) == (single, [])
    assert same_scene(write(tmp_path / "alone", "a_B2.tif")[0]) is None


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["LC08_t_SR_B2", "LC08_t_SR_B3", "LC08_t_QA_PIXEL"], ("SR_B2", "SR_B3", "QA_PIXEL")),
        (["LC08_t_SR_B2", "LC08_t_SR_B3"], ("B2", "B3")),
        (["T32_B02_10m", "T32_B11_20m"], ("B02_10m", "B11_20m")),
        (["T32_B02_20m", "T32_B11_20m"], ("B02", "B11")),
        (["dem", "slope"], ("dem", "slope")),
        (["a", "a"], ()),
    ],
)
def test_the_part_of_a_name_that_is_the_bands_is_whole_words(names: list[str], parts: tuple[str, ...]) -> None:
    found = differing_parts([Path(f"{name}.tif") for name in names])
    assert found == parts or (not parts and not all(found))


class TestOfTraining:
    """What a dataset of band files is, its model looks for."""

    def spec(self, folder: Path, bands: tuple[str, ...], quality: str | None = None) -> ModelSpec:
        files = write(folder / "train", *(f"t1_{band}.tif" for band in bands))
        np.save(folder / "l.npy", np.ones((20, 30), np.uint8))
        listed = ", ".join(f'"train/*_{band}.tif"' for band in bands)
        rules = ""
        if quality:
            write(folder / "train", f"t1_{quality}.tif")
            rules = "quality = { bits = [1] }\n"
        (folder / "d.toml").write_text(
            f"schema = 1\n[image]\n{rules}[classes]\nlist = [{{ id = 1, name = 'a' }}, {{ id = 2, name = 'b' }}]\n"
            f"[[scenes]]\nimage = [{listed}]\nlabels = 'l.npy'\nrole = 'train'\n"
            + (f"quality = 'train/*_{quality}.tif'\n" if quality else "")
        )
        dataset = read_dataset(folder / "d.toml")
        assert dataset.reading.band_files == bands and len(files) == len(bands)
        spec = model_of(*(band.name for band in dataset.bands), scale=1.0)
        return spec.model_copy(update={"images": dataset.reading})

    @pytest.mark.parametrize("bands", [("dem", "slope", "vv"), ("B4", "B3", "B2")])
    def test_any_names_are_found_again_in_their_order(self, tmp_path: Path, bands: tuple[str, ...]) -> None:
        spec = self.spec(tmp_path, bands)
        write(tmp_path / "new", *(f"x_{band}.tif" for band in (*sorted(bands), "other")))
        found, left_out = taken(spec, tmp_path / "new")
        assert found == [[1 + sorted(bands).index(band) for band in bands]] and left_out == ["x_other.tif"]

    @pytest.mark.parametrize("there", [True, False])
    def test_the_quality_file_beside_them_is_used_or_missed(self, tmp_path: Path, there: bool) -> None:
        spec = self.spec(tmp_path, ("B4", "B3"), "QA")
        files = write(tmp_path / "new", "x_B3.tif", "x_B4.tif")
        if there:
            write_tiff(
                tmp_path / "new" / "x_QA.tif", np.where(np.arange(600).reshape(20, 30) < 150, 2, 0).astype(np.uint16)
            )
        (source,), _ = group_by_bands(files, spec)
        for rules in (None, ImageRules.model_validate({"quality": {"bits": [1]}})):
            scene = open_for_model(source, spec, rules)
            assert (~scene.valid(whole(scene.shape))).mean() == (0.25 if there else 0)
            assert ("without a quality file" in "".join(scene.remarks)) != there

    def test_models_of_earlier_versions_are_read(self) -> None:
        assert ImageReading.model_validate({"quality_file": True}).band_files == ()


def test_a_map_of_band_files_is_that_of_one_file(tmp_path: Path, model_folder: Path, write_scene) -> None:
    whole_scene = write_scene(tmp_path / "whole.tif", (70, 60))
    (tmp_path / "bands").mkdir()
    with open_quietly(whole_scene) as source:
        for number, band in enumerate(LANDSAT, 1):
            profile = {**source.profile, "count": 1}
            with open_quietly(tmp_path / "bands" / f"LC09_x_{band}.TIF", "w", **profile) as target:
                target.write(source.read(number), 1)
    map_scenes(model_folder, whole_scene, tmp_path / "one.tif", quiet=True)
    (record,) = map_scenes(model_folder, tmp_path / "bands", tmp_path / "maps", quiet=True).records
    assert "LC09_x_B2.TIF and 5 more" in record.scene and "taken by wavelength" in "".join(record.notes)
    with open_quietly(tmp_path / "one.tif") as one, open_quietly(tmp_path / "maps" / "LC09_x.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())


@pytest.mark.parametrize("output", ["scenes", "scenes/a.tif", "link/a.tif"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_map_never_replaces_a_scene(
    tmp_path: Path,
    model_folder: Path,
    write_scene,
    output: str,
    resume: bool,
) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scenes")
    for name in "ab":
        write_scene(tmp_path / "scenes" / f"{name}.tif", (70, 60))
    before = (tmp_path / "scenes" / "a.tif").read_bytes()
    sources = tmp_path / "scenes" if output == "scenes" else tmp_path / "scenes" / "a.tif"
    with pytest.raises(
        InputError, match=r"a\.tif: is a scene itself, and a map would replace it; give another --output"
    ):
        map_scenes(model_folder, sources, tmp_path / output, resume=resume, quiet=True)
    assert (tmp_path / "scenes" / "a.tif").read_bytes() == before


def test_inspect_and_datasets_notice_bands_that_are_taken_for_scenes(tmp_path: Path) -> None:
    (first, *_) = write(tmp_path / "s", *(f"LC08_x_{band}.TIF" for band in LANDSAT))
    result = CliRunner().invoke(main, ["inspect", str(first), "--json", "-"])
    assert "is one of 6 files of one band each of the scene LC08_x" in json.loads(result.stdout)["warnings"][0]
    np.save(tmp_path / "l.npy", np.ones((20, 30), np.uint8))
    (tmp_path / "d.toml").write_text(
        "schema = 1\n[classes]\nlist = [{ id = 1, name = 'a' }, { id = 2, name = 'b' }]\n"
        "[[scenes]]\nimage = 's/*_B?.TIF'\nlabels = 'l.npy'\nrole = 'train'\n"
    )
    (note,) = read_dataset(tmp_path / "d.toml").remarks()
    assert "6 scenes of one band each" in note and 'image = ["s/LC08_x_B2.TIF", "s/LC08_x_B3.TIF", ...]' in note
