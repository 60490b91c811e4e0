"""The context branch is fitted beside a network, and joined so that the mean of both counts."""

from __future__ import annotations

import numpy as np
import pytest

from segapp.model.base import Base
from segapp.nets.context import HIDDEN
from segapp.transfer.context import ContextWeights, fit_members, join_context
from segapp.transfer.network import build_network, copied_head


def _weights(spec_bands: int, units: int, classes: int, seed: int = 0) -> ContextWeights:
    rng = np.random.default_rng(seed)
    shapes = (9 * spec_bands, units), (units,), (units, classes), (classes,)
    return ContextWeights(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def _image(bands: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 0.5, (1, 32, 32, bands)).astype(np.float32)


def _logits(model: object, image: np.ndarray) -> np.ndarray:
    import keras

    assert isinstance(model, keras.Model)
    return np.asarray(keras.Model(model.inputs, model.get_layer("softmax").input)(image))


def test_members_learn_what_no_linear_classifier_can() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (2000, 2)).astype(np.float32) * [3, 0.1] + [5, 0]
    labels = ((features[:, 0] > 5) ^ (features[:, 1] > 0)).astype(np.uint8)
    fitted = fit_members(features.astype(np.float32), labels, 32, 2, seed=0)
    hidden = np.maximum(features @ fitted.kernel + fitted.hidden_bias, 0)
    assert np.mean((hidden @ fitted.head + fitted.bias).argmax(1) == labels) > 0.95


def test_the_same_seed_fits_the_same_members() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(3, size=60).astype(np.uint8)
    first, second = (fit_members(features, labels, 8, 3, seed=4) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_logits_of_a_joined_network_are_the_mean_of_its_and_the_branchs(base: Base) -> None:
    bands, classes = len(base.spec.bands), len(base.spec.classes)
    weights, image = _weights(bands, 8, classes), _image(bands)
    joined, spec = join_context(base.model, base.spec, weights)
    assert spec.context == 8
    import keras

    features = np.asarray(keras.Model(joined.inputs, joined.get_layer("context_features").output)(image))
    branch = np.maximum(features @ weights.kernel + weights.hidden_bias, 0) @ weights.head + weights.bias
    expected = (_logits(base.model, image) + branch) / 2
    np.testing.assert_allclose(_logits(joined, image), expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_has_a_branch_keeps_it_when_another_is_joined(base: Base) -> None:
    bands, classes = len(base.spec.bands), len(base.spec.classes)
    once, spec = join_context(base.model, base.spec, _weights(bands, 8, classes))
    silent = ContextWeights(*(np.zeros_like(part) for part in _weights(bands, 4, classes)))
    twice, again = join_context(once, spec, silent)
    assert again.context == 12
    image = _image(bands)
    np.testing.assert_allclose(_logits(twice, image), _logits(once, image) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("same_bands", [True, False])
def test_the_branch_of_a_base_stays_with_its_bands_and_ends_with_others(base: Base, same_bands: bool) -> None:
    bands, classes = len(base.spec.bands), len(base.spec.classes)
    model, spec = join_context(base.model, base.spec, _weights(bands, 8, classes))
    with_branch = Base(model, spec, "base", known_classes=True)
    mixing = np.eye(bands) if same_bands else np.eye(bands)[::-1]
    new = spec.model_copy(update={"context": 8 if same_bands else 0, "head": "final_conv_2"})
    network = build_network(with_branch, new, mixing)
    sources = [(index,) for index in range(classes)]
    channels = int(network.get_layer("final_conv_2").input.shape[-1])
    head, _ = copied_head(with_branch, sources, np.ones(classes, bool), channels)
    assert head.shape == (channels, classes)
    assert any(layer.name == HIDDEN for layer in network.layers) == same_bands
