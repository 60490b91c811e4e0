"""Weights for an encoder: fetched by Keras or read from a file, checked whole before any of them is used."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import socket
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from rich.table import Table

from segapp.bands import Band, match_bands, names_of
from segapp.errors import InputError
from segapp.nets.adapt import BandFill, adapt_kernel, band_mixing, first_kernels
from segapp.nets.config import find_code
from segapp.nets.encoders.features import classifier_layers
from segapp.nets.encoders.registry import ENCODERS
from segapp.nets.graph import analyse
from segapp.nets.weights_file import expands_too_far
from segapp.scenes.hdf5 import HDF5_ERRORS, refuse_other_files

IMAGENET = "imagenet"
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
_PATIENCE_SECONDS = 30.0
_MEMBER = "model.weights.h5"
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


@dataclass(frozen=True)
class EncoderWeights:
    """All the weights of a classifier without its top: by layer, in the order of `keras.Layer.weights`."""

    encoder: str
    source: str
    sha256: str
    """Of the file."""
    layers: Mapping[str, Sequence[np.ndarray]]


def read_encoder_weights(encoder: str, source: str) -> EncoderWeights:
    """The weights of the classifier that `encoder` is, from ImageNet (`source` "imagenet") or from a file of Keras.

    A ``.weights.h5``, an ``.h5`` or a ``.keras`` file is read as numbers only: nothing in it is built or run. Layers
    are known by their names in `keras.applications` and by the shapes of their weights; others, as those of a head,
    are left alone. Raises InputError when the download fails, the file is damaged or may hold code, or is of another
    network: all layers of the classifier must be there.
    """
    path = _fetch(encoder) if source == IMAGENET else Path(source)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a file of weights, 'imagenet' or 'none'") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of weights") from None
    with _opened(path) as file:
        return EncoderWeights(encoder, source, digest, _take(path, encoder, _layers_in(file)))


def load_encoder_weights(model: keras.Model, weights: EncoderWeights, bands: Sequence[Band]) -> Table:
    """Put `weights` into the encoder of a U-Net for `bands`; returns a table of what went where.

    Bands that are red, green or blue, by name or wavelength, get the classifier's filters unscaled and the others
    begin at zero; where none is, each begins at the mean of the filters, scaled by 3 / bands.
    """
    channels = [Band(name=name) for name in ENCODERS[weights.encoder].channels]
    match = match_bands(channels, bands)
    fill: BandFill = "zero" if any(channel is not None for channel in match) else "mean"
    first = first_kernels(model)
    blocks = analyse(model).blocks
    loaded: dict[str, list[str]] = {}
    parameters: dict[str, int] = {}
    for name, layer in classifier_layers(model, weights.encoder).items():
        arrays = list(weights.layers[name])
        if layer in first:
            arrays[0] = adapt_kernel(arrays[0], band_mixing(match, len(channels), fill))
        layer.set_weights(arrays)
        loaded.setdefault(blocks[layer.name], []).append(name)
        parameters[blocks[layer.name]] = parameters.get(blocks[layer.name], 0) + sum(array.size for array in arrays)
    table = Table("block", "from", title=f"{weights.encoder}: {weights.source}", title_justify="left")
    table.add_column("layers", justify="right")
    table.add_column("parameters", justify="right")
    for block, names in loaded.items():
        table.add_row(
            block, " .. ".join(dict.fromkeys((names[0], names[-1]))), str(len(names)), f"{parameters[block]:,}"
        )
    table.caption = "; ".join(
        f"{name}: {fill if channel is None else channels[channel].name}"
        for name, channel in zip(names_of(bands), match, strict=True)
    )
    return table


def _fetch(encoder: str) -> Path:
    """The file of ImageNet weights without top, which Keras fetches, checks and keeps."""
    entry = ENCODERS[encoder]
    url = _URL + entry.weights
    name = url.rsplit("/", 1)[1]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_SECONDS)  # Keras would wait for ever
    try:
        with contextlib.redirect_stdout(sys.stderr):
            build = getattr(keras.applications, entry.application)
            build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
            return Path(keras.utils.get_file(name, url, cache_subdir="models"))
    except Exception as error:  # Keras raises no narrower one
        reason = re.sub(r"URL fetch failure on \S+ (None -- )?", "", str(error)) or type(error).__name__
        raise InputError(
            f"{encoder}: its ImageNet weights cannot be fetched ({reason}); fetch {url} by hand and give the file as "
            f"encoder weights, or put it into the folder .keras/models of your home as {name}"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file at `path` or inside the ``.keras`` file there; turns what reading it raises into InputErrors."""
    try:
        content: Path | io.BytesIO = path
        if not h5py.is_hdf5(path):
            if not zipfile.is_zipfile(path):
                raise InputError(f"{path}: is no file of Keras, or is damaged; give a .weights.h5, .h5 or .keras file")
            content = io.BytesIO(_unpacked(path))
        with h5py.File(content, "r") as file:
            if "model_config" in file.attrs:
                _refuse_code(path, file.attrs["model_config"])
            yield file
    except (*HDF5_ERRORS, *_ZIP_ERRORS) as error:
        raise InputError(f"{path}: is damaged ({error}); save or copy it again") from None


def _unpacked(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if _MEMBER not in names or "config.json" not in names:
            raise InputError(f"{path}: is a zip file, but none of Keras; give a .weights.h5, .h5 or .keras file")
        for member in map(archive.getinfo, ("config.json", _MEMBER)):
            if expands_too_far(member.file_size, member.compress_size):
                raise InputError(
                    f"{path}: '{member.filename}' unpacks to {member.file_size:,} bytes from {member.compress_size:,}, "
                    "as no weights do; save it again"
                )
        _refuse_code(path, archive.read("config.json"))
        return archive.read(_MEMBER)


def _refuse_code(path: Path, config: str | bytes) -> None:
    """Raise InputError where a network's description, which is not needed, shows that the file may hold code."""
    try:
        culprit = find_code(json.loads(config))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: what it says of its network cannot be read ({error}); save it again") from None
    if culprit:
        raise InputError(f"{path}: {culprit} may hold code; save the network's weights alone, as .weights.h5")


def _layers_in(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The weights of each layer with a name, in order, in Keras' present or its old layout; links are not followed."""
    datasets: dict[str, h5py.Dataset] = {}
    groups: dict[str, h5py.Group] = {}
    file.visititems(lambda path, item: (datasets if isinstance(item, h5py.Dataset) else groups).update({path: item}))
    found: dict[str, list[h5py.Dataset]] = {}
    for path, group in groups.items():
        if path.startswith("optimizer"):
            continue
        last = path.rpartition("/")[2]
        if "weight_names" in group.attrs:  # old: a group a layer, or a network within the network
            for weight in map(_text, group.attrs["weight_names"]):
                inside = weight.split("/")[-2:-1]
                found.setdefault(inside[0] if inside else last, []).append(datasets[f"{path}/{weight}"])
        elif last == "vars" and "name" in group.attrs:
            numbers = sorted(int(name) for name in group if name.isdigit())
            found[_text(group.attrs["name"])] = [datasets[f"{path}/{number}"] for number in numbers]
    return {name: weights for name, weights in found.items() if weights}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _take(path: Path, encoder: str, found: Mapping[str, Sequence[h5py.Dataset]]) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer of the classifier; raises InputError where the file is of another network."""
    entry = ENCODERS[encoder]
    build = getattr(keras.applications, entry.application)
    wanted = {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in build(include_top=False, weights=None, input_shape=(None, None, 3)).layers
        if layer.weights
    }
    remedy = f"give weights of {entry.application} as keras.applications names its layers"
    missing = [name for name in wanted if name not in found]
    if missing:
        listed = ", ".join(list(found)[:3]) or "no layer with a name"
        has = f"holds none of the {len(wanted)} layers of {encoder}, but {listed}"
        if len(missing) < len(wanted):
            has = f"lacks {len(missing)} of the {len(wanted)} layers of {encoder}, as {missing[0]}"
        raise InputError(f"{path}: {has}; {remedy}")
    # A deeper relative, as VGG19, has all of these layers and more of their kind.
    kinds = {re.sub(r"\d+", "#", name) for name in wanted}
    for name in found:
        if name not in wanted and re.sub(r"\d+", "#", name) in kinds:
            raise InputError(f"{path}: holds a layer {name}, which {encoder} does not have; {remedy}")
    taken = {}
    for name, shapes in wanted.items():
        there = [dataset.shape for dataset in found[name]]
        if there != shapes:
            raise InputError(f"{path}: layer {name} has weights of {there}, not {shapes}; {remedy}")
        for dataset in found[name]:
            refuse_other_files(path, dataset)
        taken[name] = [np.asarray(dataset[()], np.float32) for dataset in found[name]]
        if not all(np.isfinite(array).all() for array in taken[name]):
            raise InputError(f"{path}: layer {name} holds what is no number; give other weights")
    return taken
