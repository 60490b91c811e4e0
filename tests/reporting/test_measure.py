"""One pass over the scenes: the scores of an evaluation, areas, calibration, patches, and which of them are shown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.data.dataset import read_dataset
from segapp.evaluation.evaluate import evaluate
from segapp.reporting.gallery import MOST_PER_GROUP, Network, make_pictures, select_patches
from segapp.reporting.measure import PATCH, Patch, measure, split_evenly
from segapp.reporting.palette import Palette
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole
from tests.toy import ToyScene, random_scene

CLASSES = ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in (3, 5, 9)]})


class BandsAsProbabilities:
    """A predictor whose class probabilities are the scene's bands, given in strips of 50 rows."""

    precision = "float32"

    def probabilities(self, scene: Scene, window: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        wanted = window or whole(scene.shape)
        for row in range(wanted.row, wanted.row_stop, 50):
            strip = Window(row, wanted.col, min(50, wanted.row_stop - row), wanted.width)
            yield strip, scene.read(strip)


def toy(shape: tuple[int, int], seed: int, right: float = 0.7) -> ToyScene:
    """A scene whose bands are probabilities of three classes, its labels so often the most probable; holes in both."""
    rng = np.random.default_rng(seed)
    pixels = rng.dirichlet([1, 1, 1], shape).astype(np.float32)
    labels = np.where(rng.uniform(size=shape) < right, pixels.argmax(-1), rng.integers(0, 3, shape)).astype(np.uint8)
    pixels[:7, :9] = np.nan
    labels[-5:] = IGNORED_INDEX
    return ToyScene(pixels, labels)


def test_scores_are_those_of_an_evaluation_to_the_last_bit(trained: Path, samples: Path) -> None:
    from segapp.inference.loading import open_predictor
    from segapp.inference.settings import RunSettings

    dataset = read_dataset(samples)
    predictor, spec = open_predictor(trained, RunSettings())
    measured = measure(predictor, dataset.scenes("train"), spec.classes)
    assert measured.scores.as_dict() == evaluate(trained, dataset, role="train").as_dict()


def test_calibration_is_that_of_all_scored_pixels() -> None:
    scenes = [toy((120, 90), 0), toy((60, 130), 1)]
    measured = measure(BandsAsProbabilities(), scenes, CLASSES).reliability  # type: ignore[arg-type]
    confidences, rights = [], []
    for scene in scenes:
        scored = ~np.isnan(scene.pixels[..., 0]) & (scene.labels != IGNORED_INDEX)
        confidences.append(scene.pixels.max(-1)[scored].astype(float))
        rights.append((scene.pixels.argmax(-1) == scene.labels)[scored])
    assert measured.pixels.sum() == sum(map(len, confidences))
    assert measured.mean_confidence == pytest.approx(np.concatenate(confidences).mean())
    total = np.nansum(measured.accuracy * measured.pixels)
    assert total == pytest.approx(np.concatenate(rights).sum())


def test_patches_part_each_scene_and_carry_its_right_pixels() -> None:
    scenes = [toy((300, 90), 0), toy((60, 130), 1)]
    measured = measure(BandsAsProbabilities(), scenes, CLASSES)  # type: ignore[arg-type]
    assert [patch.scene for patch in measured.patches] == [0, 0, 0, 1, 1]
    right = sum(patch.accuracy * patch.pixels for patch in measured.patches)
    pixels = sum(patch.pixels for patch in measured.patches)
    assert pixels == measured.scores.pixels
    assert right / pixels == pytest.approx(measured.scores.global_accuracy)


@given(st.integers(1, 700), st.integers(1, 700))
def test_parts_tile_a_scene_in_nearly_equal_windows(height: int, width: int) -> None:
    windows = list(split_evenly((height, width), PATCH))
    seen = np.zeros((height, width), int)
    for window in windows:
        seen[window.slices] += 1
        assert 1 <= window.height <= PATCH and 1 <= window.width <= PATCH
    assert (seen == 1).all()
    for sizes in ({w.height for w in windows}, {w.width for w in windows}):
        assert max(sizes) - min(sizes) <= 1


def test_areas_are_in_hectares_where_all_scenes_tell_the_size_of_a_pixel(samples: Path) -> None:
    """The samples lie on a grid of 10 m."""
    scenes = read_dataset(samples).scenes("train")
    classes = read_dataset(samples).classes

    class FirstClass(BandsAsProbabilities):
        def probabilities(self, scene: Scene, window: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
            values = np.zeros((*scene.shape, len(classes)), np.float32)
            values[..., 0] = 1
            yield whole(scene.shape), values

    measured = measure(FirstClass(), scenes, classes)  # type: ignore[arg-type]
    assert measured.hectares is not None
    counts = np.array(measured.scores.confusion)
    pixel = abs(scenes[0].georeference.transform[0] * scenes[0].georeference.transform[4]) / 10_000  # type: ignore[union-attr]
    np.testing.assert_allclose(measured.hectares, pixel * np.array([counts.sum(axis=1), counts.sum(axis=0)]))
    assert measured.hectares[1, 0] == pytest.approx(pixel * measured.scores.pixels)
    without = measure(BandsAsProbabilities(), [toy((20, 20), 0)], CLASSES)  # type: ignore[arg-type]
    assert without.hectares is None


def test_a_pixel_without_a_prediction_has_no_score() -> None:
    scene = toy((40, 40), 0)
    scene.pixels[:] = np.nan
    measured = measure(BandsAsProbabilities(), [scene], CLASSES)  # type: ignore[arg-type]
    assert measured.patches == () and measured.scores.pixels == 0 and np.isnan(measured.reliability.error)
    assert select_patches(measured.patches) == {}


patches = st.lists(
    st.builds(
        Patch,
        st.integers(0, 5),
        st.builds(Window, st.integers(0, 9), st.integers(0, 9), st.just(9), st.just(9)),
        st.integers(1, 100),
        st.floats(0, 1),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda patch: (patch.scene, patch.window),
)


@given(patches)
def test_the_gallery_holds_the_best_the_median_and_the_worst(given_patches: list[Patch]) -> None:
    chosen = select_patches(given_patches)
    shown = [patch for found in chosen.values() for patch in found]
    fit = sorted(
        (p.accuracy for p in given_patches if p.pixels >= 0.1 * max(q.pixels for q in given_patches)), reverse=True
    )
    assert (
        len(set(shown))
        == len(shown)
        == min(3 * MOST_PER_GROUP, len(fit) if len(fit) < 3 else 3 * min(MOST_PER_GROUP, len(fit) // 3))
    )
    assert [patch.accuracy for patch in chosen["Best"]] == fit[: len(chosen["Best"])]
    if "Worst" in chosen:
        assert [patch.accuracy for patch in chosen["Worst"]] == fit[::-1][: len(chosen["Worst"])]
    if "Median" in chosen:
        middle = [patch.accuracy for patch in chosen["Median"]]
        above, below = sum(a > middle[0] for a in fit), sum(a < middle[-1] for a in fit)
        assert above <= len(fit) / 2 and below <= len(fit) / 2
        assert all(a >= b for a, b in pairwise(middle))


def test_patches_with_hardly_a_label_are_not_shown() -> None:
    full, empty = Patch(0, Window(0, 0, 9, 9), 81, 0.5, 0.5), Patch(0, Window(0, 9, 9, 9), 8, 1.0, 1.0)
    assert select_patches([full, empty]) == {"Best": [full]}


def test_a_shown_patch_is_the_window_that_was_scored() -> None:
    """Its pictures as another network's map of the same window has them, told apart by name."""
    scenes = [random_scene((30, 30), bands=3), toy((300, 200), 3)]
    measured = measure(BandsAsProbabilities(), scenes, CLASSES)  # type: ignore[arg-type]
    patch = measured.patches[-2]
    network = Network(BandsAsProbabilities(), scenes)  # type: ignore[arg-type]
    indexes, probabilities = network.predict(patch)
    labels = scenes[1].labels[patch.window.slices]
    scored = (labels != IGNORED_INDEX) & (indexes != IGNORED_INDEX)
    assert (indexes == labels)[scored].mean() == pytest.approx(patch.accuracy)
    np.testing.assert_array_equal(probabilities, scenes[1].pixels[patch.window.slices])
    shown = make_pictures(patch, network, Palette.of(CLASSES), ("the base", network))
    titles = [picture.title for picture in shown.pictures]
    assert titles == ["Image", "Reference", "Prediction before", "Prediction", "Errors", "Confidence"]
    assert shown.accuracy_before == pytest.approx(patch.accuracy)
    window = patch.window
    assert shown.place.startswith(f"toy, rows {window.row}-{window.row_stop - 1}, columns {window.col}-")
