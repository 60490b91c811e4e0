"""Which scenes are mapped, and which of their bands a model takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from segapp.prediction.inputs import IMAGE_SUFFIXES, find_scenes
from segapp.scenes.geotiff import open_quietly
from segapp.scenes.open import _FORMATS
from segapp.scenes.rules import ImageRules
from segapp.windows import whole
from tests.scenes.format_checks import noise
from tests.scenes.test_geotiff import write_tiff

CLASSES = ClassTable.model_validate({"classes": [{"id": 1, "name": "land"}, {"id": 2, "name": "water"}]})


def model_of(*names: str, **band: Any) -> ModelSpec:
    """A model of bands of these names; reflectance is a count times 1e-4 unless `band` says otherwise."""
    band = {"scale": 1e-4, "unit": "reflectance", **band}
    return ModelSpec(
        schema=2,
        name="small",
        network=UNetConfig(),
        bands=tuple(Band(name=name, **band) for name in names),
        classes=CLASSES,
        normalization=Normalization(mean=(0.0,) * len(names), std=(1.0,) * len(names)),
        patch_size=32,
    )


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return [folder / name for name in names]


def test_sources_stand_for_files_in_their_order_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path(), "b.tif", "a.tif", "other/c.TIFF", "other/below/d.tif", "odd[1].tif", "e.raw")
    assert find_scenes(["b.tif", Path("*.tif")]) == [Path("b.tif"), Path("a.tif"), Path("odd[1].tif")]
    assert find_scenes(["odd[1].tif", tmp_path / "odd[1].tif"]) == [Path("odd[1].tif")]
    assert find_scenes(["other/../other", "other/c.TIFF"]) == [Path("other/../other/c.TIFF")]
    assert find_scenes(["**/*.tif", "e.raw"])[-2:] == [Path("other/below/d.tif"), Path("e.raw")]
    assert find_scenes(["../*/e.raw"]) == [Path("..") / tmp_path.name / "e.raw"]
    assert find_scenes([tmp_path / "other" / "*"]) == [tmp_path / "other" / "c.TIFF"]


def test_a_folder_gives_its_images_and_nothing_beside_them(tmp_path: Path) -> None:
    images = touch(tmp_path, "a.tif", "b.JP2", "c.mat", "d.npy", "e.png")
    touch(tmp_path, "a.tif.aux.xml", "a.tif.json", "a.tif.ovr", "notes.txt", "._a.tif", "below/f.tif", "folder.tif/g")
    assert find_scenes([tmp_path]) == images


def test_every_format_of_arrays_is_found_in_folders() -> None:
    assert set(_FORMATS) <= IMAGE_SUFFIXES


def test_a_list_is_relative_to_itself(tmp_path: Path) -> None:
    a, b, c = touch(tmp_path / "data [new]", "a.tif", "b.tif", "more/c.tif")
    (tmp_path / "elsewhere.tif").touch()
    listing = tmp_path / "data [new]" / "scenes.TXT"
    text = f"\ufeff# two of them\n\n  b.tif  \nmore\n{tmp_path / 'elsewhere.tif'}\n*.tif\r\n"
    listing.write_text(text, encoding="utf-8")
    assert find_scenes([listing]) == [b, c, tmp_path / "elsewhere.tif", a]


def test_sources_that_stand_for_nothing_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, content in (("none.txt", b"# nothing\n\n"), ("lost.txt", b"\na.tif\n"), ("binary.txt", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
    for sources, message in (
        ([], "no scene is given"),
        ([tmp_path / "missing.tif"], r"missing\.tif: no such file"),
        ([tmp_path / "missing.txt"], r"missing\.txt: no such file"),
        ([tmp_path / "*.tif"], r"\*\.tif: matches no file"),
        ([tmp_path / "empty"], r"empty: holds no images"),
        ([tmp_path / "none.txt"], r"none\.txt: lists no files"),
        ([tmp_path / "lost.txt"], r"lost\.txt: line 2: .*a\.tif: no such file"),
        ([tmp_path / "binary.txt"], r"binary\.txt: cannot be read as a list of files"),
        (["x" * 5000], "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            find_scenes(sources)


def scene(folder: Path, names: list[str | None], **profile: Any) -> tuple[Path, np.ndarray]:
    """A file of bands with these names, and its (H, W, C) counts."""
    counts = noise(np.uint16, (20, 30, len(names)))
    file = write_tiff(folder / "scene.tif", counts, **profile)
    with open_quietly(file, "r+") as opened:
        opened.descriptions = names
    return file, counts


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["nir", "GREEN", "Red", "blue", "qa"], [1, 2, 0]),  # by name, in the model's order
        (["red", "nir", "green"], [2, 0, 1]),
        ([None, None, None], [0, 1, 2]),  # as many, in order
        (["B3", "B4", "B8"], [0, 1, 2]),
        (["B3", None, "nir"], [0, 1, 2]),
    ],
)
def test_bands_are_taken_by_name_or_in_order(tmp_path: Path, names: list[str | None], taken: list[int]) -> None:
    file, counts = scene(tmp_path, names)
    model = model_of("green", "red", "NIR")
    opened = open_for_model(file, model)
    assert opened.bands == model.bands and opened.name == "scene"
    np.testing.assert_array_equal(
        opened.read(whole(opened.shape)), counts[..., taken].astype(np.float32) * np.float32(1e-4)
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([None] * 12, r"scene\.tif: has 12 bands, but the model takes 3 \(green, red, nir\); choose them with --bands"),
        (["green"], r"scene\.tif: has 1 band, but the model takes 3 \(green, red, nir\); give a file that has them"),
        (["blue", "green", "red"], r"its bands are blue, green, red, but the model takes 3 \(green, red, nir\)"),
        ([None, "swir1", None], r"its bands are \?, swir1, \?, but the model takes 3"),
        (["nir", "green", "red", "red"], r"has 4 bands"),  # which red?
    ],
)
def test_bands_that_do_not_fit_are_refused(tmp_path: Path, names: list[str | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_for_model(scene(tmp_path, names)[0], model_of("green", "red", "nir"))


def test_a_stated_wavelength_can_be_contradicted(tmp_path: Path) -> None:
    file, _ = scene(tmp_path, ["nir"])
    assert open_for_model(file, model_of("B8A", wavelength_nm=864.7)).bands[0].name == "B8A"
    with pytest.raises(InputError, match=r"its bands are nir, but the model takes 1 \(B4\)"):
        open_for_model(file, model_of("B4", wavelength_nm=664.6))


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ({"bands": [3, 1]}, [2, 0]),
        ({"bands": ["nir", "swir1"]}, [3, 4]),  # the user's word counts, whatever the file calls them
        ({"bands": [4, 3], "names": ["red", "green"]}, [2, 3]),  # names of a dataset are the file's
        ({"names": ["a", "green", "b", "c", "red"]}, [1, 4]),
    ],
)
def test_bands_of_the_rules_are_honoured(tmp_path: Path, rules: dict[str, Any], taken: list[int]) -> None:
    file, counts = scene(tmp_path, ["blue", "green", "red", "nir", "swir1"])
    opened = open_for_model(file, model_of("green", "red", scale=1.0), ImageRules.model_validate(rules))
    np.testing.assert_array_equal(opened.read(whole(opened.shape)), counts[..., taken])
    with pytest.raises(InputError, match=r"3 bands are chosen, but the model takes 2 \(green, red\)"):
        open_for_model(file, model_of("green", "red"), ImageRules(bands=(1, 2, 3)))
    with pytest.raises(InputError, match="bands asks for band 9, but there are 5"):
        open_for_model(file, model_of("green", "red"), ImageRules(bands=(1, 9)))


def test_a_mask_band_is_left_out_and_nodata_is_added(tmp_path: Path) -> None:
    file, counts = scene(tmp_path, [None] * 3)
    counts[..., 1] = noise(bool, (20, 30))
    counts[3, 4, 0] = 77
    write_tiff(file, counts)
    opened = open_for_model(file, model_of("a", "b"), ImageRules(mask_band=2, nodata=77))
    expected = counts[..., [0, 2]].astype(np.float32) * np.float32(1e-4)
    expected[(counts[..., 1] == 0) | (counts == 77).any(-1)] = np.nan
    np.testing.assert_array_equal(opened.read(whole(opened.shape)), expected)


def test_scale_and_offset_of_the_rules_go_with_their_bands(tmp_path: Path) -> None:
    file, counts = scene(tmp_path, ["red", "green"])
    rules = ImageRules(scale=(0.5, 2.0), offset=(1.0, -1.0))
    opened = open_for_model(file, model_of("green", "red"), rules)
    expected = counts.astype(np.float32)[..., ::-1] * np.float32([2, 0.5]) + np.float32([-1, 1])
    np.testing.assert_array_equal(opened.read(whole(opened.shape)), expected)
    assert [(band.name, band.scale, band.offset, band.unit) for band in opened.bands] == [
        ("green", 2.0, -1.0, "reflectance"),
        ("red", 0.5, 1.0, "reflectance"),
    ]
    as_it_is = open_for_model(file, model_of("green", "red"), ImageRules(unit="reflectance"))
    np.testing.assert_array_equal(as_it_is.read(whole(as_it_is.shape)), counts[..., ::-1])


@pytest.mark.parametrize("rules", [{"scale": 0.1}, {"unit": "digital number"}])
def test_another_unit_is_refused(tmp_path: Path, rules: dict[str, Any]) -> None:
    file, _ = scene(tmp_path, [None])
    with pytest.raises(InputError, match=r"scene\.tif: .* but the model takes 'kelvin'; set 'scale' and 'offset'"):
        open_for_model(file, model_of("thermal", unit="kelvin"), ImageRules.model_validate(rules))


def test_many_unnamed_bands_of_a_variable_are_taken_in_order(tmp_path: Path) -> None:
    counts = noise(np.int16, (20, 30, 48))
    savemat(tmp_path / "scene.mat", {"cube": np.moveaxis(counts, -1, 0), "other": counts})
    model = model_of(*(f"band_{number}" for number in range(1, 49)), scale=1.0, unit="digital number")
    opened = open_for_model(tmp_path / "scene.mat", model, ImageRules(variable="cube", layout="CHW"))
    np.testing.assert_array_equal(opened.read(whole(opened.shape)), counts)
    with pytest.raises(InputError, match=r"scene\.mat: holds several variables"):
        open_for_model(tmp_path / "scene.mat", model)
    # that unnamed bands are counted says nothing of which they are
    with pytest.raises(InputError, match=r"has 48 bands, but the model takes 9 \(band_1, .*, band_8, \.\.\.\)"):
        rules = ImageRules(variable="other", layout="HWC")
        open_for_model(tmp_path / "scene.mat", model_of(*(f"band_{i}" for i in range(1, 10))), rules)


@pytest.mark.parametrize("size", [0, 300])
def test_empty_and_truncated_files_are_named(tmp_path: Path, size: int) -> None:
    file, _ = scene(tmp_path, [None])
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match=r"scene\.tif: (is empty|cannot be read as a raster)"):
        open_for_model(file, model_of("red")).read(whole((20, 30)))


def test_real_scenes_with_names_of_their_own_are_taken_by_index(shared_data: Path) -> None:
    file = shared_data / "landsat7" / "L7_ETMs.tif"
    model = model_of("blue", "green", "red", "nir", "swir1", "swir2", scale=1.0, unit="digital number")
    assert open_for_model(file, model).bands == model.bands
    lsat = shared_data / "rstoolbox" / "lsat.tif"
    with pytest.raises(InputError, match="has 7 bands, but the model takes 6"):
        open_for_model(lsat, model)
    assert open_for_model(lsat, model, ImageRules(bands=(1, 2, 3, 4, 5, 7))).bands == model.bands
