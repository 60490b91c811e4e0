"""Augmentation moves labels with their pixels and changes values only as its settings say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.data.statistics import BandStatistics
from segapp.patches.augmentation import Augmentation, resize

STATISTICS = BandStatistics(np.array([10.0, 20.0]), np.array([1.0, 2.0]), 1)
OFF = {"flips": False, "quarter_turns": False}


def _patch(size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(size * size, dtype=np.uint8).reshape(size, size)
    return np.stack([labels, labels + 1.0], -1).astype(np.float32), labels


def _apply(augmentation: Augmentation, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = _patch()
    return augmentation.apply(pixels, labels, 12, STATISTICS, np.random.default_rng(seed))


def test_switched_off_it_changes_nothing() -> None:
    pixels, labels = _apply(Augmentation(**OFF))
    np.testing.assert_array_equal(pixels, _patch()[0])
    np.testing.assert_array_equal(labels, _patch()[1])


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_flips_and_turns_move_labels_with_their_pixels(seed: int) -> None:
    pixels, labels = _apply(Augmentation(), seed)
    np.testing.assert_array_equal(pixels[..., 0], labels)
    assert sorted(labels.ravel()) == sorted(_patch()[1].ravel())


def test_pixels_that_lie_band_by_band_in_memory_are_changed_alike() -> None:
    pixels, labels = _patch()
    by_band = np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), 0, -1)
    augmentation = Augmentation(scale=0.3, gain=0.1, noise=0.1)
    for seed in range(5):
        same, other = (
            augmentation.apply(one, labels, 12, STATISTICS, np.random.default_rng(seed)) for one in (pixels, by_band)
        )
        np.testing.assert_array_equal(same[0], other[0])
        assert other[0].flags.c_contiguous


def test_flips_and_turns_reach_all_eight_orientations() -> None:
    assert len({_apply(Augmentation(), seed)[1].tobytes() for seed in range(100)}) == 8


@pytest.mark.parametrize(("setting", "one_for_all_bands"), [("gain", False), ("brightness", True)])
def test_gain_multiplies_each_band_and_brightness_all_alike(setting: str, one_for_all_bands: bool) -> None:
    before = _patch()[0]
    for seed in range(20):
        after, labels = _apply(Augmentation(**OFF, **{setting: 0.1}), seed)
        np.testing.assert_array_equal(labels, _patch()[1])
        factor = (after[1:] / before[1:]).mean((0, 1))
        np.testing.assert_allclose(after, before * factor, rtol=1e-5)
        assert np.abs(factor - 1).max() <= 0.1 + 1e-5
        assert (np.ptp(factor) < 1e-5) == one_for_all_bands


def test_offset_shifts_each_band_by_a_share_of_its_spread() -> None:
    for seed in range(20):
        change = (_apply(Augmentation(**OFF, offset=0.1), seed)[0] - _patch()[0]) / STATISTICS.std
        np.testing.assert_allclose(np.ptp(change, (0, 1)), 0, atol=1e-4)
        assert 0 < np.abs(change).max() <= 0.1 + 1e-4


def test_noise_has_the_stated_size() -> None:
    augmentation = Augmentation(**OFF, noise=0.5)
    change = np.concatenate([_apply(augmentation, seed)[0] - _patch()[0] for seed in range(50)])
    np.testing.assert_allclose(change.std((0, 1)), 0.5 * STATISTICS.std, rtol=0.05)


def test_a_dropped_band_stands_at_its_mean() -> None:
    for seed in range(10):
        pixels, _ = _apply(Augmentation(**OFF, band_dropout=0.999), seed)
        dropped = [band for band in (0, 1) if np.ptp(pixels[..., band]) == 0]
        assert len(dropped) == 1
        assert pixels[0, 0, dropped[0]] == STATISTICS.mean[dropped[0]]


def test_pixels_without_data_stay_without() -> None:
    pixels, labels = _patch()
    pixels[3, 4] = np.nan
    augmentation = Augmentation(gain=0.1, brightness=0.1, offset=0.1, noise=0.1, band_dropout=0.5)
    for seed in range(10):
        after, moved = augmentation.apply(pixels, labels, 12, STATISTICS, np.random.default_rng(seed))
        assert moved[np.isnan(after).all(-1)].tolist() == [labels[3, 4]]


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_rescaling_keeps_a_plane_a_plane_and_labels_labels(source: int, size: int) -> None:
    ramp = np.broadcast_to(np.arange(source, dtype=np.float32)[:, None, None], (source, source, 1))
    labels = np.broadcast_to(np.arange(source, dtype=np.uint8)[:, None] * 3, (source, source))
    pixels, resized = resize(np.array(ramp), labels, size)
    expected = np.clip((np.arange(size) + 0.5) * source / size - 0.5, 0, source - 1)
    np.testing.assert_allclose(pixels[:, 0, 0], expected, atol=1e-4)
    assert set(resized.ravel()) <= set(labels.ravel())
    np.testing.assert_allclose(resized[:, 0] / 3, expected, atol=0.5 + 1e-4)


def test_scale_jitter_cuts_between_smaller_and_larger_squares() -> None:
    augmentation = Augmentation(scale=0.25)
    sizes = [augmentation.source_size(100, np.random.default_rng(seed)) for seed in range(300)]
    assert 80 <= min(sizes) < 85 and 120 < max(sizes) <= 125
