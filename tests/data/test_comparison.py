"""Scenes in another unit than the rest, or of another Sentinel-2 baseline, are warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segapp.data.comparison import unlike_each_other
from segapp.data.dataset import read_dataset
from segapp.data.inspection import inspect_dataset
from segapp.errors import InputError
from tests.scenes.test_geotiff import write_tiff


def dataset(folder: Path, scenes: list[np.ndarray], *, image: str = "scale = 1e-4", **own: str) -> Path:
    """A dataset.toml; `own` are lines of single scenes, by name."""
    text = f'schema = 1\n[image]\n{image}\n[classes]\nlist = [{{ id = 1, name = "a" }}, {{ id = 2, name = "b" }}]\n'
    for number, counts in enumerate(scenes):
        write_tiff(folder / f"s{number}.tif", counts)
        write_tiff(
            folder / f"l{number}.tif", np.arange(counts.shape[0] * counts.shape[1]).reshape(counts.shape[:2]) % 2 + 1
        )
        role = "val" if number == len(scenes) - 1 else "train"
        text += f'[[scenes]]\nimage = "s{number}.tif"\nlabels = "l{number}.tif"\nrole = "{role}"\n'
        text += own.get(f"s{number}", "") + "\n"
    (folder / "d.toml").write_text(text)
    return folder / "d.toml"


def reflectances(number: int, dtype: str = "uint16", times: float = 1, plus: float = 0) -> np.ndarray:
    rng = np.random.default_rng(number)
    low = np.array([60, 200, 350, 900])
    return ((rng.integers(0, 3000, (48, 48, 4)) + low) * times + plus).astype(dtype)


def warnings_of(path: Path) -> list[str]:
    summary = inspect_dataset(read_dataset(path))
    return [warning for warning in summary.warnings if "no pixel of" not in warning and "ground" not in warning]


@pytest.mark.parametrize(
    ("odd", "warning"),
    [
        ({}, None),
        ({"plus": 1000}, "all bands begin about +"),
        ({"times": 1 / 20}, "check the unit"),
        ({"times": 15}, "check the unit"),
        ({"times": 1.8}, None),
        ({"plus": 250}, None),
    ],
)
def test_a_scene_in_another_unit_is_warned_of(tmp_path: Path, odd: dict[str, Any], warning: str | None) -> None:
    path = dataset(tmp_path, [reflectances(0), reflectances(1, **odd), reflectances(2), reflectances(3)])
    found = warnings_of(path)
    read = read_dataset(path)
    sampled = unlike_each_other(read.scenes("train"), read.bands)
    if warning is None:
        assert found == sampled == []
        return
    assert any(text.startswith(f"{tmp_path}/s1.tif: ") and warning in text for text in found)
    assert any(warning in text for text in sampled)


def test_the_offset_of_a_scene_makes_it_like_the_rest(tmp_path: Path) -> None:
    path = dataset(tmp_path, [reflectances(0), reflectances(1, plus=1000), reflectances(2)], s1="offset = -0.1")
    assert warnings_of(path) == []
    read = read_dataset(path)
    assert read.reading.scalings_differ and [b.offset for b in read.scenes("train")[1].bands] == [-0.1] * 4


def test_scenes_of_two_units_are_refused_and_the_remedy_works(tmp_path: Path) -> None:
    path = dataset(tmp_path, [reflectances(0), reflectances(1)], image="")
    with rasterio.open(tmp_path / "s1.tif", "r+") as opened:
        opened.scales = (1e-4,) * 4
    with pytest.raises(InputError, match=r"s1\.tif: band_1 is in reflectance, but in digital number in .*s0\.tif") as e:
        read_dataset(path)
    assert len(str(e.value).replace(f"{tmp_path}/", "")) <= 200
    text = path.read_text().replace('role = "val"', 'role = "val"\nscale = 1\noffset = 0')
    path.write_text(text)
    assert any("states scale 0.0001 and offset 0" in warning for warning in warnings_of(path))


@pytest.mark.parametrize(
    ("baseline", "offset", "said"), [("0301", 0, False), ("0400", -0.1, False), ("0510", 0, True), ("0204", -0.1, True)]
)
def test_the_baseline_in_a_products_name_must_fit_the_offset(
    tmp_path: Path, baseline: str, offset: float, said: bool
) -> None:
    folder = tmp_path / f"S2A_MSIL2A_20220125T101029_N{baseline}_R022_T32TQM_20220125T140000.SAFE"
    folder.mkdir()
    found = warnings_of(dataset(folder, [reflectances(0), reflectances(1)], image=f"scale = 1e-4\noffset = {offset}"))
    assert any(f"processing baseline {baseline}" in warning for warning in found) == said


@pytest.mark.parametrize(
    ("fill", "dtype"), [(-9999, "int16"), (-9999, "float32"), (-32768, "int16"), (-99999, "int32")]
)
def test_customary_fill_values_are_warned_of_and_the_remedy_works(tmp_path: Path, fill: int, dtype: str) -> None:
    counts = reflectances(0, dtype)
    counts[:10] = fill
    path = dataset(tmp_path, [counts, reflectances(1, dtype)])
    assert any(f"is {fill}, which often means no data; set 'nodata'" in warning for warning in warnings_of(path))
    path.write_text(path.read_text().replace("scale = 1e-4", f"scale = 1e-4\nnodata = {fill}"))
    assert warnings_of(path) == []


def test_pixels_without_data_in_some_bands_only_are_warned_of(tmp_path: Path) -> None:
    counts = reflectances(0)
    counts[:, 24:, 2] = 0
    found = warnings_of(dataset(tmp_path, [counts, reflectances(1)], image="scale = 1e-4\nnodata = 0"))
    assert any("50.0% of its pixels have no data in some bands but not in all" in warning for warning in found)
