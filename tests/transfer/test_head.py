"""Fitting the head: a fair sample of the network's own features, and the regression's known solutions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.patches.sampling import find_class_positions
from segapp.scenes.scene import Scene
from segapp.transfer.features import sample_features
from segapp.transfer.head import GRADIENT_TOLERANCE, Teacher, _Problem, choose_penalty, cross_entropy, fit_head
from segapp.windows import whole
from tests.toy import ToyScene, random_scene


def pixels_of(classes: int, n: int = 600, dimensions: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of features (n, dimensions), off centre and of unlike scales, with labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n).astype(np.uint8)
    centres = np.random.default_rng(99).normal(size=(classes, dimensions))
    features = (centres[labels] + rng.normal(size=(n, dimensions))) * np.arange(1, dimensions + 1) + 3
    return features.astype(np.float32), labels


def some_head(dimensions: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.normal(size=(dimensions, classes)).astype(np.float32), rng.normal(size=classes).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def test_the_fit_is_scikit_learns_logistic_regression() -> None:
    features, labels = pixels_of(classes=3)
    penalty = 0.1
    weights, bias = fit_head(features, labels, np.zeros((4, 3)), np.zeros(3), penalty)
    mean, std = features.mean(0, dtype=float), features.std(0, dtype=float)
    standardised = np.column_stack([(features - mean) / std, np.ones(len(features))])
    known = LogisticRegression(C=1 / (penalty * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    expected = known.fit(standardised, labels).coef_.T
    found = np.vstack([weights * std[:, None], bias + mean @ weights])
    # The penalty bounds the curvature from below, so the gradient bounds the distance from the minimum.
    distance = np.linalg.norm(found - expected)
    assert distance <= np.sqrt(expected.size) * GRADIENT_TOLERANCE / penalty + 1e-5 * np.linalg.norm(expected)
    assert np.linalg.norm(expected) > 1


def test_a_strong_penalty_returns_the_start() -> None:
    features, labels = pixels_of(classes=3)
    weights, bias = some_head(4, 3)
    strong = fit_head(features, labels, weights, bias, penalty=1e8)
    np.testing.assert_allclose(strong[0], weights, rtol=1e-5)
    np.testing.assert_allclose(strong[1], bias, rtol=1e-5)
    assert not np.allclose(fit_head(features, labels, weights, bias, penalty=1e-2)[0], weights, rtol=0.1)


@pytest.mark.parametrize("taught", [False, True])
def test_classes_that_no_label_shows_keep_their_weights(taught: bool) -> None:
    features, labels = pixels_of(classes=2)
    labels[labels == 1] = 3
    weights, bias = some_head(4, 5)
    teacher = Teacher(features @ weights + bias, np.arange(5), 1.0, np.zeros(5)) if taught else None
    fitted, shifted = fit_head(features, labels, weights, bias, 1e-3, teacher)
    unseen, present = [1, 2, 4], [0, 3]
    np.testing.assert_array_equal(fitted[:, unseen], weights[:, unseen])
    np.testing.assert_array_equal(shifted[unseen], bias[unseen])
    assert (fitted[:, present] != weights[:, present]).all()
    before, after = (softmax((features @ w + b)[:, present]) for w, b in ((weights, bias), (fitted, shifted)))
    right = labels == 3
    assert (after[right, 1].mean(), after[~right, 0].mean()) > (before[right, 1].mean(), before[~right, 0].mean())


def test_a_teacher_holds_the_head_to_what_the_base_says_of_classes_that_match_classes() -> None:
    features, labels = pixels_of(classes=2)
    weights, bias = some_head(4, 5)
    shared = np.array([4, 0, 2])  # class 1 is present but new, class 3 neither
    logits = features @ weights[:, shared] + bias[shared]

    def divergences(weight: float, uncertainty: list[float]) -> np.ndarray:
        teacher = Teacher(logits, shared, weight, np.array(uncertainty))
        head, shift = fit_head(features, labels, weights, bias, 1e-4, teacher)
        told, said = (softmax(x.astype(np.float64)) for x in (logits, (features @ head + shift)[:, shared]))
        by_class = told * np.log(told / said) + (1 - told) * np.log((1 - told) / (1 - said))
        return np.append(by_class.mean(0), (told * np.log(told / said)).sum(1).mean())

    free, held, bound = (divergences(weight, [0, 0, 0])[-1] for weight in (0.0, 1.0, 100.0))
    assert free > 2 * held > 4 * bound
    free, held, bound = (divergences(0, [0, doubt, 0])[1] for doubt in (0.0, 1.0, 100.0))
    assert free > 2 * held > 4 * bound


@pytest.mark.parametrize("taught", [False, True])
def test_the_gradient_is_the_objectives(taught: bool) -> None:
    features, labels = pixels_of(classes=3, n=50)
    weights, bias = some_head(4, 6)
    told, uncertainty = np.random.default_rng(3).normal(size=(50, 4)), np.array([0.2, 3, 0, 0.9])
    teacher = Teacher(told, np.array([5, 1, 0, 4]), 0.7, uncertainty)
    problem = _Problem.of(features, labels, weights, bias, teacher if taught else None)
    somewhere = problem.start + np.random.default_rng(4).normal(size=problem.start.shape)
    error = check_grad(lambda x: problem.objective(x, 0.3)[0], lambda x: problem.objective(x, 0.3)[1], somewhere)
    _, gradient = problem.objective(somewhere, 0.3)
    assert error < 1e-5 * np.linalg.norm(gradient)


def test_without_penalty_the_scale_of_a_feature_does_not_matter() -> None:
    features, labels = pixels_of(classes=3)
    scaled = features * np.array([1, 1000, 1, 1], np.float32)
    probabilities = [
        softmax(one @ weights + bias)
        for one in (features, scaled)
        for weights, bias in [fit_head(one, labels, np.zeros((4, 3)), np.zeros(3), penalty=0)]
    ]
    np.testing.assert_allclose(*probabilities, atol=1e-3)


def test_a_constant_feature_does_no_harm() -> None:
    features, labels = pixels_of(classes=2)
    features[:, 2] = 5
    weights, bias = fit_head(features, labels, np.zeros((4, 2)), np.zeros(2), 1e-3)
    assert np.isfinite(weights).all() and np.isfinite(bias).all()
    np.testing.assert_array_equal(weights[2], 0)


def test_the_penalty_that_validates_best_is_chosen_and_the_search_ends_after_two_rises() -> None:
    features, labels = pixels_of(classes=3, n=30, dimensions=12)
    elsewhere = pixels_of(classes=3, n=2000, dimensions=12, seed=1)
    start = np.zeros((12, 3)), np.zeros(3)
    found = choose_penalty(features, labels, *start, *elsewhere)
    penalties, scores = zip(*found.tried, strict=True)
    assert found.penalty == penalties[int(np.argmin(scores))]
    assert scores[-1] > scores[-2] > scores[-3] == min(scores)
    assert cross_entropy(*elsewhere, found.weights, found.bias) == pytest.approx(min(scores))
    alone = fit_head(features, labels, *start, found.penalty)
    assert cross_entropy(*elsewhere, *alone) == pytest.approx(min(scores), rel=1e-3)


def test_of_penalties_that_validate_alike_the_stronger_is_chosen() -> None:
    features = np.ones((10, 3), np.float32)
    labels = np.repeat([0, 1], 5).astype(np.uint8)
    found = choose_penalty(features, labels, np.zeros((3, 2)), np.zeros(2), features, labels)
    assert found.penalty == 10 and len({score for _, score in found.tried}) == 1


def scenes_with_gaps() -> list[Scene]:
    """Three scenes with ignored and invalid pixels: small ones, one with odd sides, and one of several tiles."""
    scenes = []
    for seed, shape in enumerate([(16, 16), (19, 30), (70, 50)]):
        scene = random_scene(shape, bands=2, classes=3, seed=seed)
        scene.labels[:, :4] = IGNORED_INDEX
        scene.pixels[5:9] = np.nan
        scenes.append(scene)
    return scenes


def test_features_are_the_networks_own_at_labelled_valid_pixels_of_whole_and_tiled_scenes() -> None:
    scenes = scenes_with_gaps()
    model = unet(2, 3, UNetConfig(depth=1, filters=4, dropout=0.5, batch_norm=True))
    positions = find_class_positions(scenes, 3, seed=0)
    features, labels = sample_features(model, "final_conv", scenes, positions, 100_000, 0.0, seed=0, core=16)
    kernel, bias = model.get_layer("final_conv").get_weights()
    expected, truth = [], []
    for scene in scenes:
        image, marks = scene.read(whole(scene.shape)), scene.read_labels(whole(scene.shape))
        padded = np.pad(image, [(0, side % 2) for side in scene.shape] + [(0, 0)], constant_values=np.nan)
        probabilities = np.asarray(model(padded[np.newaxis], training=False))[0, : scene.shape[0], : scene.shape[1]]
        counted = (marks != IGNORED_INDEX) & ~np.isnan(image[..., 0])
        expected.append(probabilities[counted])
        truth.append(marks[counted])
    found = np.column_stack([labels, softmax(features @ kernel[0, 0] + bias)])
    whole_scenes = np.column_stack([np.concatenate(truth), np.concatenate(expected)])
    assert features.dtype == np.float32 and labels.dtype == np.uint8 and features.shape[1] == 4
    assert len(found) == len(whole_scenes)
    # In whatever order the pixels come, sorted projections of alike tables are alike.
    directions = np.random.default_rng(0).normal(size=(4, 20))
    np.testing.assert_allclose(*(np.sort(table @ directions, axis=0) for table in (found, whole_scenes)), atol=1e-5)
    assert scenes[2].most_pixels_read >= 70 * 50


def test_a_large_scene_is_read_by_tiles_that_hold_a_chosen_pixel() -> None:
    scene = random_scene((400, 400), seed=5)
    scene.labels[:] = IGNORED_INDEX
    scene.labels[200:220, 300:320] = 1
    positions = find_class_positions([scene], 3, seed=0)
    model = unet(2, 3, UNetConfig(depth=1, filters=4))
    scene.most_pixels_read = 0
    features, labels = sample_features(model, "final_conv", [scene], positions, 50, 0.0, seed=0, core=64)
    assert 64 * 64 <= scene.most_pixels_read < 100 * 100
    assert features.shape == (50, 4) and set(labels) == {1}


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_classes_are_drawn_by_their_share_to_the_power_of_one_minus_balance(balance: float) -> None:
    labels = np.repeat([0, 1, 2], [6400, 3200, 400]).reshape(100, 100)
    scene = ToyScene(np.zeros((100, 100, 2)), labels)
    positions = find_class_positions([scene], 4, seed=0)
    model = unet(2, 3, UNetConfig(depth=1, filters=4))
    _, drawn = sample_features(model, "final_conv", [scene], positions, 900, balance, seed=0)
    weight = np.array([0.64, 0.32, 0.04]) ** (1 - balance)
    np.testing.assert_allclose(np.bincount(drawn), 900 * weight / weight.sum(), atol=0.5)


def test_scenes_without_a_labelled_valid_pixel_are_an_error_that_names_the_first() -> None:
    scene = random_scene((16, 16))
    scene.pixels[:] = np.nan
    positions = find_class_positions([scene], 3, seed=0)
    model = unet(2, 3, UNetConfig(depth=1, filters=4))
    with pytest.raises(InputError, match="toy: no labelled, valid pixel"):
        sample_features(model, "final_conv", [scene], positions, 100, 0.0, seed=0)
