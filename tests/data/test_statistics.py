"""Band statistics are those of all valid pixels, however they are cut into tiles."""

from __future__ import annotations

import numpy as np
import pytest

from segapp.data.statistics import band_statistics
from segapp.errors import InputError
from tests.toy import ToyScene, random_scene


def test_they_equal_numpys_over_all_valid_pixels() -> None:
    scenes = [random_scene((700, 600), seed=1), random_scene((30, 40), seed=2)]
    scenes[0].pixels[...] = scenes[0].pixels * 3 + 1e4
    scenes[0].pixels[:200] = np.nan
    valid = np.concatenate([s.pixels[~np.isnan(s.pixels[..., 0])] for s in scenes]).astype(np.float64)
    statistics = band_statistics(scenes)
    assert statistics.pixels == len(valid)
    np.testing.assert_allclose(statistics.mean, valid.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, valid.std(0), rtol=1e-9)


def test_a_constant_band_is_not_divided_by_zero() -> None:
    statistics = band_statistics([ToyScene(np.full((8, 8, 1), 5.0), np.zeros((8, 8)))])
    assert statistics.mean[0] == 5 and statistics.std[0] == 1


def test_no_valid_pixel_at_all_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="no valid pixel"):
        band_statistics([ToyScene(np.full((8, 8, 1), np.nan), np.zeros((8, 8)))])
