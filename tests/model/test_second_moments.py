"""How bands go together is measured as the network sees them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.classes import IGNORED_INDEX
from segapp.model.model_spec import Normalization
from segapp.model.second_moments import band_second_moments
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.transfer.discriminants import colouring, discriminants
from tests.toy import ToyScene


def _scene(bands: int, sources: int) -> ToyScene:
    """Bands that are mixtures of fewer sources, as those of a spectrometer are; some pixels without data."""
    rng = np.random.default_rng(0)
    mixed = 20 + rng.normal(size=(40, 600, sources)) @ rng.uniform(0.1, 1, (sources, bands))
    mixed[3:6, 4:90] = np.nan
    return ToyScene(mixed, np.zeros(mixed.shape[:2]))


def _normalization(scene: ToyScene, logarithm: bool = False) -> Normalization:
    mean, std = np.nanmean(scene.pixels, axis=(0, 1)), np.nanstd(scene.pixels, axis=(0, 1))
    return Normalization(mean=tuple(mean.tolist()), std=tuple(std.tolist()), logarithm=logarithm)


@pytest.mark.parametrize("logarithm", [False, True])
def test_products_are_those_of_what_the_networks_first_layer_gives(logarithm: bool) -> None:
    scene = _scene(4, 3)
    normalization = _normalization(scene, logarithm)
    network = unet(4, 2, UNetConfig(depth=1, filters=4), **normalization.model_dump())
    first = keras.Model(network.inputs[0], network.get_layer("input_normalization").output)
    pixels = np.asarray(first(scene.pixels[np.newaxis]))[0][~np.isnan(scene.pixels[..., 0])].astype(np.float64)
    found = band_second_moments(normalization, [scene])
    np.testing.assert_allclose(found, pixels.T @ pixels / len(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("bands", "sources", "count"), [(20, 12, 6), (20, 3, 6), (4, 4, 6)])
def test_discriminants_are_uncorrelated_and_of_size_one_with_the_ridge_as_far_as_bands_hold_them(
    bands: int, sources: int, count: int
) -> None:
    scene = _scene(bands, sources)
    normalization = _normalization(scene)
    weights = discriminants(normalization, [scene], 2, count)
    assert weights.shape == (bands, count)
    pixels = scene.pixels[~np.isnan(scene.pixels[..., 0])]
    found = np.cov(((pixels - normalization.mean) / normalization.std).T, bias=True)
    ridged = found + 1e-3 * np.trace(found) / bands * np.eye(bands)
    held = min(bands, sources, count)
    np.testing.assert_allclose(weights.T @ ridged @ weights, np.diag([1.0] * held + [0.0] * (count - held)), atol=1e-5)
    assert (weights.sum(axis=0) >= 0).all() and not weights[:, held:].any()


@given(seed=st.integers(0, 1000), classes=st.integers(2, 5))
def test_discriminants_see_a_weak_difference_of_classes_and_not_the_strong_light(seed: int, classes: int) -> None:
    """The classes differ in one direction among eight bands that light makes bright together; half is unlabelled."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=(40, 60))
    difference = rng.normal(size=8)
    difference -= difference.mean()
    pixels = 50 + 5 * rng.normal(size=(40, 60, 1)) + 0.2 * rng.normal(size=(40, 60, 8))
    pixels += labels[..., np.newaxis] * difference / np.linalg.norm(difference)
    scene = ToyScene(pixels, np.where(rng.random(labels.shape) < 0.5, labels, IGNORED_INDEX))
    normalization = _normalization(scene)
    first = discriminants(normalization, [scene], classes, 3)[:, 0]
    seen = ((pixels - normalization.mean) / normalization.std) @ first
    assert abs(np.corrcoef(seen.ravel(), labels.ravel())[0, 1]) > 0.9


@given(seed=st.integers(0, 1000), bands=st.integers(1, 8))
def test_coloured_values_go_together_as_the_bands_do_the_first_along_their_principal_axis(
    seed: int, bands: int
) -> None:
    mixed = np.random.default_rng(seed).normal(size=(bands, bands))
    second_moments = mixed @ mixed.T
    weights = colouring(second_moments)
    np.testing.assert_allclose(weights.T @ weights, second_moments, atol=1e-8)
    sizes = (weights**2).sum(axis=1)
    assert (np.diff(sizes) <= 1e-9).all() and sizes[0] == pytest.approx(np.linalg.eigvalsh(second_moments)[-1])


def test_of_bands_that_never_change_there_are_no_discriminants() -> None:
    flat = Normalization(mean=(5.0, 5.0), std=(1.0, 1.0))
    assert not discriminants(flat, [ToyScene(np.full((9, 9, 2), 5.0), np.zeros((9, 9)))], 2, 3).any()
