"""The `weights.h5` that MATLAB's `exportNetworkToTensorFlow` writes of a network of `unetLayers` or `unet`.

The two have the same layers under names that differ for the bridge and the classifier. `unetLayers` joins what comes
from below with the skip connection, in that order; `unet` joins them the other way round.
Each layer is an HDF5 group with the attributes Name and NumVars, each of its arrays a dataset with the attributes Name,
WeightNum and Shape, in Keras' order of axes. Which layers there are is known by their names alone; the `model.py` that
comes with the file is never run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segapp.conversion.foreign import Foreign, one_a_band
from segapp.errors import InputError
from segapp.model.model_spec import Normalization
from segapp.nets.config import UNetConfig
from segapp.nets.weights_file import build_within, check_weights
from segapp.scenes.hdf5 import HDF5_ERRORS, own_items

_HEAD = {"final_convolutionlayer": "final_conv", "encoderdecoderfinalconvlayer": "final_conv"}
_OF_UNET = ("latentnetwork", "encoderdecoderfinalconvlayer")
"""What the names begin with of layers that `unet` (since R2024a) has and `unetLayers` has not."""
_REMEDY = "in MATLAB `exportONNXNetwork(net, \"net.onnx\", 'OpsetVersion', 13)` keeps all of it"

_Layers = dict[str, dict[str, np.ndarray]]


def read_matlab_weights(path: Path) -> Foreign:
    """The U-Net whose weights the file holds, layers matched by name: "Encoder-Stage-1-Conv-1", in any spelling.

    Raises InputError, naming the layer, where one is missing, has another shape, or belongs to no `unetLayers`.
    """
    try:
        check_weights(path)
        layers = _read_layers(path)
    except HDF5_ERRORS as error:
        raise InputError(f"{path}: cannot be read as weights from MATLAB ({error}); copy it again") from None
    try:
        normalization = _normalization(layers)
        first, last = _kernel(layers, "encoder_stage_1_conv_1"), _kernel(layers, "final_conv")
        depth = sum(bool(re.fullmatch(r"decoder_stage_\d+_upconv", name)) for name in layers)
        config = UNetConfig(depth=depth, filters=first.shape[3])
    except ValueError as error:
        reason = next(iter(str(error).splitlines()))
        raise InputError(f"{path}: holds no U-Net of MATLAB's unetLayers ({reason}); {_REMEDY}") from None

    from segapp.nets.unet import unet

    held = sum(values.nbytes for arrays in layers.values() for values in arrays.values())
    model = build_within(lambda: unet(first.shape[2], last.shape[3], config), held)
    if model is None:
        raise InputError(f"{path}: holds fewer weights than a U-Net of depth {depth} has; {_REMEDY}")
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_fitting(path, layer.name, [w.shape for w in layer.weights], layers.pop(layer.name, {})))
    if layers:
        raise InputError(f"{path}: layer '{next(iter(layers))}' is none of MATLAB's unetLayers; {_REMEDY}")
    return Foreign(
        model, "MATLAB", normalization, unchecked="only MATLAB can run the original; compare maps before you rely on it"
    )


def _read_layers(path: Path) -> _Layers:
    """Each layer's arrays by their names, in the shapes that the file states; layers in segapp's spelling."""
    layers: _Layers = {}
    is_unet = False
    with h5py.File(path, "r", locking=False) as file:
        for key, group in own_items(file):
            if not isinstance(group, h5py.Group):
                continue
            name = re.sub(r"[^a-z0-9]+", "_", _text(group.attrs.get("Name", key)).lower()).strip("_")
            is_unet = is_unet or name.startswith(_OF_UNET)
            name = re.sub(r"^latentnetwork_?", "", name)
            arrays = layers.setdefault(_HEAD.get(name, name), {})
            for array_key, dataset in own_items(group):
                if isinstance(dataset, h5py.Dataset):
                    values = np.asarray(dataset[()], np.float32)
                    shape = dataset.attrs.get("Shape")
                    values = values if shape is None else values.reshape([int(side) for side in np.ravel(shape)])
                    arrays[_text(dataset.attrs.get("Name", array_key)).lower()] = values
    return {name: _skip_last(name, arrays) for name, arrays in layers.items()} if is_unet else layers


def _skip_last(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a layer of `unet` with the channels of the skip connection behind those from below."""
    if not re.fullmatch(r"decoder_stage_\d+_conv_1", name):
        return arrays
    return {key: np.roll(v, v.shape[2] // 2, axis=2) if v.ndim == 4 else v for key, v in arrays.items()}


def _text(value: Any) -> str:
    """An attribute's text: MATLAB writes some as an array of one."""
    value = np.ravel(value)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _normalization(layers: _Layers) -> Normalization | None:
    """What the image input layer does to the bands, taken out of `layers`; ValueError where that is not given."""
    for name, arrays in list(layers.items()):
        if {"min", "max"} & arrays.keys():
            raise ValueError(f"'{name}' rescales by minimum and maximum, to an unknown range")
        if "mean" in arrays and "beta" not in arrays:
            del layers[name]
            mean = one_a_band("mean", arrays["mean"])
            if "variance" in arrays:
                std = one_a_band("variance", np.sqrt(arrays["variance"]))
            else:
                std = one_a_band("standard deviation", arrays.get("stdev", np.ones((1, len(mean)))))
            return Normalization(mean=mean, std=std)
    return None


def _kernel(layers: _Layers, name: str) -> np.ndarray:
    for values in layers.get(name, {}).values():
        if values.ndim == 4:
            return values
    raise ValueError(f"there is no kernel of '{name}'")


def _fitting(path: Path, name: str, shapes: list[tuple[int, ...]], arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of one layer in the order of `shapes`, each of which differs from the others."""
    found = {values.shape: values for values in arrays.values()}
    if set(found) != set(shapes):
        has = f"has arrays of shape {sorted(found)}" if arrays else "is missing"
        raise InputError(f"{path}: layer '{name}' {has} where a U-Net needs {shapes}; {_REMEDY}")
    return [found[shape] for shape in shapes]
