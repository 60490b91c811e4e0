"""Whether a SavedModel answers as the model directory does: ``python -m segapp.serving.check SAVED MODEL [PATCHES]``.

`export` asks in a fresh process, so that nothing of the one that wrote the SavedModel can help it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segapp.client.description import SCHEMA, Description, from_json, to_json
from segapp.errors import InputError
from segapp.inference.predictor import most_probable
from segapp.maps.layers import format_of
from segapp.model.bundle import load
from segapp.model.model_spec import ModelSpec
from segapp.serving.patches import as_counts, from_counts, made_up

TOLERANCE = 1e-5
"""How far probabilities may be from the Keras model's; classes may differ where two are as near to each other."""
_LARGEST = 128

Signature = Callable[..., dict[str, np.ndarray]]


class DisagreementError(Exception):
    """The SavedModel does not answer as it should."""


def check_in_fresh_process(saved_model: Path, model: Path, patches: Path | None = None) -> float:
    """The largest difference of a probability from the Keras model's, found by another process on the CPU.

    `patches` is an NPZ file of images (N, H, W, C) to compare in addition to synthetic ones. Raises DisagreementError.
    """
    arguments = [str(path) for path in (saved_model, model, patches) if path is not None]
    # A GPU belongs to the asking process, and rounds in other ways.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "segapp.serving.check", *arguments], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        last = next(reversed(done.stderr.strip().splitlines()), f"it ended with code {done.returncode}")
        raise DisagreementError(f"the exported {model} fails its check: {last}")
    return float(done.stdout.strip().splitlines()[-1])


def compare(signatures: dict[str, Signature], network: Any, spec: ModelSpec, images: list[np.ndarray]) -> float:
    """The largest difference of a probability from those of `network`, a Keras model, over `images` (N, H, W, C).

    Raises DisagreementError where it is above `TOLERANCE`, where classes differ for no tie, and where the description
    is not that of `spec`.
    """
    description = from_json(signatures["describe"](schema=np.int32(SCHEMA))["model"].item(), "the exported model")
    if to_json(description) != to_json(description.model_copy(update={"model": spec})):  # by text: NaN equals itself
        raise DisagreementError("it describes another model")
    largest = 0.0
    for pixels in images:
        for name, inputs, seen in _requests(pixels, spec, description):
            expected = _local(network, description.stride, seen)
            found = signatures[name](**inputs)
            if "probabilities" in found:
                largest = max(largest, _difference(expected, found["probabilities"], name))
            else:
                _check_confidence(expected, found["confidence"], spec, name)
            _check_classes(expected, found["classes"], spec, name)
    return largest


def _requests(
    pixels: np.ndarray, spec: ModelSpec, description: Description
) -> Iterator[tuple[str, dict[str, np.ndarray], np.ndarray]]:
    """Signature, inputs, and the images in the bands' units that these stand for."""
    yield "serving_default", {"reflectance": pixels}, pixels
    if description.counts is not None:
        counts = as_counts(pixels, spec, description.counts)
        for name in ("counts", "classes"):
            yield name, {"counts": counts}, from_counts(counts, spec, description.counts)


def _local(network: Any, stride: int, pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, K) probabilities as local prediction has them."""
    missing = ~np.isfinite(pixels).all(-1)
    pixels = np.where(missing[..., np.newaxis], np.float32(np.nan), pixels)
    height, width = pixels.shape[1:3]
    padding = ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0))
    padded = np.pad(pixels, padding, constant_values=np.nan)
    found = np.array(network(padded, training=False))[:, :height, :width]
    found[missing] = np.nan
    return found


def _difference(expected: np.ndarray, found: np.ndarray, name: str) -> float:
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        raise DisagreementError(f"{name}: other pixels have probabilities")
    largest = float(np.abs(found - expected).max(initial=0, where=~np.isnan(expected)))
    if largest > TOLERANCE:
        raise DisagreementError(f"{name}: probabilities differ by {largest:.2g}")
    return largest


def _check_classes(expected: np.ndarray, found: np.ndarray, spec: ModelSpec, name: str) -> None:
    ids = spec.classes.to_ids(most_probable(expected.reshape(-1, 1, expected.shape[-1]))).reshape(expected.shape[:-1])
    if found.dtype != ids.dtype or found.shape != ids.shape:
        raise DisagreementError(f"{name}: classes are {found.dtype} {found.shape}, not {ids.dtype} {ids.shape}")
    chosen = found[..., np.newaxis] == spec.classes.ids  # (N, H, W, K)
    chance = np.where(chosen, expected, 0).sum(-1)
    wrong = (found != ids) & ~(chance >= expected.max(-1) - TOLERANCE)  # NaN is no tie
    if wrong.any():
        raise DisagreementError(f"{name}: {wrong.sum()} of {wrong.size} pixels have another class")


def _check_confidence(expected: np.ndarray, found: np.ndarray, spec: ModelSpec, name: str) -> None:
    numbers = format_of("probabilities", spec.classes)
    exact = expected.max(-1) / numbers.scale
    known = ~np.isnan(exact)
    near = np.abs(found - exact) <= 0.5 + TOLERANCE / numbers.scale
    if found.dtype != numbers.dtype or not near[known].all() or not (found[~known] == numbers.nodata).all():
        raise DisagreementError(f"{name}: confidence is not the largest probability")


def _main(saved_model: Path, model: Path, patches: Path | None = None) -> None:
    import tensorflow as tf

    from segapp.nets.precision import EXPORTED, computing_in

    with computing_in(EXPORTED):
        network = load(model)
    spec = network.spec.to_share()
    side = min(spec.patch_size, _LARGEST)
    shapes = ((2, side, side), (1, side + 1, side - 1), (1, 1, 1))
    images = [made_up(spec, shape, seed) for seed, shape in enumerate(shapes)]
    if patches is not None:
        with np.load(patches) as real:
            images += [real[name] for name in real.files]
    # As a server does it, by graph and restore operation: Python's own loader forgives what that one does not.
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(saved_model))
        signatures = {name: _caller(session, signature) for name, signature in loaded.signature_def.items()}
        print(compare(signatures, network, spec, images))
    except (DisagreementError, InputError, OSError, tf.errors.OpError) as error:
        sys.exit(" ".join(str(error).split()))


def _caller(session: Any, signature: Any) -> Signature:
    outputs = {key: tensor.name for key, tensor in signature.outputs.items()}

    def answer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(outputs, {signature.inputs[key].name: array for key, array in inputs.items()})
        return {key: np.asarray(value) for key, value in found.items()}

    return answer


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
