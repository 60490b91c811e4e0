"""The estimators give the printed figures of the paper they come from, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.estimation.stratified import Sample, allocate, sample_size
from tools.area_coverage import coverage

# Olofsson et al. 2014, section 5: deforestation, forest gain, stable forest, stable non-forest; pixels of 30 m
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS.sum() * 0.09


@pytest.fixture(scope="module")
def paper() -> Sample:
    mapped, reference = (np.repeat(axis.ravel(), COUNTS.ravel()) for axis in np.indices(COUNTS.shape))
    return Sample(mapped, mapped, reference, PIXELS / PIXELS.sum())


def test_areas_are_those_of_the_paper(paper: Sample) -> None:
    share = paper.share(paper.reference == 0)
    assert round(share.value * PIXELS.sum()) == 235_086
    assert round(share.value * HECTARES) == 21_158
    assert round(share.margin * HECTARES) == 6_158


def test_accuracies_are_those_of_the_paper(paper: Sample) -> None:
    classes = range(4)
    users = [paper.ratio(paper.reference == k, paper.mapped == k) for k in classes]
    producers = [paper.ratio(paper.mapped == k, paper.reference == k) for k in classes]
    assert [round(one.value, 2) for one in users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(one.margin, 2) for one in users] == [0.07, 0.10, 0.04, 0.02]
    assert [round(one.value, 2) for one in producers] == [0.75, 0.85, 0.93, 0.96]
    assert round(producers[0].margin, 2) == 0.21
    overall = paper.share(paper.mapped == paper.reference)
    assert (round(overall.value, 2), round(overall.margin, 2)) == (0.95, 0.02)


def test_errors_of_producers_accuracies_are_those_of_equation_7(paper: Sample) -> None:
    points = COUNTS.sum(axis=1)
    p = COUNTS / points[:, np.newaxis]
    weights = PIXELS[:, np.newaxis] * p
    for j in range(4):
        accuracy = weights[j, j] / weights[:, j].sum()
        own = PIXELS[j] ** 2 * (1 - accuracy) ** 2 * p[j, j] * (1 - p[j, j]) / (points[j] - 1)
        others = [PIXELS[i] ** 2 * p[i, j] * (1 - p[i, j]) / (points[i] - 1) for i in range(4) if i != j]
        expected = np.sqrt(own + accuracy**2 * sum(others)) / weights[:, j].sum()
        found = paper.ratio(paper.mapped == j, paper.reference == j)
        assert found.standard_error == pytest.approx(expected)


def test_the_matrix_is_that_of_the_paper(paper: Sample) -> None:
    expected = [
        [0.0176, 0.0, 0.0013, 0.0011],
        [0.0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0.0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_allclose(paper.matrix(4), expected, atol=6e-5)


def test_the_sample_size_is_that_of_the_paper() -> None:
    assert sample_size(PIXELS / PIXELS.sum(), np.array([0.7, 0.6, 0.9, 0.95]), 0.01) == 641


@given(st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=30)
def test_shares_of_all_classes_add_up_to_one(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stratum = np.concatenate([np.repeat(np.arange(classes), 2), rng.integers(0, classes, 30)])
    reference = rng.integers(0, classes, len(stratum))
    sample = Sample(stratum, rng.integers(0, classes, len(stratum)), reference, rng.dirichlet(np.ones(classes)))
    assert sum(sample.share(reference == k).value for k in range(classes)) == pytest.approx(1)
    assert sample.matrix(classes).sum() == pytest.approx(1)


def test_a_class_that_no_point_has_gives_no_number() -> None:
    sample = Sample(np.zeros(4, int), np.zeros(4, int), np.zeros(4, int), np.ones(1))
    assert np.isnan(sample.ratio(sample.mapped == 0, sample.reference == 1).value)


def test_a_rare_class_gets_its_minimum_as_far_as_it_has_pixels() -> None:
    assert allocate(640, np.array([0.9, 0.09, 0.01]), [9_000, 900, 30], 50).tolist() == [576, 58, 30]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.9 <= coverage(maps=200, seed=1)["area"] <= 0.99
