"""How far a map by another engine or precision is from that by TensorFlow in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.inference.loading import open_predictor
from segapp.inference.settings import RunSettings
from segapp.model.model_scene import open_for_model
from segapp.prediction.settings import MapSettings
from segapp.scenes.band_files import Source
from segapp.scenes.blocks import Block
from segapp.windows import Window

_SAMPLE = 1024


def disagreement(model: Path, scene: Source, settings: MapSettings, run: RunSettings) -> float:
    """The share, 0 to 1, of the valid pixels in the middle 1024 x 1024 of a scene that get another class.

    Raises InputError where those hold no valid pixel.
    """
    predictor, spec = open_predictor(model, run)
    reference, _ = open_predictor(model, replace(run, engine="tensorflow", precision="float32"))
    opened = open_for_model(scene, spec, settings.rules)
    height, width = (min(size, _SAMPLE) for size in opened.shape)
    row, col = (opened.shape[0] - height) // 2, (opened.shape[1] - width) // 2
    middle = Block(opened, Window(row, col, height, width))
    expected, found = (one.class_map(middle) for one in (reference, predictor))
    valid = expected != IGNORED_INDEX
    if not valid.any():
        raise InputError(f"{scene}: the middle of the scene holds no valid pixel to compare; give another scene")
    return float(np.mean(expected[valid] != found[valid]))
