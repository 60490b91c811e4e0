"""Batches hold the patches of their steps, in order, from any step on."""

from __future__ import annotations

import numpy as np
import pytest

from segapp.data.statistics import band_statistics
from segapp.patches import pipeline
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource
from tests.toy import random_scene


def test_a_stream_that_starts_late_continues_the_one_that_started_early() -> None:
    scenes = [random_scene((60, 60))]
    augmentation = Augmentation(scale=0.3, gain=0.1, noise=0.1)
    stream = PatchStream(PatchSource(scenes, 16, 7), augmentation, band_statistics(scenes))
    whole = list(stream.batches(3).take(5))
    rest = list(stream.batches(3, first_step=2).take(3))
    for early, late in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(early[0], late[0])
        np.testing.assert_array_equal(early[1], late[1])
    assert whole[0][0].shape == (3, 16, 16, 2)
    np.testing.assert_array_equal(whole[1][0][0], stream.patch(3)[0])


@pytest.mark.parametrize("call", [1, 2 * 16**2, 10**6])
@pytest.mark.parametrize("worker", [0, 1])
def test_batches_are_the_same_however_many_patches_are_made_at_once(
    call: int, worker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_CALL", call)
    scenes = [random_scene((60, 60))]
    source = PatchSource(scenes, 16, 7)
    stream = PatchStream(source, Augmentation(noise=0.1), band_statistics(scenes), worker, workers=2)
    for step, (pixels, labels) in enumerate(stream.batches(12).take(2)):
        assert pixels.shape == (6, 16, 16, 2) and labels.shape == (6, 16, 16)
        for place in range(6):
            expected = stream.patch(step * 12 + worker * 6 + place)
            np.testing.assert_array_equal(pixels[place], expected[0])
            np.testing.assert_array_equal(labels[place], expected[1])
