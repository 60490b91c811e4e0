"""`segapp.train` leaves a whole, scored model directory, or says in one line why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import segapp
from segapp.data.dataset import read_dataset
from segapp.training.recipe import Recipe, read_recipe
from segapp.training.records import read_log


def _recipe(tiny_recipe: Path, **changes: object) -> Recipe:
    return read_recipe(str(tiny_recipe), changes)


def test_the_model_directory_is_whole_and_scored(trained: Path) -> None:
    names = {file.name for file in trained.iterdir()}
    records = {"log.csv", "messages.log", "training-progress.png", "events"}
    assert names == {"model.json", "model.weights.h5", "README.md", *records}
    assert list((trained / "events").iterdir())
    assert not trained.with_name("trained.partial").exists()
    document = json.loads((trained / "model.json").read_text())
    assert set(document["scores"]) == {"val", "test"}
    assert document["provenance"]["recipe"]["batch"] == 4


def test_classes_survive_training_loading_and_scoring(trained: Path, samples: Path) -> None:
    classes = read_dataset(samples).classes
    assert segapp.load(trained).spec.classes == classes
    scores = segapp.evaluate(trained, samples)
    assert [(c.id, c.name) for c in scores.classes] == [(c.id, c.name) for c in classes.classes]
    card = (trained / "README.md").read_text()
    assert all(f"| {c.id} | {c.name} | {c.color} |" in card for c in classes.classes)


def test_the_scores_on_the_card_are_those_that_evaluate_prints(trained: Path, samples: Path) -> None:
    on_card = json.loads((trained / "model.json").read_text())["scores"]["test"]
    assert segapp.evaluate(trained, samples).as_dict() == on_card


def test_the_log_has_training_and_validation_lines(trained: Path) -> None:
    rows = read_log(trained)
    assert [row.step for row in rows] == [4, 8, 12]
    assert all(row.val_loss is not None and row.val_mean_iou is not None for row in rows)


def test_the_weights_kept_are_those_of_the_best_validation(trained: Path, samples: Path) -> None:
    best = max(row.val_mean_iou or 0 for row in read_log(trained))
    assert segapp.evaluate(trained, samples, role="val").mean_iou == pytest.approx(best, rel=1e-6)


def test_the_network_learns(samples: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        schema=1,
        patch_size=64,
        batch=4,
        steps=60,
        network={"depth": 2, "filters": 8, "dropout": 0},
        schedule={"rate": 5e-3},
    )
    segapp.train(samples, tmp_path / "model", recipe=recipe, quiet=True)
    rows = read_log(tmp_path / "model")
    assert rows[-1].loss < 0.7 * rows[0].loss
    assert segapp.evaluate(tmp_path / "model", samples).kappa > 0.2


class _Events(keras.callbacks.Callback):
    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.logs: list[dict[str, float]] = []
        self._stop_at = stop_at

    def on_train_begin(self, logs: object = None) -> None:
        self.seen.append("begin")

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.seen.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.seen.append(f"batch {batch}")
        self.logs.append(dict(logs or {}))
        if self._stop_at == batch:
            self.model.stop_training = True

    def on_train_end(self, logs: object = None) -> None:
        self.seen.append("end")


def test_keras_callbacks_attach_and_can_stop(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    events = _Events(stop_at=5)
    segapp.train(samples, tmp_path / "model", recipe=_recipe(tiny_recipe), callbacks=[events], quiet=True)
    assert events.seen == ["begin", "epoch 0", *(f"batch {i}" for i in range(6)), "end"]
    assert {"loss", "val_mean_iou"} <= set(events.logs[3])


def test_training_stops_when_validation_no_longer_gains(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = _recipe(
        tiny_recipe,
        steps=40,
        network={"depth": 1, "filters": 2},
        schedule={"rate": 1e-12},
        validation={"every": 1, "patience": 3},
    )
    segapp.train(samples, tmp_path / "model", recipe=recipe, quiet=True)
    assert [row.step for row in read_log(tmp_path / "model")] == [1, 2, 3, 4]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_trains_and_keeps_float32_weights(
    precision: str, samples: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    recipe = _recipe(tiny_recipe, steps=3)
    model = segapp.train(samples, tmp_path / "model", recipe=recipe, precision=precision, quiet=True)  # type: ignore[arg-type]
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert all(np.isfinite(row.loss) for row in read_log(tmp_path / "model"))


def test_the_matlab_recipe_trains(samples: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        "matlab-multispectral", {"steps": 2, "patch_size": 32, "network": {"depth": 2, "filters": 4, "dropout": 0.5}}
    )
    model = segapp.train(samples, tmp_path / "model", recipe=recipe, quiet=True)
    assert set(model.spec.normalization.std) == {1.0}


def test_the_average_of_the_weights_is_what_is_validated(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """With an average that hardly moves, the validated network stays at its first weights; without, it does not."""
    weights = {}
    for average in (0.0, 0.9999):
        recipe = _recipe(tiny_recipe, average=average, steps=4, network={"depth": 1, "filters": 2, "dropout": 0})
        model = segapp.train(samples, tmp_path / f"model-{average}", recipe=recipe, quiet=True)
        weights[average] = model.get_layer("bridge_conv_1").kernel.numpy()
        keras.utils.set_random_seed(0)
        first = model.spec.build().get_layer("bridge_conv_1").kernel.numpy()
        weights[average] = np.abs(weights[average] - first).max()
    assert weights[0.9999] < 0.7 * weights[0.0]


def test_an_output_that_exists_is_refused(trained: Path, samples: Path) -> None:
    with pytest.raises(segapp.InputError, match="exists already"):
        segapp.train(samples, trained)


def test_an_output_that_cannot_be_made_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(segapp.InputError, match="cannot be made in"):
        segapp.train(tmp_path / "none.toml", tmp_path / "file" / "model")


def test_an_interrupted_run_is_not_overwritten(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "model.partial").mkdir()
    with pytest.raises(segapp.InputError, match="--resume"):
        segapp.train(samples, tmp_path / "model")


def test_resuming_with_other_settings_is_refused(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segapp.train(samples, tmp_path / "model", recipe=_recipe(tiny_recipe), callbacks=[Interrupt()], quiet=True)
    with pytest.raises(segapp.InputError, match="another seed"):
        segapp.train(samples, tmp_path / "model", recipe=_recipe(tiny_recipe), resume=True, seed=1, quiet=True)
    segapp.train(samples, tmp_path / "model", recipe=_recipe(tiny_recipe), resume=True, quiet=True)
    assert [row.step for row in read_log(tmp_path / "model")] == [4, 8, 12]


def test_unknown_devices_are_refused(samples: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(segapp.InputError, match="auto"):
        segapp.train(samples, tmp_path / "model", recipe=_recipe(tiny_recipe), devices="tpu")
    assert not (tmp_path / "model.partial").exists()
