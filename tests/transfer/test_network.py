"""The body is shared over to the bit, other bands keep its function, and the head does for old classes what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.conversion.rebuild import same_features
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.adapt import band_mixing
from segapp.transfer.base import read_base
from segapp.transfer.network import build_network, copied_head, fresh_head_name, set_head
from tests.transfer.conftest import weights_of

CLASSES = ClassTable.model_validate({"classes": [{"id": i, "name": f"new {i}"} for i in range(1, 4)]})


def _spec(base: Base, bands: Sequence[int | None]) -> ModelSpec:
    """Of three new classes, with the base's bands at the places of `bands`, and new ones at None."""
    old = base.spec.normalization
    return base.spec.model_copy(
        update={
            "bands": tuple(Band(name="new") if b is None else base.spec.bands[b] for b in bands),
            "normalization": Normalization(
                mean=tuple(5.0 if b is None else old.mean[b] for b in bands),
                std=tuple(2.0 if b is None else old.std[b] for b in bands),
                logarithm=old.logarithm,
            ),
            "classes": CLASSES,
            "head": fresh_head_name(base),
        }
    )


def test_features_before_the_new_head_are_the_bases_bit_for_bit(base: Base) -> None:
    spec = _spec(base, range(6))
    model = build_network(base, spec, np.eye(6))
    assert (spec.head, model.output_shape[-1]) == ("final_conv_2", 3)
    assert same_features(base.model, base.spec.head, model, spec.head)
    assert "final_conv" not in {layer.name for layer in model.layers}


@pytest.mark.parametrize(
    "bands",
    [(5, 4, 3, 2, 1, 0), (0, 1, 2, 3), (4, 0), (0, 1, 2, 3, 4, 5, None), (None, 3, None, 1)],
    ids=["permuted", "dropped", "dropped and permuted", "added", "all of it"],
)
@pytest.mark.parametrize("logarithm", [False, True])
def test_other_bands_keep_the_function(base: Base, bands: tuple[int | None, ...], logarithm: bool) -> None:
    """Where dropped bands are at the base's centre, as without data; new ones may hold anything."""
    if logarithm:
        normalization = base.spec.normalization.model_copy(update={"logarithm": True})
        spec = base.spec.model_copy(update={"normalization": normalization})
        base = Base(build_network(base, spec, np.eye(6)), spec, "logarithms", known_classes=True)
    spec = _spec(base, bands)
    model = build_network(base, spec, band_mixing(bands, 6))
    normalization = base.spec.normalization
    mean, std = (np.array(numbers, np.float32) for numbers in (normalization.mean, normalization.std))
    rng = np.random.default_rng(0)
    image = (mean + std * rng.normal(size=(1, 32, 32, 6))).astype(np.float32)
    image[..., [b for b in range(6) if b not in bands]] = np.nan
    new = rng.normal(size=(1, 32, 32, len(bands))).astype(np.float32)
    for place, band in enumerate(bands):
        if band is not None:
            new[..., place] = image[..., band]
    found = keras.Model(model.inputs[0], model.get_layer(spec.head).input)(new).numpy()
    expected = keras.Model(base.model.inputs[0], base.model.get_layer(base.spec.head).input)(image).numpy()
    # The first convolution adds up the same float32 products in another order; nine layers carry the rounding on.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    before, after = weights_of(base.model), weights_of(model)
    changed = {name for name in before.keys() & after.keys() if not _same(before[name], after[name])}
    assert changed <= {"input_normalization", "encoder_stage_1_conv_1"} and before.keys() - after.keys() == {
        "final_conv"
    }


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_where_no_band_matches_filters_start_as_the_mean_of_all(base: Base) -> None:
    model = build_network(base, _spec(base, (None,) * 3), band_mixing((None,) * 3, 6, "mean"))
    old, new = (m.get_layer("encoder_stage_1_conv_1").get_weights()[0] for m in (base.model, model))
    np.testing.assert_allclose(
        new, np.repeat(old.mean(2, keepdims=True, dtype=np.float64) * 6 / 3, 3, axis=2), rtol=1e-6
    )


def _weighing_bands(folder: Path) -> Base:
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(layers.BatchNormalization(name="weighs")(image))
    keras.Model(image, layers.Conv2D(2, 1)(x)).save(folder / "foreign.keras")
    return read_base(folder / "foreign.keras")


def test_a_body_that_weighs_its_bands_takes_no_others_and_names_the_layer(tmp_path: Path) -> None:
    base = _weighing_bands(tmp_path)
    assert same_features(
        base.model, base.spec.head, build_network(base, _spec(base, (0, 1, 2)), band_mixing((0, 1, 2), 3)), "final_conv"
    )
    with pytest.raises(InputError, match=r"layer 'weighs' \(BatchNormalization\).* with its own bands"):
        build_network(base, _spec(base, (0, 1)), band_mixing((0, 1), 3))


NAMES = st.sampled_from(["final_conv", *(f"final_conv_{i}" for i in range(6)), "conv", "softmax"])


@given(st.sets(NAMES))
def test_a_fresh_heads_name_is_no_layers(taken: set[str]) -> None:
    model = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in taken])
    name = fresh_head_name(SimpleNamespace(model=model))  # type: ignore[arg-type]
    assert name not in taken and name.startswith("final_conv")


def test_a_transfer_of_a_transfer_finds_a_fresh_name_too(base: Base) -> None:
    once = build_network(base, _spec(base, range(6)), np.eye(6))
    again = Base(once, _spec(base, range(6)), "again", known_classes=True)
    twice = build_network(again, _spec(again, range(6)), np.eye(6))
    assert (once.layers[-2].name, twice.layers[-2].name) == ("final_conv_2", "final_conv")
    assert same_features(once, "final_conv_2", twice, "final_conv")


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _probabilities(
    base: Base, classes: Sequence[Sequence[int]], present: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) of the copied head and (n, 6) of the base's on features of any size."""
    features = 3 * np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    kernel, bias = base.model.get_layer(base.spec.head).get_weights()
    weights, biases = copied_head(base, classes, np.ones(len(classes), bool) if present is None else present)
    assert weights.dtype == biases.dtype == np.float32
    return _softmax(features @ weights + biases), _softmax(features @ kernel[0, 0] + bias)


def test_with_the_same_classes_the_new_networks_probabilities_are_the_bases_bit_for_bit(base: Base) -> None:
    spec = base.spec.model_copy(update={"head": "final_conv_2"})
    model = build_network(base, spec, np.eye(6))
    set_head(model, spec.head, *copied_head(base, [(i,) for i in range(6)], np.ones(6, bool)))
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 6)).astype(np.float32)
    np.testing.assert_array_equal(model(image), base.model(image))


@given(st.permutations(range(6)))
def test_classes_in_another_order_keep_their_probabilities(base: Base, order: list[int]) -> None:
    found, expected = _probabilities(base, [(source,) for source in order])
    np.testing.assert_allclose(found, expected[:, order], rtol=1e-5)


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_classes_that_continue_one_of_the_bases_share_its_probability(
    base: Base, once: list[int], more: list[int]
) -> None:
    sources = [*once, *more]
    found, expected = _probabilities(base, [(source,) for source in sources])
    added = np.stack([found[:, np.array(sources) == source].sum(-1) for source in range(6)], axis=-1)
    np.testing.assert_allclose(added, expected, rtol=1e-5)
    for source in range(6):
        heirs = found[:, np.array(sources) == source]
        np.testing.assert_allclose(heirs, heirs[:, :1].repeat(heirs.shape[1], 1), rtol=1e-5)


def test_a_merged_class_lies_between_the_mean_and_the_sum_of_its_parts(base: Base) -> None:
    """Of two linear functions no one linear function can be the sum; where they agree, theirs is."""
    classes = [(0, 1), (2,), (3,), (4,), (5,)]
    found, expected = _probabilities(base, classes)
    odds, parts = found[:, 0] / found[:, 1], expected[:, :2] / expected[:, 2:3]
    assert (odds <= parts.sum(-1) * (1 + 1e-5)).all()
    np.testing.assert_allclose(odds, 2 * np.sqrt(parts.prod(-1)), rtol=1e-4)
    np.testing.assert_allclose(found[:, 2] / found[:, 1], expected[:, 3] / expected[:, 2], rtol=1e-4)


def test_a_new_class_starts_at_zero_and_is_never_predicted_if_no_label_shows_it(base: Base) -> None:
    classes, present = [(0,), (1,), (), (), (2,)], np.array([True, False, True, False, True])
    weights, biases = copied_head(base, classes, present)
    assert not weights[:, 2:4].any() and biases[2] == 0
    found, expected = _probabilities(base, classes, present)
    assert (found.argmax(-1) != 3).all() and found[:, 3].max() < 1e-6
    assert (found.argmax(-1) == 2).any()
    np.testing.assert_allclose(found[:, 1] / found[:, 0], expected[:, 1] / expected[:, 0], rtol=1e-4)


def test_a_base_whose_classes_all_end_leaves_a_head_of_zeros(base: Base) -> None:
    found, _ = _probabilities(base, [(), (), ()], np.array([True, True, False]))
    np.testing.assert_allclose(found[:, :2], 0.5, rtol=1e-6)
