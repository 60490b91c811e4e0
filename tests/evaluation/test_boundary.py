from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segapp.classes import IGNORED_INDEX
from segapp.evaluation.boundary import boundary_f1

CLASSES = 3


@st.composite
def map_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two blocky maps of one shape: random cells of 1 to 3 pixels, the prediction partly copied from the reference."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    cell = draw(st.integers(1, 3))
    elements = st.sampled_from([0, 1, 2, IGNORED_INDEX])
    reference = draw(arrays(np.uint8, shape, elements=elements))
    prediction = np.where(draw(arrays(np.bool_, shape)), reference, draw(arrays(np.uint8, shape, elements=elements)))
    block = np.ones((cell, cell), np.uint8)
    return np.kron(reference, block), np.kron(prediction, block)


def brute_force(reference: np.ndarray, prediction: np.ndarray, tolerance: float) -> list[float]:
    """The definition, pixel by pixel and pair by pair."""
    height, width = reference.shape
    pixels = [
        (r, c) for r in range(height) for c in range(width) if IGNORED_INDEX not in (reference[r, c], prediction[r, c])
    ]
    scored = set(pixels)

    def outline(values: np.ndarray, index: int) -> list[tuple[int, int]]:
        return [
            (r, c)
            for r, c in pixels
            if values[r, c] == index
            and any(n in scored and values[n] != index for n in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)))
        ]

    scores = []
    for index in range(CLASSES):
        true, found = outline(reference, index), outline(prediction, index)
        if not (true or found) or all(reference[p] != index for p in pixels):
            scores.append(math.nan)
        elif not (true and found):
            scores.append(0.0)
        else:
            precision = np.mean([any(math.dist(p, q) <= tolerance for q in true) for p in found])
            recall = np.mean([any(math.dist(p, q) <= tolerance for q in found) for p in true])
            scores.append(float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0)
    return scores


@given(map_pairs(), st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.3, 4.0]), st.integers(1, 20))
def test_agrees_with_brute_force_however_it_is_tiled(
    maps: tuple[np.ndarray, np.ndarray], tolerance: float, tile: int
) -> None:
    expected = brute_force(*maps, tolerance)
    np.testing.assert_allclose(boundary_f1(*maps, CLASSES, tolerance=tolerance, tile=tile), expected, rtol=1e-12)


def square(row: int, col: int, size: int = 200, side: int = 40) -> np.ndarray:
    """A map of class 0 with a square of class 1."""
    labels = np.zeros((size, size), np.uint8)
    labels[row : row + side, col : col + side] = 1
    return labels


def test_an_outline_shifted_within_the_default_tolerance_scores_one() -> None:
    # 0.75 % of the diagonal of 200 x 200 pixels is 2.12 pixels.
    np.testing.assert_array_equal(boundary_f1(square(50, 50), square(50, 52), 2), [1, 1])


def test_an_outline_shifted_past_the_default_tolerance_scores_less() -> None:
    assert (boundary_f1(square(50, 50), square(53, 53), 2) < 0.2).all()


def test_an_outline_far_away_scores_zero() -> None:
    np.testing.assert_array_equal(boundary_f1(square(10, 10), square(120, 120), 2), [0, 0])


def test_a_class_absent_from_the_reference_has_no_score_and_a_missed_one_scores_zero() -> None:
    plain = np.zeros((200, 200), np.uint8)
    assert math.isnan(boundary_f1(plain, square(50, 50), 2)[1])
    assert boundary_f1(square(50, 50), plain, 2)[1] == 0


def test_the_edges_of_the_image_and_of_ignored_pixels_are_no_boundary() -> None:
    reference = np.ones((30, 30), np.uint8)
    reference[10:20, 10:20] = IGNORED_INDEX
    assert np.isnan(boundary_f1(reference, np.ones((30, 30), np.uint8), 2)).all()


@pytest.mark.parametrize("tolerance", [0.99, 1.0])
def test_a_distance_equal_to_the_tolerance_still_matches(tolerance: float) -> None:
    reference, prediction = np.zeros((2, 9, 9), np.uint8)
    reference[:, 4:] = 1
    prediction[:, 5:] = 1
    score = boundary_f1(reference, prediction, 2, tolerance=tolerance)
    np.testing.assert_array_equal(score, [1, 1] if tolerance >= 1 else [0, 0])
