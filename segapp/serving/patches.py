"""Pixels on which a served model is tried and warmed up: synthetic, as counts, and real."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segapp.bands import names_of
from segapp.client.description import CountInput
from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.scenes.blocks import ROLES
from segapp.windows import Window

_REAL = 4


def made_up(spec: ModelSpec, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """(N, H, W, C) float32 in the bands' units for `shape` (N, H, W): the training pixels' means and spreads.

    A part of the pixels is NaN in all bands, a part in one.
    """
    rng = np.random.default_rng(seed)
    mean, std = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    common = rng.normal(size=(*shape, 1))  # bands go together
    images = (mean + std * (0.8 * common + 0.6 * rng.normal(size=(*shape, len(mean))))).astype(np.float32)
    images[:, : shape[1] // 4, : shape[2] // 4] = np.nan
    images[..., rng.integers(len(mean))][rng.random(shape) < 0.01] = np.nan
    return images


def as_counts(images: np.ndarray, spec: ModelSpec, counted: CountInput) -> np.ndarray:
    """Images in the bands' units as the nearest counts of the signature; NaN becomes its nodata, or 0."""
    limits = np.iinfo(counted.dtype)
    scale, offset = (np.array([getattr(band, key) for band in spec.bands]) for key in ("scale", "offset"))
    counts = np.rint((images - offset) / scale).clip(limits.min, limits.max)
    return np.where(np.isnan(counts), counted.nodata or 0, counts).astype(counted.dtype)


def from_counts(counts: np.ndarray, spec: ModelSpec, counted: CountInput) -> np.ndarray:
    """Counts in the bands' units, float32, as scenes are read; NaN where one is nodata."""
    scale, offset = (np.array([getattr(band, key) for band in spec.bands], np.float32) for key in ("scale", "offset"))
    images = np.multiply(counts, scale, dtype=np.float32, casting="unsafe") + offset
    if counted.nodata is not None:
        images[counts == counted.nodata] = np.nan
    return images


def real(data: Path, spec: ModelSpec) -> list[np.ndarray]:
    """The middles of up to four scenes of a dataset.toml, each (1, h, w, C) float32, of the model's patch size.

    Raises InputError when the dataset cannot be read or its bands are not the model's.
    """
    dataset = read_dataset(data)
    if names_of(dataset.bands) != names_of(spec.bands):
        raise InputError(
            f"{data}: its bands are {', '.join(names_of(dataset.bands))}, but the model takes "
            f"{', '.join(names_of(spec.bands))}; choose them under [image] bands and names"
        )
    scenes = [scene for role in reversed(ROLES) for scene in dataset.scenes(role)[:_REAL]][:_REAL]
    patches = []
    for scene in scenes:
        height, width = (min(size, spec.patch_size) for size in scene.shape)
        row, col = (scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2
        patches.append(scene.read(Window(row, col, height, width))[np.newaxis])
    return patches
