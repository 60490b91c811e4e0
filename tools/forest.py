"""A random forest on single pixels: what an analyst would pick instead of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import Dataset
from segapp.evaluation.report import Evaluation, Scores
from segapp.scenes.scene import Scene
from segapp.windows import whole

PIXELS = 100_000


def features(pixels: np.ndarray) -> np.ndarray:
    """(..., 6) reflectance, blue to SWIR2, and its NDVI, MNDWI, NDWI and NIR/SWIR2 index: (..., 10).

    Of other numbers of bands, the bands alone.
    """
    if pixels.shape[-1] != 6:
        return pixels
    _, green, red, nir, swir1, swir2 = np.moveaxis(pixels, -1, 0)

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = a + b
        return np.clip(np.divide(a - b, total, out=np.zeros_like(a), where=total != 0), -2, 2)

    indices = [difference(nir, red), difference(green, swir1), difference(green, nir), difference(nir, swir2)]
    return np.concatenate([pixels, np.stack(indices, -1)], -1)


def labelled_pixels(scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and network indexes (n,) of all labelled, valid pixels."""
    found = []
    for scene in scenes:
        pixels, labels = scene.read(whole(scene.shape)), scene.read_labels(whole(scene.shape))
        known = (labels != IGNORED_INDEX) & ~np.isnan(pixels[..., 0])
        found.append((features(pixels[known]), labels[known]))
    return np.concatenate([f for f, _ in found]), np.concatenate([label for _, label in found])


def forest_scores(dataset: Dataset, seed: int) -> Scores:
    """Train the forest on up to 100,000 random training pixels and score it on the test scenes."""
    x, y = labelled_pixels(dataset.scenes("train"))
    chosen = np.random.default_rng(seed).choice(len(y), min(PIXELS, len(y)), replace=False)
    forest = RandomForestClassifier(60, min_samples_leaf=5, n_jobs=-1, random_state=seed).fit(x[chosen], y[chosen])
    evaluation = Evaluation(dataset.classes)
    for scene in dataset.scenes("test"):
        pixels = scene.read(whole(scene.shape))
        valid = ~np.isnan(pixels[..., 0])
        prediction = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        prediction[valid] = forest.predict(features(pixels[valid]))
        evaluation.add(scene.read_labels(whole(scene.shape)), prediction)
    return evaluation.scores()
