"""What goes together is matched, what does not is said, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import rasterio

from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import as_rows
from segapp.model.second_moments import band_second_moments
from segapp.samples.landscape import BANDS
from segapp.transfer.base import read_base
from segapp.transfer.discriminants import colouring, discriminants
from segapp.transfer.network import copied_head
from segapp.transfer.transfer import Transfer, plan_transfer
from segapp.windows import whole
from tests.transfer.conftest import NAMES, tiny_strategy, without

HEAD_ONLY = tiny_strategy(phases=(), distillation=1)


def _prepare(base: Base, data: Path, **settings: Any) -> Transfer:
    return plan_transfer(base, read_dataset(data), settings.pop("strategy", HEAD_ONLY), **settings)


def test_matched_bands_keep_the_bases_statistics_and_new_ones_get_the_pixels(
    base: Base, dataset: Callable[..., Path], seven: Path
) -> None:
    data = dataset(bands=(), images=seven)
    transfer = _prepare(base, data)
    assert transfer.bands.sources == (0, 1, 2, 3, 4, 5, None) and not transfer.mixing[6].any()
    found, old = transfer.spec.normalization, base.spec.normalization
    assert (found.mean[:6], found.std[:6]) == (old.mean, old.std)
    assert found.mean[6] == transfer.scenes.statistics.mean[6] and found.std[6] == transfer.scenes.statistics.std[6]
    assert [band.statistics for band in transfer.plan.bands] == ["the base's"] * 6 + ["of the new training pixels"]
    assert transfer.plan.bands[6].base is None and any("start at zero" in note for note in transfer.plan.notes)


def test_where_units_are_unknown_statistics_are_those_of_the_new_pixels(
    base: Base, dataset: Callable[..., Path]
) -> None:
    transfer = _prepare(base, dataset(image=""))
    assert transfer.bands.sources == tuple(range(6))
    assert transfer.spec.normalization.mean == tuple(transfer.scenes.statistics.mean)
    assert transfer.spec.normalization.mean[3] > 500  # counts of reflectance x 10 000
    assert any("units are unknown" in note for note in transfer.plan.notes)


def test_counts_of_two_unknown_scales_are_not_taken_for_one(base: Base, dataset: Callable[..., Path]) -> None:
    bands = tuple(band.model_copy(update={"unit": "digital number"}) for band in base.spec.bands)
    unknown = replace(base, spec=base.spec.model_copy(update={"bands": bands}))
    transfer = _prepare(unknown, dataset(image=""))
    assert transfer.spec.normalization.mean == tuple(transfer.scenes.statistics.mean)


def test_counts_are_converted_to_the_bases_unit_by_scale_and_offset(base: Base, dataset: Callable[..., Path]) -> None:
    """Stored as counts of another scale, values are the same reflectance."""
    transfer = _prepare(base, dataset())
    values = transfer.scenes.train[0].read(whole(transfer.scenes.train[0].shape))
    assert 0 < np.nanmean(values) < 1 and transfer.spec.normalization == base.spec.normalization


def test_data_far_outside_the_bases_is_noted_with_both_figures(base: Base, dataset: Callable[..., Path]) -> None:
    data = dataset(image='scale = 0.001\nunit = "reflectance"')
    notes = [note for note in _prepare(base, data).plan.notes if "is far from" in note]
    assert len(notes) == 6 and notes[0].startswith("band blue is far from the base's training data: 0.")
    assert str(data) in notes[0]
    assert not _prepare(base, dataset()).plan.notes


@pytest.mark.parametrize("far", [True, False])
@pytest.mark.parametrize("new_class", [True, False])
def test_only_far_data_with_new_classes_are_standardised_by_themselves(
    base: Base, dataset: Callable[..., Path], far: bool, new_class: bool
) -> None:
    names = ["something new", *NAMES[1:]] if new_class else NAMES
    scale = 'scale = 0.001\nunit = "reflectance"'
    transfer = _prepare(base, dataset(classes=names, **({"image": scale} if far else {})))
    own = far and new_class
    source = transfer.scenes.statistics if own else base.spec.normalization
    assert transfer.spec.normalization.mean == tuple(source.mean)
    assert {band.statistics for band in transfer.plan.bands} == {"of the new training pixels" if own else "the base's"}
    said = "bands are far from the base's, so matched bands are normalized by the new training pixels"
    assert (said in transfer.plan.notes) == own


def test_bands_that_none_matches_start_as_discriminants_unless_told_otherwise(
    base: Base, dataset: Callable[..., Path]
) -> None:
    names = ", ".join(f'"channel_{number}"' for number in range(1, 7))
    data = dataset(image=f"names = [{names}]")
    transfer = _prepare(base, data)
    assert any("linear discriminants" in note for note in transfer.plan.notes)
    found = discriminants(transfer.spec.normalization, transfer.scenes.train, len(NAMES), 6)
    np.testing.assert_array_equal(transfer.mixing, found)
    assert np.linalg.matrix_rank(found) == 6
    second_moments = np.array(transfer.spec.second_moments)
    coloured = replace(base, spec=base.spec.model_copy(update={"second_moments": as_rows(second_moments)}))
    np.testing.assert_array_equal(_prepare(coloured, data).mixing, found @ colouring(second_moments))
    assert not _prepare(base, data, new_bands="zero").mixing.any()
    np.testing.assert_array_equal(_prepare(base, data, new_bands="mean").mixing, np.full((6, 6), 1 / 6))
    with pytest.raises(InputError, match="discriminants need data that shares no band with"):
        _prepare(base, dataset(), new_bands="discriminants")


def test_dropped_bands_are_estimated_as_they_went_together_in_the_bases_training(
    base: Base, dataset: Callable[..., Path]
) -> None:
    second_moments = as_rows(band_second_moments(base.spec.normalization, _prepare(base, dataset()).scenes.train))
    four = dataset(bands=BANDS[:4])
    assert not _prepare(base, four).mixing[:, 4:].any()
    transfer = _prepare(replace(base, spec=base.spec.model_copy(update={"second_moments": second_moments})), four)
    np.testing.assert_array_equal(transfer.mixing[:, :4], np.eye(4))
    assert (np.abs(transfer.mixing[:, 4:]).max(axis=0) > 0.1).all()
    assert any(note.startswith("swir1, swir2: estimated from the other bands") for note in transfer.plan.notes)


def test_what_labels_show_and_what_carries_over(
    base: Base, samples: Path, dataset: Callable[..., Path], tmp_path: Path
) -> None:
    labels = without(samples, tmp_path / "few", ids=[2, 5])
    transfer = _prepare(base, dataset(labels=labels, classes=["lake", *NAMES[1:]]))
    assert transfer.classes.present.tolist() == [True, False, True, True, False, True]
    assert transfer.classes.shared.tolist() == [False, True, True, True, True, True]
    assert transfer.plan.distilled == ("forest", "bare") and transfer.distils
    careless = tiny_strategy(phases=())
    assert not _prepare(base, dataset(labels=labels), strategy=careless).plan.distilled


def test_without_validation_scenes_the_training_scenes_are_split_into_folds(
    base: Base, dataset: Callable[..., Path]
) -> None:
    transfer = _prepare(base, dataset(roles=("train",)))
    assert transfer.plan.folds == len(transfer.scenes.splits) == 2 and transfer.scenes.places_apart
    for split in transfer.scenes.splits:
        assert len(split.train) == len(split.val) == 1 and split.train[0] is not split.val[0]
    for index, entry in enumerate(transfer.plan.classes):
        assert entry.pixels == sum((s.read_labels(whole(s.shape)) == index).sum() for s in transfer.scenes.train)


def test_a_scene_too_small_to_split_validates_on_what_it_trains_and_no_place_is_apart(
    base: Base, samples: Path, tmp_path: Path
) -> None:
    text = samples.read_text().split("[[scenes]]")[0]
    for name, folder in (("image", "train"), ("labels", "labels")):
        with rasterio.open(samples.parent / folder / "scene_01.tif") as source:
            pixels, profile = source.read()[:, 40:48, 40:48], source.profile
            with rasterio.open(tmp_path / f"{name}.tif", "w", **(profile | {"height": 8, "width": 8})) as target:
                target.write(pixels)
                target.descriptions = source.descriptions
    scene = '[[scenes]]\nimage = "image.tif"\nlabels = "labels.tif"\nrole = "train"\n'
    (tmp_path / "small.toml").write_text(text + scene)
    scenes = _prepare(base, tmp_path / "small.toml").scenes
    (split,) = scenes.splits
    assert split.train is split.val is scenes.train and scenes.folded and not scenes.places_apart


def test_a_scene_in_blocks_gives_all_roles(base: Base, samples: Path, tmp_path: Path) -> None:
    text = samples.read_text().split("[[scenes]]")[0].replace('name = "samples"', 'name = "one"\nsplit = "blocks"')
    image, labels = samples.parent / "train" / "scene_01.tif", samples.parent / "labels" / "scene_01.tif"
    (tmp_path / "one.toml").write_text(f'{text}[[scenes]]\nimage = "{image}"\nlabels = "{labels}"\n')
    transfer = _prepare(base, tmp_path / "one.toml", strategy=tiny_strategy(phases=(), patch_size=16))
    assert not transfer.plan.folds and transfer.plan.validation_scenes == 1


def _keras_file(folder: Path) -> Path:
    image = keras.Input((None, None, 6))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.UpSampling2D()(keras.layers.Conv2D(4, 3, padding="same")(keras.layers.MaxPooling2D()(x)))
    keras.Model(image, keras.layers.Conv2D(6, 1, activation="softmax", name="classes")(x)).save(folder / "net.keras")
    return folder / "net.keras"


def test_of_a_keras_file_bands_go_by_order_and_classes_by_the_map_alone(
    dataset: Callable[..., Path], tmp_path: Path
) -> None:
    base = read_base(_keras_file(tmp_path))
    plain = _prepare(base, dataset())
    assert plain.bands.sources == tuple(range(6)) and not plain.classes.shared.any() and not plain.plan.dropped_classes
    assert plain.spec.normalization == base.spec.normalization and plain.spec.head == "final_conv"
    assert any("has no band names and units" in note for note in plain.plan.notes)
    mapped = _prepare(base, dataset(), class_map={name: [f"class_{i}"] for i, name in enumerate(NAMES, start=1)})
    assert mapped.classes.shared.all() and mapped.plan.base_is_candidate
    weights, _ = copied_head(base, mapped.classes.sources, mapped.classes.present)
    np.testing.assert_array_equal(weights, base.model.get_layer("classes").get_weights()[0][0, 0])
    fewer = _prepare(base, dataset(bands=BANDS[:4]))
    assert (
        fewer.bands.sources == (None,) * 4 and not fewer.mixing[:, 4:].any() and fewer.mixing[:, :4].any(axis=0).all()
    )


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ({"roles": ("val", "test")}, {}, r"new\.toml: no scene has the role train"),
        (
            {"classes": ["lake", *NAMES[1:]]},
            {"strategy": tiny_strategy(phases=(), head="copied")},
            "lake cannot be copied",
        ),
        ({}, {"class_map": {"water": ["sea"]}}, "class 'water': 'sea' is no class of the base"),
        ({}, {"class_map": {"sea": ["water"]}}, "class 'sea' is mapped but is no new class"),
        ({}, {"strategy": tiny_strategy(patch_size=33)}, "patch size of 33 does not divide by 2, .*; use 34"),
        (
            {},
            {"strategy": tiny_strategy({"name": "one", "rate": 1, "layers": {"bridg": 1, "*": 1}})},
            "phase 'one': the pattern 'bridg' fits no layer; did you mean 'bridge'",
        ),
        ({"bands": ()}, {"unlabelled": ["mask"]}, r"scene_04\.tif: its bands are band_1, .*; give images like"),
        ({}, {"unlabelled": ["nowhere.tif"]}, r"nowhere\.tif"),
        (
            {"classes": [f"new {i}" for i in range(6)]},
            {"unlabelled": ["scene"]},
            "serve distillation from the base, but fewer than two classes are shared",
        ),
        (
            {},
            {"unlabelled": ["scene"], "strategy": tiny_strategy(name="mine")},
            "serve distillation from the base, but mine has none",
        ),
        (
            {},
            {"unlabelled": ["scene"], "strategy": tiny_strategy(batch=1, distillation=1)},
            "a batch of 1 has no room for unlabelled",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(
    base: Base,
    samples: Path,
    dataset: Callable[..., Path],
    tmp_path: Path,
    data: dict[str, Any],
    settings: dict[str, Any],
    message: str,
) -> None:
    if "unlabelled" in settings:
        files = {
            name: samples.parent / folder / "scene_04.tif"
            for name, folder in {"scene": "test", "mask": "labels"}.items()
        }
        settings = {**settings, "unlabelled": [files.get(name, tmp_path / name) for name in settings["unlabelled"]]}
    with pytest.raises(InputError, match=message) as error:
        _prepare(base, dataset(**data), **settings)
    assert "\n" not in str(error.value)


def test_labels_that_show_nothing_are_an_error(
    base: Base, samples: Path, dataset: Callable[..., Path], tmp_path: Path
) -> None:
    labels = without(samples, tmp_path / "none", ids=range(1, 7))
    with pytest.raises(InputError, match="the training scenes hold no labelled pixel"):
        _prepare(base, dataset(labels=labels))
