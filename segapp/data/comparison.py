"""Scenes whose values are unlike those of training, or unlike each other's: another unit, offset or order of bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segapp.bands import Band
from segapp.scenes.scene import Scene
from segapp.windows import Window

_SAMPLE, _MOST_SCENES = 512, 16  # pixels a side, and scenes, that are read to find what is unlike training
_FAR, _FACTOR = 3.0, 20.0  # standard deviations from training, or times less than its mean: far from it
_OFF = 1.0
"""Standard deviations of training, a band, from which on another order of bands is looked for. Of 156 places in Landsat
and Sentinel-2 scenes 3 then seem swapped that are not, and of those with near infrared for blue 137 are found."""
_TIMES = 10.0
"""A mean so many times that of other scenes is most often in another unit."""
_SENTINEL2_COUNTS = 1000
"""What Sentinel-2's counts have more from processing baseline 04.00 (January 2022) on."""


def unlike(scenes: Sequence[Scene], bands: Sequence[Band], mean: np.ndarray, std: np.ndarray) -> str | None:
    """What is unlike training in `scenes` together, of which a few are read in the middle; None where all is usual.

    `mean` and `std`, (C,) in the bands' units, are those of the training pixels. Where most bands are far from them,
    most often the unit is another; where the bands fit far better in another order, that is.
    """
    chosen = [scenes[i] for i in np.linspace(0, len(scenes) - 1, min(_MOST_SCENES, len(scenes))).astype(int)]
    means = [(scene, found) for scene in chosen if (found := _middle_mean(scene)) is not None]
    if not means:
        return None
    if (std == 1).all():  # the network only centres its bands, and their spread is unknown
        std = np.maximum(np.abs(mean), 1e-6)
    found = np.mean([values for _, values in means], axis=0)
    far = (np.abs(found - mean) > _FAR * std) | ((mean > 0) & (found < mean / _FACTOR))
    furthest, _ = max(means, key=lambda entry: float(np.abs((entry[1] - mean) / std).sum()))
    if far.sum() > len(far) / 2:
        band = int(np.argmax(np.abs(found - mean) / std))
        return (
            f"{furthest.path}: values are unlike those of training, {bands[band].name} about {found[band]:.4g} where "
            f"training saw {mean[band]:.4g} +- {std[band]:.4g}"
        )
    distances = ((found[:, np.newaxis] - mean) / std) ** 2
    here = np.sqrt(distances.diagonal().mean())
    if here <= _OFF:
        return None
    from scipy.optimize import linear_sum_assignment

    order = linear_sum_assignment(distances)[1]
    if np.sqrt(distances[np.arange(len(order)), order].mean()) >= here / 2:
        return None
    moved = [f"{bands[i].name} has the values of {bands[j].name}" for i, j in enumerate(order) if i != j]
    return f"{furthest.path}: bands look swapped: by what training saw, {', '.join(moved)}"


def _middle_mean(scene: Scene) -> np.ndarray | None:
    """(C,) mean of the valid pixels in the middle of a scene; None where there are none."""
    pixels = _middle(scene)
    return pixels.mean(axis=0, dtype=np.float64) if len(pixels) else None


def unlike_each_other(scenes: Sequence[Scene], bands: Sequence[Band]) -> list[str]:
    """As `differences`, of the middle of at most 16 scenes."""
    chosen = [scenes[i] for i in np.linspace(0, len(scenes) - 1, min(_MOST_SCENES, len(scenes))).astype(int)]
    found = [(scene, pixels) for scene in chosen if len(pixels := _middle(scene))]
    if not found:
        return []
    means = np.array([pixels.mean(axis=0, dtype=np.float64) for _, pixels in found])
    minima = np.array([pixels.min(axis=0) for _, pixels in found])
    return differences([scene.path for scene, _ in found], means, minima, bands)


def differences(paths: Sequence[str], means: np.ndarray, minima: np.ndarray, bands: Sequence[Band]) -> list[str]:
    """Warnings about scenes, with (N, C) `means` and `minima`, that seem to be in another unit than the others.

    Either most of its means are ten times those of the others, or a tenth; or reflectances of all its bands begin 1000
    counts higher or lower, as those of Sentinel-2 before and after processing baseline 04.00 do.
    """
    warnings = []
    for i, path in enumerate(paths if len(paths) > 1 else ()):
        others = np.median(np.delete(means, i, axis=0), axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.abs(means[i] / others)
        far = (times >= _TIMES) | (times <= 1 / _TIMES)
        if far.sum() > len(bands) / 2:
            band = int(np.argmax(far))
            warnings.append(
                f"{path}: the mean of {bands[band].name} is {means[i, band]:.4g} where other scenes have about "
                f"{others[band]:.4g}; check the unit, 'scale' and 'offset'"
            )
            continue
        counts = (minima[i] - np.median(np.delete(minima, i, axis=0), axis=0)) / [band.scale for band in bands]
        shift = np.abs(counts) / _SENTINEL2_COUNTS
        reflectances = all(band.unit == "reflectance" and band.scale < 0.01 for band in bands)
        if reflectances and np.ptp(np.sign(counts)) == 0 and ((shift > 0.5) & (shift < 1.5)).all():
            warnings.append(
                f"{path}: all bands begin about {np.median(counts):+.0f} counts from other scenes; from baseline 04.00 "
                "Sentinel-2 adds 1000: give such scenes 'offset = -0.1'"
            )
    if len(paths) == 2:
        return warnings[:1]  # of two either may be the odd one
    return warnings


def _middle(scene: Scene) -> np.ndarray:
    """(n, C) valid pixels in the middle of a scene."""
    height, width = (min(size, _SAMPLE) for size in scene.shape)
    middle = Window((scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2, height, width)
    pixels = scene.read(middle).reshape(-1, len(scene.bands))
    return pixels[~np.isnan(pixels[:, 0])]
