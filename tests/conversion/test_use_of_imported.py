"""An imported network, with layers that no U-Net of segapp's has, maps, exports and is finetuned as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

import segapp
from segapp.conversion.convert import convert
from segapp.errors import InputError
from tests.conversion.onnx_builder import Builder
from tests.conversion.onnx_kinds import KINDS, TAILS, write

WITHIN = ("grouped", "squeeze and excite, dense", "Resize linear, asymmetric", "Resize linear, align_corners", "PRelu")


def _within(g: Builder, x: str) -> str:
    for kind in WITHIN:
        x = KINDS[kind][1](g, x)
    return x


@pytest.fixture
def imported(tmp_path: Path, classes: Callable[[int], Path]) -> Path:
    path = write(tmp_path / "theirs.onnx", _within, TAILS["upsampled logits"][1], 18)
    convert(path, tmp_path / "theirs", bands=["red", "green", "blue"], classes=classes(4), unit="reflectance")
    return tmp_path / "theirs"


def _scene(samples: Path) -> Path:
    return next(iter(sorted((samples.parent / "test").glob("*.tif"))))


def test_it_maps_a_whole_scene(tmp_path: Path, imported: Path, samples: Path) -> None:
    segapp.predict(imported, _scene(samples), tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as found, rasterio.open(_scene(samples)) as scene:
        ids = {10, 20, 30, 40, int(found.nodata)}
        assert found.shape == scene.shape and set(np.unique(found.read(1))) <= ids


def test_it_is_exported(tmp_path: Path, imported: Path) -> None:
    assert segapp.export(imported, tmp_path / "serving" / "1", quiet=True).is_dir()  # compared with it on the way


@pytest.mark.parametrize("strategy", ["head", "staged"])
def test_it_is_finetuned(tmp_path: Path, imported: Path, samples: Path, strategy: str) -> None:
    output = tmp_path / strategy
    model = segapp.finetune(imported, samples, output, strategy=strategy, steps=4, patch_size=32, quiet=True)
    assert model.spec.scores and segapp.load(output).spec.classes.names != segapp.load(imported).spec.classes.names


def test_a_scene_is_compared_with_the_original_too(
    tmp_path: Path, classes: Callable[[int], Path], samples: Path
) -> None:
    path = write(tmp_path / "theirs.onnx", KINDS["strided"][1], TAILS["logits"][1], 13)
    given = {"bands": ["red", "green", "blue"], "classes": classes(4), "unit": "reflectance"}
    model = convert(path, tmp_path / "theirs", **given, scene=_scene(samples))
    assert f"on noise and {_scene(samples).name}" in model.spec.provenance["check"]
    with pytest.raises(InputError, match=r"absent.tif: no such file"):
        convert(path, tmp_path / "other", **given, scene=tmp_path / "absent.tif")
    assert not (tmp_path / "other").exists()
