"""Two models side by side: bands and classes matched by name, and what counts as a gain."""

from __future__ import annotations

import numpy as np
import pytest

from segapp.bands import Band
from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.errors import InputError
from segapp.evaluation.report import Evaluation
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from segapp.reporting.comparison import compare, match_classes, select_bands
from segapp.reporting.score_table import ScoreTable
from segapp.windows import Window, whole
from tests.toy import random_scene


def table(*names: str, first_id: int = 1) -> ClassTable:
    return ClassTable.model_validate({"classes": [{"id": first_id + i, "name": name} for i, name in enumerate(names)]})


def spec(classes: ClassTable, bands: tuple[Band, ...] = (Band(name="band_1"),)) -> ModelSpec:
    count = (0.0,) * len(bands), (1.0,) * len(bands)
    return ModelSpec(
        schema=2,
        name="base",
        network=UNetConfig(),
        bands=bands,
        classes=classes,
        normalization=Normalization(mean=count[0], std=count[1]),
        patch_size=32,
    )


def scored(classes: ClassTable, reference: np.ndarray, prediction: np.ndarray) -> ScoreTable:
    evaluation = Evaluation(classes, boundaries=False)
    evaluation.add(reference, prediction)
    return ScoreTable.model_validate(evaluation.scores().as_dict())


def maps(seed: int, classes: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, (40, 50)).astype(np.uint8)


def test_classes_are_matched_by_name_whatever_their_order_and_ids() -> None:
    matched = match_classes(table("Water", "tree", first_id=70), table("tree", "water"))
    assert matched.matched == (True, True)
    assert matched.remap[[0, 1, IGNORED_INDEX]].tolist() == [1, 0, IGNORED_INDEX]
    assert matched.classes == table("tree", "water")


def test_what_the_other_model_takes_for_a_class_of_its_own_counts_as_missed() -> None:
    classes, other = table("land", "water"), table("water", "tree", "crop")
    matched = match_classes(other, classes)
    assert matched.matched == (False, True) and len(matched.classes) == 3
    reference, other_map = maps(0, 2), maps(1, 3)
    before = scored(matched.classes, reference, matched.remap[other_map])
    found = compare(scored(classes, reference, maps(2, 2)), before, spec(other), classes)
    land, water = found.classes
    assert land.before is None and land.gain is None and "no such class" in land.reason
    hits = ((reference == 1) & (other_map == 0)).sum()
    assert water.before == pytest.approx(hits / ((reference == 1) | (other_map == 0)).sum())
    assert water.gain == pytest.approx(water.after - water.before)  # type: ignore[operator]
    assert found.comparable and found.removed == ("tree", "crop")
    assert all(pair.before is None and pair.gain is None and pair.reason for pair in found.overall)


def test_a_model_that_knows_all_classes_and_more_has_overall_scores() -> None:
    classes, other = table("land", "water"), table("water", "snow", "land")
    matched = match_classes(other, classes)
    reference, other_map, ours = maps(0, 2), maps(1, 3), maps(2, 2)
    before = scored(matched.classes, reference, matched.remap[other_map])
    found = compare(scored(classes, reference, ours), before, spec(other), classes)
    accuracy = next(pair for pair in found.overall if pair.label == "Global accuracy")
    expected = (matched.remap[other_map] == reference).mean()
    assert accuracy.before == pytest.approx(expected)
    assert accuracy.gain == pytest.approx((ours == reference).mean() - expected)


def test_a_class_table_that_has_another_class_already_is_no_obstacle() -> None:
    matched = match_classes(table("sea", "lake"), table("another class", "land"))
    assert len(set(matched.classes.names)) == 3


def test_scores_on_other_pixels_are_no_gain() -> None:
    classes = table("land", "water")
    reference = maps(0, 2)
    other_reference = reference.copy()
    other_reference[0, 0] = 1 - other_reference[0, 0]
    after = scored(classes, reference, maps(1, 2))
    assert compare(after, scored(classes, reference, maps(2, 2)), spec(classes), classes).comparable
    assert not compare(after, scored(classes, other_reference, maps(2, 2)), spec(classes), classes).comparable


def test_a_class_absent_from_the_reference_gains_nothing() -> None:
    classes = table("land", "water", "snow")
    after, before = (scored(classes, maps(0, 2), maps(seed, 3)) for seed in (1, 2))
    snow = compare(after, before, spec(classes), classes).classes[2]
    assert (snow.before, snow.after, snow.gain, snow.reason) == (None, None, None, "absent from the reference")


def test_the_other_model_sees_its_own_bands_in_its_own_order() -> None:
    scene = random_scene((20, 30), bands=4)
    wanted = (Band(name="Band 3"), Band(name="band_1"))
    (seen,) = select_bands([scene], spec(table("a", "b"), wanted), "models/base")
    window = Window(3, 4, 5, 6)
    np.testing.assert_array_equal(seen.read(window), scene.read(window)[..., [2, 0]])
    np.testing.assert_array_equal(seen.read_labels(whole(seen.shape)), scene.labels)
    np.testing.assert_array_equal(seen.valid(window), scene.valid(window))
    np.testing.assert_array_equal(seen.read_label_ids(window)[0], scene.read_label_ids(window)[0])
    assert [band.name for band in seen.bands] == ["band_3", "band_1"]
    same = select_bands([scene], spec(table("a", "b"), scene.bands), "models/base")
    assert same == [scene]


@pytest.mark.parametrize("band", [Band(name="thermal"), Band(name="band_1", unit="reflectance")])
def test_a_band_that_the_data_does_not_have_is_one_line(band: Band) -> None:
    with pytest.raises(InputError, match=rf"^models/base: takes the band '{band.name}' in .*; leave --compare out"):
        select_bands([random_scene((20, 30))], spec(table("a", "b"), (band,)), "models/base")


def test_as_many_classes_as_there_can_be_are_no_fault() -> None:
    most = ClassTable.model_validate({"classes": [{"id": i, "name": str(i)} for i in range(255)]})
    assert all(match_classes(most, most).matched)
    with pytest.raises(InputError, match="leave --compare out"):
        match_classes(table("sea", "lake"), most)
