"""Scenes without labels keep alive what the base knows and new labels do not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.data.dataset import read_dataset
from segapp.data.statistics import band_statistics
from segapp.inference.predictor import Predictor
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.base import Base
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource, Sampling
from segapp.scenes.scene import Scene
from segapp.transfer import candidates as candidates_module
from segapp.transfer.finetune import finetune
from segapp.transfer.unlabelled import MixedStream, UnlabelledScene
from segapp.windows import Window, whole
from tests.toy import random_scene
from tests.transfer.conftest import NAMES, Stop, Witness, tiny_strategy, without


def test_an_unlabelled_scene_is_its_pixels_alone() -> None:
    scene = random_scene((20, 30))
    scene.pixels[:3] = np.nan
    unlabelled, window = UnlabelledScene(scene), Window(2, 5, 4, 6)
    np.testing.assert_array_equal(unlabelled.read(window), scene.read(window))
    np.testing.assert_array_equal(unlabelled.valid(window), scene.valid(window))
    assert (unlabelled.read_labels(window) == IGNORED_INDEX).all() and unlabelled.read_labels(window).shape == (4, 6)
    assert not unlabelled.read_label_ids(window)[1].any()
    assert (unlabelled.shape, unlabelled.bands, unlabelled.name) == (scene.shape, scene.bands, scene.name)


def _stream(scenes: Sequence[Scene], seed: int) -> PatchStream:
    source = PatchSource(scenes, 8, seed, Sampling(minimum_labelled=0))
    return PatchStream(source, Augmentation(scale=0.2), band_statistics(scenes))


@pytest.fixture(scope="module")
def mixed() -> MixedStream:
    return MixedStream(
        _stream([random_scene((40, 40))], 1), _stream([UnlabelledScene(random_scene((40, 40), seed=9))], 2)
    )


@pytest.mark.parametrize(("batch", "without"), [(2, 1), (4, 1), (8, 2), (9, 2)])
def test_of_each_batch_a_quarter_is_unlabelled_and_stands_last(mixed: MixedStream, batch: int, without: int) -> None:
    for images, labels in mixed.batches(batch).take(3):
        assert images.shape == (batch, 8, 8, 2) and labels.shape == (batch, 8, 8)
        silent = (labels.numpy() == IGNORED_INDEX).all((1, 2))
        assert silent.tolist() == [False] * (batch - without) + [True] * without


def test_a_stream_that_is_resumed_gives_the_batches_that_were_to_come(mixed: MixedStream) -> None:
    through, resumed = list(mixed.batches(4).take(5)), list(mixed.batches(4, first_step=3).take(2))
    for before, after in zip(through[3:], resumed, strict=True):
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(through[2][0], through[3][0])


def test_a_class_that_labels_do_not_show_is_forgotten_without_distillation_and_kept_with_it(
    base: Base,
    base_folder: Path,
    samples: Path,
    dataset: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class that the base sees most of is taken out of the labels; then all layers train at a high rate."""
    scene = read_dataset(samples).scenes("test")[0]
    told = Predictor(TensorFlowEngine(base.model)).class_map(scene)
    lost = int(np.bincount(told.ravel(), minlength=IGNORED_INDEX)[: len(NAMES)].argmax())
    data = dataset(labels=without(samples, tmp_path / "labels", [lost + 1]))
    judged: list[Scene] = []
    count = candidates_module.tile_counts

    def counted(network: Predictor, scenes: Sequence[Scene], classes: ClassTable) -> np.ndarray:
        judged.extend(scenes)
        return count(network, scenes, classes)

    monkeypatch.setattr(candidates_module, "tile_counts", counted)

    def kept(**settings: Any) -> float:
        """The share of the base's pixels of the class that still are."""
        strategy = tiny_strategy(
            {"name": "all", "rate": 1e-2, "layers": {"*": 1}},
            head="copied",
            steps=80,
            average=0,
            validation={"every": 80},
            distillation=settings.pop("distillation"),
        )
        witness = Witness(stop_after=1)
        with pytest.raises(Stop):
            finetune(
                base_folder,
                data,
                tmp_path / f"m{strategy.distillation}",
                strategy=strategy,
                callbacks=[witness],
                quiet=True,
                precision="float32",  # as `told` was computed
                **settings,
            )
        said = Predictor(TensorFlowEngine(witness.model)).class_map(scene)
        return float((said == lost)[told == lost].mean())

    forgetful = kept(distillation=0)
    assert [len(judged), (judged[0].read_labels(whole(judged[0].shape)) == lost).sum()] == [1, 0]
    judged.clear()
    mindful = kept(distillation=1, unlabelled=[samples.parent / "test" / "scene_04.tif"])
    assert forgetful < 0.2 and mindful > 0.5  # 0.01 and 0.73 when this was written

    val, unlabelled = judged
    assert (val.read_labels(whole(val.shape)) == lost).any()
    np.testing.assert_array_equal(unlabelled.read_labels(whole(unlabelled.shape)), told)
