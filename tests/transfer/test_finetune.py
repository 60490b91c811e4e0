"""`segapp.finetune` writes what validates best, be it the base, and says in model and card what was done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import segapp
from segapp.model.base import Base
from segapp.model.bundle import read_spec
from segapp.model.card import METADATA, model_card
from segapp.patches.sampling import PatchSource
from segapp.samples.landscape import BANDS
from segapp.scenes.scene import Scene
from segapp.transfer.finetune import finetune
from segapp.transfer.strategy import read_strategy
from tests.transfer.conftest import NAMES, Witness, tiny_strategy

NEW_NAMES = ["lake", "forest", "grass", "crop", "rock", "built"]
FORGETFUL_HEAD = read_strategy("head", {"distillation": 0})
"""Fits the head to the labels alone; the tiny base has little to say."""
BY_CHANCE = 0.05
"""Cohen's kappa is 0 by chance; the tiny base stands at 0.15 to 0.25 on thousands of pixels."""


def _document(folder: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return json.loads((folder / "model.json").read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def fitted(base_folder: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base after `head`, for the same data and classes."""
    output = tmp_path_factory.mktemp("models") / "head"
    finetune(base_folder, samples, output, strategy=FORGETFUL_HEAD, quiet=True)
    return output


def test_the_written_model_is_not_behind_the_base_where_the_guard_looked(
    fitted: Path, base_folder: Path, samples: Path
) -> None:
    ours, theirs = (segapp.evaluate(folder, samples, role="val") for folder in (fitted, base_folder))
    assert ours.global_accuracy + ours.mean_iou > theirs.global_accuracy + theirs.mean_iou
    provenance = _document(fitted)["provenance"]
    lines = {line["phase"]: line for line in provenance["phases"]}
    base, written = lines["base"], lines[provenance["winner"]]
    assert (base["accuracy"], base["mean_iou"]) == (theirs.global_accuracy, theirs.mean_iou)
    assert (written["accuracy"], written["mean_iou"]) == (ours.global_accuracy, ours.mean_iou)
    assert written["won"] and lines["head"]["against"] == "base"


def test_head_fits_the_head_and_nothing_else(fitted: Path, base: Base) -> None:
    model = segapp.load(fitted)
    assert model.spec.head == "final_conv_2" and {file.name for file in fitted.iterdir()} == {
        "model.json",
        "model.weights.h5",
        "README.md",
        "plan.json",
        "events",
        "messages.log",
    }
    for layer in base.model.layers:
        if layer.name != "final_conv":
            for old, new in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(new, old, err_msg=layer.name)


def test_phases_leave_their_logs_and_no_weights_but_the_written(unguarded: tuple[Path, Witness]) -> None:
    folder, witness = unguarded
    assert {file.name for file in folder.iterdir()} == {
        "model.json",
        "model.weights.h5",
        "README.md",
        "plan.json",
        "events",
        "messages.log",
        "1-decoder",
        "2-all",
    }
    for name in ("1-decoder", "2-all"):
        assert {file.name for file in (folder / name).iterdir()} == {"log.csv", "training-progress.png", "events"}
    assert witness.steps == [5, 7] and not folder.with_name("unguarded.partial").exists()


def test_a_phase_starts_from_the_one_before_where_nothing_guards(unguarded: tuple[Path, Witness], base: Base) -> None:
    document = _document(unguarded[0])["provenance"]
    assert [line["phase"] for line in document["phases"]] == ["base", "head", "2-all"]
    assert document["winner"] == "2-all"
    witness = unguarded[1]
    first, second = witness.begun
    kernel = base.model.get_layer("decoder_stage_1_conv_1").get_weights()[0]
    np.testing.assert_array_equal(first["decoder_stage_1_conv_1"][0], kernel)
    assert not np.array_equal(second["decoder_stage_1_conv_1"][0], kernel)


def test_plan_phases_and_winner_stand_in_model_and_card(unguarded: tuple[Path, Witness], base_folder: Path) -> None:
    folder, _ = unguarded
    provenance = _document(folder)["provenance"]
    assert provenance["base"] == str(base_folder) and provenance["recipe"]["phases"][0]["name"] == "decoder"
    assert provenance["plan"] == json.loads((folder / "plan.json").read_text())["plan"]
    assert [phase["name"] for phase in provenance["plan"]["phases"]] == ["decoder", "all"]
    card = (folder / "README.md").read_text()
    assert card == METADATA + model_card(read_spec(folder))
    assert f"## Transfer\n\nFrom {base_folder} by the strategy custom." in card
    for line in provenance["phases"]:
        against = line["against"] or ""
        won = {True: "yes", False: "no"}[line["won"]] if against else ""
        written = "yes" if line["phase"] == "2-all" else ""
        row = f"| {line['phase']} | {line['accuracy']:.3f} | {line['mean_iou']:.3f} | {against} | {won} | {written} |"
        assert row in card
    assert "Without the guard the last phase was written" in card and "[{" not in card and "{'" not in card


def test_where_the_base_wins_its_probabilities_are_written_bit_for_bit(
    base: Base, base_folder: Path, samples: Path, tmp_path: Path
) -> None:
    """Against a phase that wrecks it, and one that diverges, which is scored as what it started from."""
    rates = {"wreck": 0.3, "diverge": 1e12}
    phases = ({"name": name, "rate": rate, "layers": {"*": 1}} for name, rate in rates.items())
    strategy = tiny_strategy(*phases, head="copied", steps=6)
    model = finetune(base_folder, samples, tmp_path / "new", strategy=strategy, quiet=True)
    image = np.random.default_rng(0).random((1, 64, 64, 6), np.float32)
    np.testing.assert_array_equal(model(image), base.model(image))
    provenance = _document(tmp_path / "new")["provenance"]
    assert provenance["winner"] == "base" and [line["won"] for line in provenance["phases"]] == [True, False]
    assert [line["phase"] for line in provenance["phases"]] == ["base", "2-diverge"]
    assert "2-diverge: the loss" in (tmp_path / "new" / "messages.log").read_text()
    ours, theirs = (segapp.evaluate(folder, samples).as_dict() for folder in (tmp_path / "new", base_folder))
    assert ours == theirs


def test_the_forums_recipe_keeps_its_last_weights_whatever_they_are_worth(
    base_folder: Path, samples: Path, tmp_path: Path
) -> None:
    witness = Witness()
    strategy = read_strategy("forum", {"patch_size": 32, "steps": 3})
    model = finetune(base_folder, samples, tmp_path / "new", strategy=strategy, callbacks=[witness], quiet=True)
    provenance = _document(tmp_path / "new")["provenance"]
    assert [line["phase"] for line in provenance["phases"]] == ["1-all"] == [provenance["winner"]]
    for name, arrays in witness.ended[0].items():
        for written, last in zip(model.get_layer(name).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(written, last, err_msg=name)
    ours, theirs = (segapp.evaluate(folder, samples, role="val") for folder in (tmp_path / "new", base_folder))
    assert ours.mean_iou < theirs.mean_iou
    assert "Without the guard the last phase was written" in (tmp_path / "new" / "README.md").read_text()


def test_new_classes_and_no_validation_scenes(base_folder: Path, dataset: Callable[..., Path], tmp_path: Path) -> None:
    """Without validation scenes the training scenes are split into folds, and the model says so."""
    data = dataset(classes=NEW_NAMES, roles=("train", "test"))
    model = finetune(
        base_folder, data, tmp_path / "new", strategy=FORGETFUL_HEAD, class_map={"lake": ["water"]}, quiet=True
    )
    assert model.spec.classes.names == NEW_NAMES
    document = _document(tmp_path / "new")
    assert document["provenance"]["plan"]["folds"] == 2 and not document["provenance"]["plan"]["base_is_candidate"]
    assert [line["phase"] for line in document["provenance"]["phases"]] == ["head", "head-context"]
    card = (tmp_path / "new" / "README.md").read_text()
    assert "in 2 folds of the training scenes" in card
    assert "New classes: rock." in card
    assert set(document["scores"]) == {"test"}
    rock = model.get_layer(model.spec.head).get_weights()[0][0, 0, :, NEW_NAMES.index("rock")]
    assert rock.any() and segapp.evaluate(tmp_path / "new", data).kappa > BY_CHANCE


def test_after_cross_validation_the_best_is_trained_on_all_labels(
    base_folder: Path, dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def source(scenes: Sequence[Scene], *rest: Any) -> PatchSource:
        trained.append(len(scenes))
        return PatchSource(scenes, *rest)

    monkeypatch.setattr("segapp.transfer.candidates.PatchSource", source)
    monkeypatch.setattr("segapp.transfer.selection.is_significantly_better", lambda *_: True)
    data = dataset(classes=NEW_NAMES, roles=("train", "test"))
    strategy = tiny_strategy({"name": "all", "rate": 1e-3, "layers": {"*": 1}}, steps=3)
    finetune(base_folder, data, tmp_path / "new", strategy=strategy, quiet=True)
    document = _document(tmp_path / "new")
    assert [line["phase"] for line in document["provenance"]["phases"]] == ["head", "1-all"]
    assert document["provenance"]["winner"] == "1-all" and set(document["scores"]) == {"test"}
    assert trained == [1, 1, 2] and not list((tmp_path / "new").glob("fold-*"))


def test_a_context_branch_is_joined_where_it_helps(
    base_folder: Path, dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = dataset(classes=NEW_NAMES, roles=("train", "test"))
    model = finetune(base_folder, data, tmp_path / "new", strategy=tiny_strategy(phases=(), context=8), quiet=True)
    document = _document(tmp_path / "new")
    names = [line["phase"] for line in document["provenance"]["phases"]]
    assert names == ["head", "head-context"] and document["provenance"]["plan"]["context"] == 8
    assert model.spec.context == (8 if document["provenance"]["winner"] == "head-context" else 0)
    again = finetune(tmp_path / "new", data, tmp_path / "again", strategy=tiny_strategy(phases=()), quiet=True)
    assert again.spec.context == model.spec.context


@pytest.mark.parametrize("bands", [BANDS[:4], ()], ids=["four of the bands", "one more without a name"])
def test_other_bands(
    bands: tuple[str, ...], base_folder: Path, dataset: Callable[..., Path], seven: Path, tmp_path: Path
) -> None:
    data = dataset(bands=bands, images=seven)
    model = finetune(base_folder, data, tmp_path / "new", strategy=FORGETFUL_HEAD, quiet=True)
    plan = _document(tmp_path / "new")["provenance"]["plan"]
    assert model.input_shape[-1] == len(plan["bands"]) == (len(bands) or 7)
    assert plan["dropped_bands"] == (["swir1", "swir2"] if bands else [])
    card = (tmp_path / "new" / "README.md").read_text()
    assert ("New bands: band_7." in card) == (not bands)
    assert segapp.evaluate(tmp_path / "new", data).kappa > BY_CHANCE


def test_a_network_that_keras_saved(samples: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 6))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(x))
    keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(x)).save(tmp_path / "net.keras")
    model = finetune(tmp_path / "net.keras", samples, tmp_path / "new", strategy=FORGETFUL_HEAD, quiet=True)
    assert model.spec.classes.names == NAMES
    assert segapp.evaluate(tmp_path / "new", samples).kappa > BY_CHANCE
    assert "has no band names" in _document(tmp_path / "new")["provenance"]["plan"]["notes"][0]


def test_an_interrupted_run_is_neither_overwritten_nor_resumed_with_other_settings(
    base_folder: Path, samples: Path, tmp_path: Path
) -> None:
    class Interrupt(keras.callbacks.Callback):
        def on_train_begin(self, logs: object = None) -> None:
            raise KeyboardInterrupt

    strategy = tiny_strategy({"name": "one", "rate": 1e-3, "layers": {"*": 1}}, head="copied", distillation=1)
    settings: dict[str, Any] = {"strategy": strategy, "quiet": True, "precision": "float32"}
    with pytest.raises(KeyboardInterrupt):
        finetune(base_folder, samples, tmp_path / "new", callbacks=[Interrupt()], **settings)
    with pytest.raises(segapp.InputError, match="interrupted run; go on with --resume"):
        finetune(base_folder, samples, tmp_path / "new", **settings)
    unlabelled = [samples.parent / "test" / "scene_04.tif"]
    for key, change in {
        "seed": {"seed": 1},
        "strategy": {"strategy": tiny_strategy()},
        "unlabelled": {"unlabelled": unlabelled},
        "precision": {"precision": "bfloat16"},
        "plan": {"class_map": {"water": ["built"]}},
    }.items():
        with pytest.raises(segapp.InputError, match=f"another {key}; resume with the same settings, or remove it"):
            finetune(base_folder, samples, tmp_path / "new", **{**settings, "resume": True, **change})
