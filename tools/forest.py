"""Random forests on pixels: what an analyst would pick instead of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import Dataset
from segapp.evaluation.report import Evaluation, Scores
from segapp.scenes.scene import Scene
from segapp.windows import whole

PIXELS = 100_000
_SCALES = (1.0, 8.0)
Features = Callable[[np.ndarray], np.ndarray]


def single_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W, 6) reflectance, blue to SWIR2, and its NDVI, MNDWI, NDWI and NIR/SWIR2 index: (H, W, 10).

    Of other numbers of bands, the bands alone.
    """
    if image.shape[-1] != 6:
        return image
    _, green, red, nir, swir1, swir2 = np.moveaxis(image, -1, 0)

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = a + b
        return np.clip(np.divide(a - b, total, out=np.zeros_like(a), where=total != 0), -2, 2)

    indices = [difference(nir, red), difference(green, swir1), difference(green, nir), difference(nir, swir2)]
    return np.concatenate([image, np.stack(indices, -1)], -1)


def multiscale(image: np.ndarray) -> np.ndarray:
    """Intensity, edges and texture of each band at sigmas 1 to 8, as pixel classifiers such as ilastik use them.

    Invalid pixels count as the band's mean.
    """
    mean = np.nan_to_num(np.nanmean(image, (0, 1)))
    filled = np.where(np.isnan(image), mean, image)
    found = multiscale_basic_features(filled, sigma_min=_SCALES[0], sigma_max=_SCALES[1], channel_axis=-1)
    return found.astype(np.float32)


def forest_scores(dataset: Dataset, seed: int, features: Features = single_pixels) -> Scores:
    """Train a forest on up to 100,000 random training pixels and score it on the test scenes."""
    x, y = _labelled_pixels(dataset.scenes("train"), features, np.random.default_rng(seed))
    forest = RandomForestClassifier(60, min_samples_leaf=5, n_jobs=-1, random_state=seed).fit(x, y)
    evaluation = Evaluation(dataset.classes)
    for scene in dataset.scenes("test"):
        pixels = scene.read(whole(scene.shape))
        valid = ~np.isnan(pixels[..., 0])
        prediction = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        if valid.any():
            prediction[valid] = forest.predict(features(pixels)[valid])
        evaluation.add(scene.read_labels(whole(scene.shape)), prediction)
    return evaluation.scores()


def _labelled_pixels(
    scenes: Sequence[Scene], features: Features, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and network indexes (n,) of up to `PIXELS` labelled, valid pixels."""
    images = [scene.read(whole(scene.shape)) for scene in scenes]
    labels = [scene.read_labels(whole(scene.shape)) for scene in scenes]
    known = [(y != IGNORED_INDEX) & ~np.isnan(image[..., 0]) for image, y in zip(images, labels, strict=True)]
    share = min(1.0, PIXELS / sum(int(k.sum()) for k in known))
    found = []
    for image, y, mask in zip(images, labels, known, strict=True):
        chosen = mask & (rng.random(mask.shape) < share)
        if chosen.any():
            found.append((features(image)[chosen], y[chosen]))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])
