"""Pictures from arrays: band composites, errors, confidence."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from segapp.bands import Band, match_bands
from segapp.classes import IGNORED_INDEX

CONFIDENCE_COLORMAP = "cividis"
WRONG = (214, 40, 57)
_LOW, _HIGH = 2, 98  # percentiles of the contrast stretch


@dataclass(frozen=True)
class Composite:
    """The indexes of the bands for red, green and blue, or of one band for grey, with a title and the band names."""

    title: str
    bands: tuple[int, ...]
    names: str


def composites(bands: Sequence[Band]) -> list[Composite]:
    """True and false colour, by names and wavelengths of the bands; without these the first three bands, or one."""
    wanted = {"True colour": ("red", "green", "blue"), "False colour": ("nir", "red", "green")}
    found = []
    for title, names in wanted.items():
        matches = match_bands(bands, [Band(name=name) for name in names])
        chosen = tuple(index for index in matches if index is not None)
        if len(chosen) == 3:
            found.append(_composite(title, chosen, bands))
    if found:
        return found
    return [_composite("Image", (0, 1, 2) if len(bands) >= 3 else (0,), bands)]


def _composite(title: str, chosen: tuple[int, ...], bands: Sequence[Band]) -> Composite:
    return Composite(title, chosen, ", ".join(bands[index].name for index in chosen))


def stretch(pixels: np.ndarray) -> np.ndarray:
    """Stretch each band from its 2nd to its 98th percentile: (h, w, 3) or (h, w, 1) float32 to (h, w, 4) uint8.

    Pixels that are NaN in any band are transparent.
    """
    valid = ~np.isnan(pixels).any(axis=-1)
    rgba = np.zeros((*valid.shape, 4), np.uint8)
    if not valid.any():
        return rgba
    known = pixels[valid].astype(np.float64)
    low, high = np.percentile(known, (_LOW, _HIGH), axis=0)
    level = (known - low) / np.where(high > low, high - low, 1)
    rgba[valid, :3] = np.rint(255 * np.clip(np.where(high > low, level, 0.5), 0, 1))
    rgba[valid, 3] = 255
    return rgba


def error_picture(image: np.ndarray, reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Wrong pixels in red over a pale grey `image` (h, w, 4), as (h, w, 4) uint8; unscored pixels are transparent.

    `reference` and `prediction` are network indexes (h, w) uint8.
    """
    grey = 150 + image[..., :3].mean(axis=-1) * (90 / 255)
    rgba = np.repeat(grey[..., None], 4, axis=-1).astype(np.uint8)
    scored = (reference != IGNORED_INDEX) & (prediction != IGNORED_INDEX)
    rgba[..., 3] = np.where(scored, 255, 0)
    rgba[scored & (reference != prediction), :3] = WRONG
    return rgba


def confidence_picture(probabilities: np.ndarray) -> np.ndarray:
    """The largest of the probabilities (h, w, K), from 1 / K to 1 in the colours of `confidence_scale`, (h, w, 4)."""
    classes = probabilities.shape[-1]
    largest = probabilities.max(axis=-1)
    known = ~np.isnan(largest)
    level = np.where(known, (largest - 1 / classes) / (1 - 1 / classes), 0)
    rgba = matplotlib.colormaps[CONFIDENCE_COLORMAP](np.clip(level, 0, 1), bytes=True)
    rgba[~known] = 0
    return np.asarray(rgba)


def confidence_scale(steps: int = 8) -> list[str]:
    """The colours of `confidence_picture` as "#rrggbb", from the lowest to the highest confidence."""
    colors = matplotlib.colormaps[CONFIDENCE_COLORMAP](np.linspace(0, 1, steps), bytes=True)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in colors]


def data_uri(rgba: np.ndarray) -> str:
    """A picture (h, w, 4) uint8 as a data URI with PNG content."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
