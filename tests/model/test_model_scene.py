"""What training knew of its images, prediction applies to others of the kind, or says that it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.scenes.rules import ImageReading, ImageRules
from segapp.windows import whole
from tests.prediction.test_inputs import model_of
from tests.scenes.test_geotiff import write_tiff

COUNTS = np.random.default_rng(0).integers(100, 4000, (40, 40, 3)).astype(np.uint16)
COUNTS[..., 2] = 1  # a mask or quality band
COUNTS[:10] = 0


def written(folder: Path, *, bands: int = 3, scaling: tuple[float, float] | None = None, unit: str = "") -> Path:
    file = write_tiff(folder / "scene.tif", COUNTS[..., :bands])
    if scaling:
        with rasterio.open(file, "r+") as opened:
            opened.scales, opened.offsets = [scaling[0]] * bands, [scaling[1]] * bands
            opened.units = [unit] * bands
    return file


@pytest.mark.parametrize(
    ("reading", "bands", "invalid", "note"),
    [
        ({"nodata": 0}, 2, 0.25, ""),
        ({"nodata": 0}, 3, None, ""),
        ({"mask_band": 3, "bands_in_file": 3}, 3, 0.25, ""),
        ({"mask_band": 3, "bands_in_file": 3}, 2, 0, "has no mask_band 3"),
        ({"mask_band": "mask", "bands_in_file": 9}, 2, 0, "has no mask_band mask"),
        ({"quality": {"band": 3, "classes": [0]}, "bands_in_file": 3, "nodata": 7}, 2, 0, "has no quality 3"),
        ({"quality": {"classes": [0]}, "quality_file": True}, 2, 0, "is mapped without a quality file"),
        ({"scalings_differ": True}, 2, 0, "states no scale and offset, which differed in training"),
        ({}, 2, 0, ""),
    ],
)
def test_nodata_mask_and_quality_of_training_apply(
    tmp_path: Path, reading: dict[str, Any], bands: int, invalid: float | None, note: str
) -> None:
    model = model_of("a", "b").model_copy(
        update={"images": ImageReading.model_validate({**reading, "bands_named": False})}
    )
    file = written(tmp_path, bands=bands)
    if invalid is None:  # a third band that nothing tells from the others
        with pytest.raises(InputError, match="has 3 bands, but the model takes 2"):
            open_for_model(file, model)
        return
    scene = open_for_model(file, model)
    assert (~scene.valid(whole(scene.shape))).mean() == invalid
    assert (note in "".join(scene.remarks)) and bool(scene.remarks) == bool(note)


def test_what_is_given_comes_before_what_training_knew(tmp_path: Path) -> None:
    model = model_of("a", "b").model_copy(update={"images": ImageReading(nodata=0)})
    scene = open_for_model(written(tmp_path, bands=2), model, ImageRules(nodata=float("nan")))
    assert scene.valid(whole(scene.shape)).all()


@pytest.mark.parametrize(
    ("model", "scaling", "unit", "rules", "expected"),
    [
        ({}, (2e-4, -0.1), "", {}, (2e-4, -0.1)),  # the file's own, in the model's unit
        ({}, None, "", {}, (1e-4, 0)),
        ({}, (2e-4, -0.1), "", {"scale": 1e-3, "offset": 0}, (1e-3, 0)),
        ({"unit": "kelvin"}, (0.01, 100), "", {}, (0.01, 100)),
        ({"unit": "K"}, (0.01, 100), "K", {}, (0.01, 100)),
        ({"unit": "kelvin"}, (0.01, 100), "degC", {}, "is in 'degC', but the model takes 'kelvin'"),
        ({"unit": "digital number", "scale": 1.0}, (0.01, 0), "", {}, "give --scale 1 --offset 0"),
        ({"unit": "digital number", "scale": 1.0}, (0.01, 0), "", {"scale": 1, "offset": 0}, (1, 0)),
    ],
)
def test_scale_and_offset_are_those_given_else_the_files_else_the_models(
    tmp_path: Path, model: dict[str, Any], scaling: Any, unit: str, rules: dict[str, Any], expected: Any
) -> None:
    file = written(tmp_path, bands=2, scaling=scaling, unit=unit)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as error:
            open_for_model(file, model_of("a", "b", **model))
        assert len(str(error.value).replace(str(file), "scene.tif")) <= 200
        return
    scene = open_for_model(file, model_of("a", "b", **model), ImageRules.model_validate(rules))
    assert {(band.scale, band.offset) for band in scene.bands} == {expected}
    pixels = COUNTS[..., :2] * expected[0] + expected[1]
    np.testing.assert_allclose(scene.read(whole(scene.shape)), pixels, rtol=1e-5, atol=1e-6)


TOML = """schema = 1
image = { nodata = 0, mask_band = 3, quality = { bits = [3] } }
classes = { list = [{ id = 1, name = "a" }, { id = 2, name = "b" }] }
[[scenes]]
image = "scene.tif"
labels = "labels.tif"
quality = "labels.tif"
role = "train"
"""


def test_a_dataset_gives_its_model_how_its_images_are_read(tmp_path: Path) -> None:
    written(tmp_path)
    write_tiff(tmp_path / "labels.tif", np.ones((40, 40), np.uint8))
    (tmp_path / "d.toml").write_text(TOML)
    reading = read_dataset(tmp_path / "d.toml").reading
    expected = {"nodata": 0, "mask_band": 3, "quality": {"bits": [3]}, "quality_file": True, "bands_in_file": 3,
                    "bands_named": False}  # fmt: skip
    assert reading == ImageReading.model_validate(expected)
    assert ImageReading.model_validate_json(reading.model_dump_json()) == reading
