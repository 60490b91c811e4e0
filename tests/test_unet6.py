"""The pretrained base is what its card says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import segapp
from segapp.model.bundle import read_spec

UNET6 = Path(__file__).parents[1] / "models" / "unet6"


def test_it_takes_six_bands_of_reflectance_to_seven_classes() -> None:
    model = segapp.load(UNET6)
    assert [band.name for band in model.spec.bands] == ["blue", "green", "red", "nir", "swir1", "swir2"]
    assert {band.unit for band in model.spec.bands} == {"reflectance"}
    assert model.spec.classes.ids.tolist() == [10, 20, 30, 40, 50, 60, 80]
    assert {70, 90, 100} <= set(model.spec.classes.ignore)
    assert model(np.full((1, 32, 48, 6), 0.1, np.float32)).shape == (1, 32, 48, 7)


def test_it_is_small_enough_to_come_along() -> None:
    assert sum(file.stat().st_size for file in UNET6.iterdir()) < 20e6


def test_it_scores_on_the_test_places_as_its_card_says(shared_data: Path) -> None:
    data = Path(__file__).parents[1] / "tools" / "datasets" / "water12_worldcover.toml"
    if not (data.parent / "../../../shared/data/water12").exists():
        pytest.skip("water12 is not at ../shared/data")
    on_card = read_spec(UNET6).scores["test"]
    scores = segapp.evaluate(UNET6, data)
    assert scores.pixels == on_card["pixels"]
    assert scores.global_accuracy == pytest.approx(on_card["global_accuracy"], abs=1e-3)
    assert scores.mean_iou == pytest.approx(on_card["mean_iou"], abs=1e-3)
