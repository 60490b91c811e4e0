"""Bands are put in the model's order by their names or wavelengths, or refused; never in file order without a note."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segapp.bands import Band, name_wavelengths
from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageReading, ImageRules
from segapp.windows import whole
from tests.prediction.test_inputs import model_of
from tests.scenes.test_geotiff import write_tiff

SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
IN_ORDER = "taken in file order"
BY_LENGTH = "taken by wavelength"


def written(path: Path, names: Any, *, lengths: Any = None, unit: str = "Nanometers", tag: str = "") -> Path:
    """A scene whose band number i has the value i everywhere, with names, and wavelengths by ENVI header or by tag."""
    count = len(names or lengths)
    pixels = np.arange(count, dtype=np.uint16) * np.ones((8, 9, 1), np.uint16)
    write_tiff(path, pixels, driver="ENVI" if path.suffix == ".dat" else "GTiff")
    if path.suffix == ".dat":
        header = re.sub(r"band names = \\{[^}]*\\}", "", path.with_suffix(".hdr").read_text())
        listed = ", ".join(map(str, lengths))
        path.with_suffix(".hdr").write_text(f"{header}\nwavelength units = {unit}\nwavelength = {{{listed}}}\n")
        return path
    with rasterio.open(path, "r+") as opened:
        opened.descriptions = names or [None] * count
        for band, length in enumerate(lengths or [], 1):
            if tag == "IMAGERY":
                opened.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(length / 1000))
            else:
                opened.update_tags(band, wavelength=str(length), wavelength_units=unit)
    return path


def taken(path: Path, *model: str, **rules: Any) -> tuple[list[int], str]:
    """The bands of the file, from 0, in the model's order; and the notes."""
    scene = open_for_model(path, model_of(*model, scale=1.0), ImageRules.model_validate(rules) if rules else None)
    return scene.read(whole(scene.shape))[0, 0].astype(int).tolist(), "; ".join(scene.remarks)


@pytest.mark.parametrize(
    ("names", "model", "order", "note"),
    [
        (["B4", "B3", "B2", "B8", "B11", "B12"], SIX, [2, 1, 0, 3, 4, 5], BY_LENGTH),
        (["B12", "B11", "B8A", "B4", "B3", "B2", "SCL"], SIX, [5, 4, 3, 2, 1, 0], BY_LENGTH),
        (["B02", "B03", "B04", "B08", "B8A", "B11", "B12"], SIX, [0, 1, 2, 4, 5, 6], BY_LENGTH),  # B8A is nearer
        (["SR_B7", "SR_B6", "SR_B5", "SR_B4", "SR_B3", "SR_B2"], SIX, [5, 4, 3, 2, 1, 0], BY_LENGTH),
        (["sur_refl_b01", "sur_refl_b02", "sur_refl_b03", "sur_refl_b04"], SIX[:4], [2, 3, 0, 1], BY_LENGTH),
        (["B4", "B3", "B2"], SIX[:3], [2, 1, 0], BY_LENGTH),  # Landsat 7's have no blue
        (["B4", "B3", "B2"], ("green", "red", "nir"), [2, 1, 0], BY_LENGTH),  # only Landsat 7's have all three
        (["swir22", "swir16", "nir08", "red", "green", "blue"], SIX, [5, 4, 3, 2, 1, 0], BY_LENGTH),
        (["665 nm", "560 nm", "490 nm"], SIX[:3], [2, 1, 0], BY_LENGTH),
        (["r (0.665 um)", "g (0.56 Micrometers)", "b (0.49 microns)"], SIX[:3], [2, 1, 0], BY_LENGTH),
        (["665", "560", "490"], SIX[:3], [2, 1, 0], BY_LENGTH),
        (["0.665", "0.560", "0.490"], SIX[:3], [2, 1, 0], BY_LENGTH),
        (["VH", "VV"], ("vv", "vh"), [1, 0], ""),
        (["a", "b", "c"], SIX[:3], [0, 1, 2], IN_ORDER),
        ([None, None, None], SIX[:3], [0, 1, 2], IN_ORDER),
        ([None, None], ("band_1", "band_2"), [0, 1], ""),
    ],
)
def test_names(tmp_path: Path, names: list[str], model: tuple[str, ...], order: list[int], note: str) -> None:
    found, notes = taken(written(tmp_path / "a.tif", names), *model)
    assert found == order and note in notes and bool(note) == bool(notes)


@pytest.mark.parametrize(
    ("lengths", "unit"), [((655, 561, 482, 865), "Nanometers"), ((0.665, 0.56, 0.49, 0.842), "Micrometers")]
)
@pytest.mark.parametrize("form", [".dat", "tag", "IMAGERY"])
def test_wavelengths(tmp_path: Path, lengths: tuple[float, ...], unit: str, form: str) -> None:
    if form == "IMAGERY" and unit == "Micrometers":
        pytest.skip("its unit is always the micrometre")
    path = tmp_path / ("a.dat" if form == ".dat" else "a.tif")
    file = written(path, None, lengths=lengths, unit=unit, tag=form)
    assert taken(file, *SIX[:4])[0] == [2, 1, 0, 3]
    found = [band.wavelength_nm for band in open_scene([file], ImageRules()).bands]
    assert found == pytest.approx([length * (1000 if length < 1 else 1) for length in lengths])


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["nir", "red", "green"], SIX[:3]),
        (["B8", "B4", "B3"], SIX[:3]),
        (["B1", "B2", "B3"], ("coastal", "nir", "red")),
        (["vh", "x"], ("vv", "vh")),
        (["B5", "B6", "B7"], SIX[3:]),  # of Landsat 8; of Sentinel-2 they are red edge
        (["665", "560"], SIX[:2]),
    ],
)
def test_that_contradict_are_refused_with_both_lists(tmp_path: Path, names: list[str], model: tuple[str, ...]) -> None:
    file = written(tmp_path / "a.tif", names)
    if names == ["B5", "B6", "B7"]:
        assert taken(file, *model)[0] == [0, 1, 2]
        file = file.rename(tmp_path / "S2A_MSIL2A_20200901.tif")
    with pytest.raises(InputError) as error:
        taken(file, *model)
    assert ", ".join(names) in str(error.value) and ", ".join(model) in str(error.value)
    assert len(str(error.value).replace(str(tmp_path), "")) <= 200
    assert taken(file, *model, bands=tuple(names))[0] == list(range(len(names)))  # the remedy


@pytest.mark.parametrize(("file", "centre"), [("LC08_a", 655), ("LE07_a", 835), ("S2B_MSIL1C_a", 665), ("a", None)])
def test_the_name_of_a_product_says_which_sensor(tmp_path: Path, file: str, centre: float | None) -> None:
    scene = open_scene([written(tmp_path / f"{file}.tif", ["B4", "B3"])], ImageRules())
    assert scene.bands[0].wavelength_nm == centre


def test_models_whose_images_had_no_names_take_others_without_names_in_file_order(tmp_path: Path) -> None:
    model = model_of("red", "nir").model_copy(update={"images": ImageReading(bands_named=False)})
    assert not open_for_model(written(tmp_path / "a.tif", [None, None]), model).remarks


def test_names_of_a_dataset_that_contradict_the_file_are_said(tmp_path: Path) -> None:
    file = written(tmp_path / "a.tif", ["red", "green", "x"])
    (remark,) = open_scene([file], ImageRules(names=("blue", "green", "y"))).remarks
    assert "is read with other band names than its own: red as blue" in remark


def test_scenes_of_one_dataset_have_bands_of_the_same_wavelengths(tmp_path: Path) -> None:
    lengths = {"a": 664.6, "b": 664.9, "c": 833.0}
    for name, length in lengths.items():
        written(tmp_path / f"{name}.tif", ["B4", "B3"], lengths=[length, 560])
        np.save(tmp_path / f"{name}.npy", np.ones((8, 9), np.uint8))
    text = 'schema = 1\n[classes]\nlist = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'
    scene = '[[scenes]]\nimage = "{0}.tif"\nlabels = "{0}.npy"\nrole = "train"\n'
    for others, fits in ((("a", "b"), True), (("a", "c"), False)):
        (tmp_path / "d.toml").write_text(text + "".join(map(scene.format, others)))
        if fits:
            assert read_dataset(tmp_path / "d.toml").bands[0].wavelength_nm == 664.6
        else:
            with pytest.raises(
                InputError, match=r"c\.tif: its band B4 is at 833 nm, but that of .*a\.tif at 664\.6 nm"
            ):
                read_dataset(tmp_path / "d.toml")


def test_every_band_of_a_sensor_has_a_wavelength() -> None:
    for names in (["B1", "B8A", "B12"], ["B10", "B11"], ["ST_B6", "SR_B7"]):
        assert all(None not in reading for reading in name_wavelengths(names))
    assert name_wavelengths(["B99", "B4"]) == [(None, None)]
    assert Band(name="B4").wavelength_nm is None
