"""A converted model compared with the original in its own runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from segapp.conversion.classifier import find_head
from segapp.conversion.foreign import Foreign
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec
from segapp.windows import Window

if TYPE_CHECKING:
    from segapp.conversion.foreign import Original

LARGEST_DIFFERENCE = 1e-4
"""How far a converted model's probabilities may be from the original's."""

_SIDES = (128, 128), (192, 64)
"""Of the images of noise, in pixels, where the network takes any size."""


def compare(
    source: Path, foreign: Foreign, model: keras.Model, spec: ModelSpec, head_layer: str | None, scene: Path | None
) -> str:
    """Compare `model` with the original on noise, and on the middle of `scene`; says what was compared.

    Raises InputError where the original does not end in probabilities or logits of exclusive classes, or they differ.
    """
    head, activations = find_head(source, foreign.model, head_layer)
    ending = [name for name in activations if name != "linear"]
    if ending not in ([], ["softmax"]) and not (ending == ["sigmoid"] and head.filters == 1):
        raise InputError(
            f"{source}: ends in {' and '.join(ending)} of {head.filters} classes; segapp's classes exclude each other, "
            "so give a network that ends in a softmax, or in a sigmoid of one class"
        )
    if foreign.original is None:
        return f"none: {foreign.unchecked}"
    sizes = dict.fromkeys(tuple(given or side for given, side in zip(foreign.size, two, strict=True)) for two in _SIDES)
    mean, std = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    rng = np.random.default_rng(0)
    images = [(mean + std * rng.normal(size=(2, *size, len(mean)))).astype(np.float32) for size in sizes]
    if scene is not None:
        images.append(_middle(scene, spec, next(iter(sizes))))
    difference = 0.0
    for image in images:
        taken = ((image - mean) / std).astype(np.float32) if foreign.normalization is None else image
        given = _probabilities(source, foreign.original, taken, ending)
        found = keras.ops.convert_to_numpy(model(image, training=False))
        difference = max(difference, float(np.abs(given - found).max(initial=0)))
        if not difference <= LARGEST_DIFFERENCE:
            raise InputError(
                f"{source}: the converted network's probabilities differ from those of {foreign.original.runtime} by "
                f"{difference:.2g}; nothing is written, please report it with the file"
            )
    also = f" on noise and {scene.name}" if scene else ""
    return f"{foreign.original.runtime}, largest difference of probabilities{also} {difference:.1g}"


def _middle(path: Path, spec: ModelSpec, size: tuple[int, ...]) -> np.ndarray:
    """(1, H, W, C) float32 of the middle of a scene, with the means of the bands where it has no data."""
    scene = open_for_model(path, spec)
    if scene.shape[0] < size[0] or scene.shape[1] < size[1]:
        raise InputError(f"{path}: has {scene.shape} pixels; give a --scene of at least {size}")
    row, col = ((whole - part) // 2 for whole, part in zip(scene.shape, size, strict=True))
    image = scene.read(Window(row, col, *size))
    return np.where(np.isfinite(image), image, np.array(spec.normalization.mean, np.float32))[np.newaxis]


def _probabilities(source: Path, original: Original, images: np.ndarray, ending: list[str]) -> np.ndarray:
    """(N, H, W, K) probabilities of what a network gives, one class for a sigmoid becoming two."""
    from scipy.special import expit, softmax

    given = original.run(images)
    if given.ndim != 4 or given.shape[:3] != images.shape[:3]:
        raise InputError(f"{source}: makes {given.shape} of images {images.shape}; give a network of every pixel")
    if given.shape[-1] > 1:
        return given if ending else softmax(given, axis=-1)
    one = given if ending else expit(given)
    return np.concatenate([1 - one, one], axis=-1)
