from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix

CLASSES = ClassTable.model_validate(
    {"classes": [{"id": i, "name": n} for i, n in ((10, "tree"), (30, "grass"), (50, "built"), (80, "water"))]}
)
LABELS = np.arange(len(CLASSES))


@st.composite
def map_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A reference and a prediction of one shape, of up to four classes and ignored pixels."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    held = st.sampled_from(draw(st.lists(st.sampled_from([0, 1, 2, 3, IGNORED_INDEX]), min_size=1, unique=True)))
    seen = st.sampled_from([0, 1, 2, 3, IGNORED_INDEX])
    return draw(arrays(np.uint8, shape, elements=held)), draw(arrays(np.uint8, shape, elements=seen))


@given(map_pairs())
def test_every_score_agrees_with_scikit_learn(maps: tuple[np.ndarray, np.ndarray]) -> None:
    matrix = ConfusionMatrix.of(CLASSES, *maps)
    scored = (maps[0] != IGNORED_INDEX) & (maps[1] != IGNORED_INDEX)
    truth, guess = maps[0][scored], maps[1][scored]
    if not truth.size:
        assert matrix.counts.sum() == 0
        assert np.isnan([matrix.global_accuracy, matrix.mean_iou, matrix.weighted_iou, matrix.kappa]).all()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns wherever a class is absent
        counts = metrics.confusion_matrix(truth, guess, labels=LABELS)
        precision, recall, f1, pixels = metrics.precision_recall_fscore_support(
            truth, guess, labels=LABELS, zero_division=np.nan
        )
        iou = metrics.jaccard_score(truth, guess, labels=LABELS, average=None, zero_division=0)
        kappa = metrics.cohen_kappa_score(truth, guess, labels=LABELS)
        here = pixels > 0
        weighted_iou = metrics.jaccard_score(truth, guess, labels=LABELS, average="weighted", zero_division=0)
        mean_accuracy = metrics.balanced_accuracy_score(truth, guess)
    np.testing.assert_array_equal(matrix.counts, counts)
    np.testing.assert_array_equal(matrix.pixels, pixels)
    for ours, theirs in ((matrix.accuracy, recall), (matrix.precision, precision), (matrix.iou, iou), (matrix.f1, f1)):
        np.testing.assert_allclose(ours[here], theirs[here], rtol=1e-12)
        assert np.isnan(ours[~here]).all()
    assert matrix.absent == [name for name, present in zip(CLASSES.names, here, strict=True) if not present]
    assert matrix.global_accuracy == pytest.approx(metrics.accuracy_score(truth, guess), rel=1e-12)
    assert matrix.mean_accuracy == pytest.approx(mean_accuracy, rel=1e-12)
    assert matrix.mean_iou == pytest.approx(iou[here].mean(), rel=1e-12)
    assert matrix.mean_f1 == pytest.approx(f1[here].mean(), rel=1e-12)
    assert matrix.weighted_iou == pytest.approx(weighted_iou, rel=1e-12)
    assert matrix.kappa == pytest.approx(kappa, rel=1e-9, abs=1e-12, nan_ok=True)


@given(map_pairs(), map_pairs())
def test_the_sum_of_matrices_is_the_matrix_of_all_pixels(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> None:
    joined = [np.concatenate([a.ravel(), b.ravel()])[None] for a, b in zip(first, second, strict=True)]
    total = ConfusionMatrix.of(CLASSES, *first) + ConfusionMatrix.of(CLASSES, *second)
    np.testing.assert_array_equal(total.counts, ConfusionMatrix.of(CLASSES, joined[0], joined[1]).counts)


def test_maps_larger_than_a_tile_are_counted_whole() -> None:
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 4, (2, 1030, 1500), np.uint8)
    counts = ConfusionMatrix.of(CLASSES, reference, prediction).counts
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(reference.ravel(), prediction.ravel()))


def test_an_absent_class_is_named_and_costs_only_the_classes_it_was_taken_for() -> None:
    reference = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[0, 3, 1, 1]], np.uint8)
    matrix = ConfusionMatrix.of(CLASSES, reference, prediction)
    assert matrix.absent == ["built", "water"]
    assert matrix.mean_iou == pytest.approx((1 / 2 + 1) / 2)
    assert matrix.mean_accuracy == pytest.approx((1 / 2 + 1) / 2)


def test_indexes_past_the_class_table_are_refused() -> None:
    with pytest.raises(ValueError, match="past the 4 classes"):
        ConfusionMatrix.of(CLASSES, np.array([[0]], np.uint8), np.array([[4]], np.uint8))


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and prediction \(3, 2\)"):
        ConfusionMatrix.of(CLASSES, np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_matrices_of_different_classes_are_not_added() -> None:
    other = ClassTable.model_validate({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]})
    with pytest.raises(ValueError, match="different class tables"):
        ConfusionMatrix.empty(CLASSES) + ConfusionMatrix.empty(other)
