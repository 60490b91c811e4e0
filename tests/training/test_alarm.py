"""What goes wrong in a training without an error is said, and nothing that is spoilt replaces what was good."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import segapp
from segapp.data.dataset import read_dataset
from segapp.data.statistics import BandStatistics
from segapp.errors import InputError
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource, Sampling, random_for
from segapp.training.alarm import Alarm, patches_of
from segapp.training.checkpoint import Progress, read_progress
from segapp.training.log_rows import read_log
from segapp.training.recipe import Recipe, read_recipe
from segapp.training.run import prepare
from segapp.windows import whole
from tests.toy import random_scene

CLASSES = 4
GUESSING = math.log(CLASSES)


class Poison(keras.callbacks.Callback):
    """Has the given step, in epochs of 8, make weights that are no numbers out of a finite loss."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step, self._epoch = step, 0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        if self._epoch * 8 + batch + 1 == self._step:
            momentum = next(v for v in self.model.optimizer.variables if "bridge_conv_1_kernel_momentum" in v.path)
            momentum.assign(np.full(momentum.shape, np.nan, np.float32))


class OneClass(keras.callbacks.Callback):
    """Has the network see one class everywhere."""

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        bias = self.model.get_layer("final_conv").bias
        bias.assign(50.0 * np.eye(bias.shape[0])[0])


def _change_progress(file: Path, **changes: object) -> None:
    with np.load(file) as arrays:
        content = dict(arrays)
    text = json.loads(str(content["text"]))
    text["progress"].update(changes)
    np.savez(file, **{**content, "text": np.array(json.dumps(text))})


def _alarm(**loss: float) -> Alarm:
    recipe = Recipe(schema=1, loss=loss, schedule={"name": "constant", "rate": 0.5})
    run: Any = SimpleNamespace(
        recipe=recipe,
        dataset=SimpleNamespace(classes=range(CLASSES)),
        stream=None,
        total_steps=100,
        steps_per_epoch=10,
    )
    return Alarm(run, Path("new.partial"))


def test_a_spoilt_training_stops_and_its_last_good_state_goes_on(
    samples: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    """Checkpoints and validations come every 4 steps: what was good last is that of step 4."""
    output = tmp_path / "new"
    with pytest.raises(InputError, match=r"bridge_conv_1/kernel holds what is no number after step 8 ") as error:
        segapp.train(samples, output, recipe=str(tiny_recipe), quiet=True, callbacks=[Poison(8)])
    told = str(error.value)
    assert "(learning rate 0.000" in told and "scene_0" in told and "of step 4, is kept there" in told
    assert not output.exists()
    partial = tmp_path / "new.partial"
    segapp.load(partial)
    assert read_progress(partial / "checkpoint.npz").step == 4
    with np.load(partial / "checkpoint.npz") as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files if name != "text")
    # Killed between one file of a better model and the other: what is there scores best, and cannot be read.
    _change_progress(partial / "checkpoint.npz", best_score=2.0)
    (partial / "model.weights.h5").write_bytes(b"of a later step")
    segapp.train(samples, output, recipe=str(tiny_recipe), quiet=True, resume=True)
    assert len(read_log(output)) == 3 and segapp.load(output).spec.scores["val"]["pixels"] > 0


def test_one_class_everywhere_and_leakage_are_said_and_not_more_than_once(
    samples: Path, tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = samples.read_text().replace('"test/*.tif"', '"train/scene_01.tif"')
    for folder in ("train", "val", "labels"):
        (tmp_path / folder).symlink_to(samples.parent / folder)
    (tmp_path / "dataset.toml").write_text(text)
    recipe = read_recipe(str(tiny_recipe), {"steps": 4, "average": 0.0})
    segapp.train(tmp_path / "dataset.toml", tmp_path / "new", recipe=recipe, callbacks=[OneClass()])
    told = capsys.readouterr().err
    first = json.loads((tmp_path / "new" / "model.json").read_text())["classes"]["classes"][0]["name"]
    assert told.count(f"warning: every pixel of the validation scenes is predicted as {first}") == 1
    leak = "scene_01.tif is in the roles test and train"
    assert told.count(leak) == 1 and told.index(leak) < told.index("step ")
    segapp.evaluate(tmp_path / "new", samples)
    assert f"new: every pixel of these scenes is predicted as {first}, but" in capsys.readouterr().err


def test_a_model_that_sees_several_classes_is_not_warned_of(
    samples: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segapp.evaluate(trained, samples)
    assert capsys.readouterr().err == ""


def test_scenes_unlike_those_of_training_are_said_before_the_first_step(
    samples: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(str(tiny_recipe))

    def notes(change: Callable[[np.ndarray], np.ndarray]) -> str:
        folder = Path(shutil.copytree(samples.parent, tmp_path / str(len(list(tmp_path.iterdir())))))
        file = next((folder / "val").iterdir())
        with rasterio.open(file, "r+") as opened:
            opened.write(change(opened.read()))
        return "\n".join(prepare(read_dataset(folder / "dataset.toml"), recipe, 0, "float32").notes)

    assert notes(lambda counts: counts) == ""
    swapped = notes(lambda counts: counts[::-1])
    assert "/val/scene_03.tif: bands look swapped" in swapped and "blue has the values of" in swapped
    assert "check the scale, offset and order of bands in" in swapped
    other_unit = notes(lambda counts: counts // 100)
    assert "scene_03.tif: values are unlike those of training" in other_unit and "scene_04" not in other_unit


@given(st.lists(st.floats(0, 90 * GUESSING), min_size=1, max_size=20), st.integers(0, 10**6))
def test_usual_losses_raise_no_alarm(losses: list[float], before: int) -> None:
    _alarm().check_losses(losses, Progress(step=before + len(losses)))


@given(st.lists(st.floats(0, 10), min_size=2, max_size=20), st.floats(1e3, 1e30))
def test_one_leap_is_none_but_half_of_the_losses_past_return_are(usual: list[float], high: float) -> None:
    leap = [*usual, high, usual[0]]
    _alarm().check_losses(leap, Progress(step=100 + len(leap)))
    exploded = [*usual, *[high] * (len(usual) + 1)]
    with pytest.raises(InputError, match=rf"new\.partial: the loss exploded to .* in step {101 + len(usual)}, past"):
        _alarm().check_losses(exploded, Progress(step=100 + len(exploded)))


def test_a_training_that_starts_high_is_compared_with_its_start() -> None:
    """Counts of thousands that are only centred make logits of thousands, and the loss comes down from there."""
    progress = Progress(step=3)
    _alarm().check_losses([5000.0, 4000.0, 3000.0], progress)
    assert progress.first_loss == 5000
    progress.step = 5
    _alarm().check_losses([20_000.0, 20_000.0], progress)
    progress.step = 7
    with pytest.raises(InputError, match="in step 6"):
        _alarm().check_losses([1e6, 1e6], progress)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_told_with_step_and_rate(loss: float) -> None:
    with pytest.raises(InputError, match=rf"the loss is {loss} in step 12 \(learning rate 0\.5\)"):
        _alarm().check_losses([1.0, loss, loss], Progress(step=13))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    sizes=st.lists(st.tuples(st.integers(3, 30), st.integers(3, 30)), min_size=1, max_size=3),
    scale=st.sampled_from([0.0, 0.7]),
    invalid=st.floats(0, 0.9),
)
def test_the_patches_of_a_step_are_where_they_were_cut(
    seed: int, sizes: list[tuple[int, int]], scale: float, invalid: float
) -> None:
    scenes = [random_scene(size, seed=seed + number) for number, size in enumerate(sizes)]
    for scene in scenes:
        scene.pixels[np.random.default_rng(seed).random(scene.shape) < invalid] = np.nan
    source = PatchSource(scenes, 8, seed, Sampling(minimum_labelled=0.5))
    stream = PatchStream(source, Augmentation(scale=scale), BandStatistics(np.zeros(2), np.ones(2), 1))
    batch, step = 3, 5
    places = patches_of(stream, batch, step)
    assert len(places) == batch
    for index, (scene, window) in zip(range((step - 1) * batch, step * batch), places, strict=True):
        size = stream.augmentation.source_size(8, random_for(seed, index, 1))
        pixels, _ = source.cut(index, size)
        inside = scene.read(window)
        assert window.intersect(whole(scene.shape)) == window
        assert window.shape == tuple(min(size, extent) for extent in scene.shape)
        row, col = (max(0, (size - extent) // 2 + (size - extent) % 2) for extent in scene.shape)
        np.testing.assert_array_equal(pixels[row : row + window.height, col : col + window.width], inside)
