"""What is written for a tile of each layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from segapp.classes import IGNORED_INDEX, ClassTable, SegClass
from segapp.maps.layers import format_of, layer_file, values_of

CLASSES = ClassTable(classes=tuple(SegClass(id=i, name=f"class {i}") for i in (3, 1, 40)))


@st.composite
def probabilities_of_tiles(draw: st.DrawFn) -> np.ndarray:
    """(h, w, 3) float32 that sum to 1, NaN in some pixels."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    values = generator.dirichlet([draw(st.sampled_from((0.01, 1.0, 50.0)))] * 3, shape).astype(np.float32)
    values[generator.random(shape) < 0.2] = np.nan
    return values


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("classes", "map.tif"),
        ("probabilities", "map.probabilities.tif"),
        ("probabilities-float32", "map.probabilities.tif"),
        ("confidence", "map.confidence.tif"),
        ("entropy", "map.entropy.tif"),
    ],
)
def test_layers_lie_beside_the_map(layer, name):
    assert layer_file(Path("folder/map.tif"), layer) == Path("folder") / name


def test_classes_are_written_as_ids():
    indexes = np.array([[0, 1, 2, IGNORED_INDEX]], np.uint8)
    ids = values_of("classes", indexes, None, CLASSES)
    assert ids.tolist() == [[3, 1, 40, 0]] and ids.dtype == np.uint8


@given(probabilities_of_tiles())
def test_probabilities_in_bytes_are_right_to_half_a_step(probabilities):
    layer = format_of("probabilities", CLASSES)
    values = values_of("probabilities", None, probabilities, CLASSES)
    missing = np.isnan(probabilities)
    assert values.dtype == layer.dtype
    assert (values[missing] == layer.nodata).all() and (values[~missing] != layer.nodata).all()
    half_a_step = 0.5 / 254 * (1 + 1e-6)  # 1e-6: float32 rounds the product, too
    assert (abs(values[~missing] * layer.scale - probabilities[~missing]) <= half_a_step).all()


@given(probabilities_of_tiles())
def test_confidence_is_the_largest_probability(probabilities):
    np.testing.assert_array_equal(
        values_of("confidence", None, probabilities, CLASSES),
        np.sort(probabilities, axis=-1)[..., -1],
    )


@given(probabilities_of_tiles())
def test_entropy_is_that_of_scipy_to_the_base_of_the_number_of_classes(probabilities):
    values = values_of("entropy", None, probabilities, CLASSES)
    expected = entropy(probabilities.astype(float), base=3, axis=-1)
    np.testing.assert_allclose(values, expected, atol=1e-6)  # float32
    assert not (values > 1).any() and not (values < 0).any()


def test_entropy_is_0_where_certain_and_1_where_nothing_is_known():
    probabilities = np.array([[[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]], np.float32)
    assert values_of("entropy", None, probabilities, CLASSES).tolist() == [[0, 1]]


def test_float_probabilities_stay_what_they_are():
    probabilities = np.array([[[0.25, 0.75, 0], [np.nan] * 3]], np.float32)
    np.testing.assert_array_equal(values_of("probabilities-float32", None, probabilities, CLASSES), probabilities)


@pytest.mark.parametrize("layer", ["classes", "probabilities", "probabilities-float32", "confidence", "entropy"])
def test_values_have_the_numbers_that_are_announced(layer):
    tile = np.full((2, 3, 3), 1 / 3, np.float32)
    values = values_of(layer, np.zeros((2, 3), np.uint8), tile, CLASSES)
    layer_format = format_of(layer, CLASSES)
    assert values.dtype == layer_format.dtype and values.shape == layer_format.array_shape((2, 3))
