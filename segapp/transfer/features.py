"""Features of labelled pixels: what the classifier head of a network gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from segapp.errors import InputError
from segapp.inference.tiles import central, tiles
from segapp.nets.graph import analyse
from segapp.patches.sampling import ClassPositions
from segapp.scenes.scene import Scene
from segapp.windows import round_up


def sample_features(
    model: keras.Model,
    head: str,
    scenes: Sequence[Scene],
    positions: ClassPositions,
    pixels: int,
    balance: float,
    seed: int,
    core: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """What the layer `head` of `model` sees at about `pixels` labelled, valid pixels of `scenes`.

    `positions` are those that `find_class_positions` found in the same scenes. Each class takes part with a number of
    pixels proportional to its share to the power of ``1 - balance``, as in `Sampling`, as far as `positions` holds
    that many. The network runs as in prediction, once over each tile of `core` pixels with a chosen pixel, or, where
    it sees the whole image, over overlapping windows of that size, each for what is nearest to its middle; one tile's
    feature map is held at a time.

    Returns features (n, D) float32 and network indexes (n,) uint8. Raises InputError if no chosen pixel is valid.
    """
    chosen = _choose(positions, pixels, balance, seed)
    graph = analyse(model)
    body = keras.Model(model.inputs, model.get_layer(head).input)
    signature = [tf.TensorSpec((1, None, None, model.input_shape[-1]), tf.float32)]
    network = tf.function(lambda image: body(image, training=False), input_signature=signature)
    features, labels = [], []
    for number in np.unique(chosen.scene):
        scene, here = scenes[number], chosen.at(chosen.scene == number)
        if graph.halo is None:
            pieces = central(scene.shape, round_up(core, graph.stride))
        else:
            pieces = tiles(scene.shape, graph.stride, graph.halo, core)
        for window, seen in pieces:
            rows, cols = here.row - window.row, here.col - window.col
            inside = here.at((rows >= 0) & (rows < window.height) & (cols >= 0) & (cols < window.width))
            if not len(inside.label):
                continue
            image = scene.read(seen)
            rows, cols = inside.row - seen.row, inside.col - seen.col
            valid = ~np.isnan(image[rows, cols, 0])
            padding = [(0, round_up(size, graph.stride) - size) for size in seen.shape]
            padded = np.pad(image, (*padding, (0, 0)), constant_values=np.nan)
            feature_map = network(padded[np.newaxis]).numpy()[0]
            features.append(feature_map[rows[valid], cols[valid]].astype(np.float32))
            labels.append(inside.label[valid])
    if not any(map(len, labels)):
        raise InputError(
            f"{scenes[0].path}: no labelled, valid pixel in any scene to fit the head on; check labels and 'ignore'"
        )
    return np.concatenate(features), np.concatenate(labels)


@dataclass(frozen=True)
class _Chosen:
    """Pixels: number of the scene, row, column and label of each, (n,)."""

    scene: np.ndarray
    row: np.ndarray
    col: np.ndarray
    label: np.ndarray

    def at(self, where: np.ndarray) -> _Chosen:
        return _Chosen(self.scene[where], self.row[where], self.col[where], self.label[where])


def _choose(positions: ClassPositions, pixels: int, balance: float, seed: int) -> _Chosen:
    """A stratified sample of about `pixels` of the positions, at least one of each class that has any."""
    rng = np.random.default_rng(seed)
    weight = np.where(positions.share > 0, np.power(np.maximum(positions.share, 1e-12), 1 - balance), 0)
    wanted = np.maximum(1, np.rint(pixels * weight / max(weight.sum(), 1e-12)).astype(int))
    picks = [rng.permutation(len(rows))[:count] for rows, count in zip(positions.row, wanted, strict=True)]
    scene, row, col = (
        np.concatenate([one[pick] for one, pick in zip(column, picks, strict=True)])
        for column in (positions.scene, positions.row, positions.col)
    )
    labels = np.repeat(np.arange(len(picks)), [len(pick) for pick in picks])
    return _Chosen(scene, row, col, labels.astype(np.uint8))
