"""Recipes, strategies, model directories and models of other makes that are not what they should be."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np

from tests.bad_input.cases import CONVERT, FINETUNE, PREDICT, TRAIN, Case
from tests.bad_input.place import (
    Change,
    also,
    cut,
    described,
    edit,
    folder_at,
    link,
    nothing,
    removed,
    repacked,
    weights,
    write,
)

_MODEL, _WEIGHTS = "model/model.json", "model/model.weights.h5"
_LOOK = "inspect model"
_DEEP = "[" * 100_000
_NAN, _INF = float("nan"), float("inf")
_RESUME = f"{TRAIN} --resume"
_NEW_BASE = FINETUNE.replace("--base model", "--base {}")


def _recipe(old: str, new: str) -> Change:
    return edit("recipe.toml", old, new)


def _strategy(old: str, new: str) -> Change:
    return edit("strategy.toml", old, new)


def _without_layer(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        del opened["layers/conv2d"]


def _another_shape(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        del opened["layers/conv2d/vars/0"]
        opened["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 7), np.float32)


def _of_text(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        del opened["layers/conv2d/vars/0"]
        opened["layers/conv2d/vars/0"] = "text"


def _first_band(**changes: object) -> Change:
    """Another first band in `model.json`."""

    def change(folder: Path) -> None:
        bands = json.loads((folder / _MODEL).read_text())["bands"]
        described(bands=[{**bands[0], **changes}, *bands[1:]])(folder)

    return change


def _lambda_layer(folder: Path) -> None:
    layer = {"class_name": "Lambda", "module": "keras.layers", "config": {}, "name": "code", "inbound_nodes": []}
    described(network={"keras": {"layers": [layer], "output_layers": ["code", 0, 0]}})(folder)


def _safetensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(3, np.float32)}, folder / "a.safetensors")


def _old_of_no_json(folder: Path) -> None:
    with h5py.File(folder / "old.h5", "r+") as opened:
        opened.attrs["model_config"] = opened.attrs["model_config"][:-9]


def _big_kernel(folder: Path) -> None:
    """A `.keras` file whose network has 43 GB of weights, which it does not hold."""
    with zipfile.ZipFile(folder / "base.keras") as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1]["config"]["kernel_size"] = [30_000, 30_000]
    repacked("base.keras", {"config.json": json.dumps(config).encode()})(folder)


def _checkpoint(content: str | bytes) -> Change:
    """An interrupted training with this for a checkpoint."""
    return also(lambda folder: (folder / "new.partial").mkdir(), write("new.partial/checkpoint.npz", content))


def _checkpoint_of(**arrays: object) -> Change:
    file = io.BytesIO()
    np.savez(file, **{name: np.array(value) for name, value in arrays.items()})
    return _checkpoint(file.getvalue())


def _weights_that_unpack(folder: Path) -> None:
    """A `.keras` file of 64 MB of zeros, which take a thousandth of that in it."""
    repacked("base.keras", {"model.weights.h5": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)(folder)


CASES = [
    # recipes and strategies
    Case("recipe unknown", nothing, TRAIN.replace("recipe.toml", "mine"), ("there is no recipe 'mine'; choose",)),
    Case("recipe not there", removed("recipe.toml"), TRAIN, ("recipe.toml: no such file; check the path",)),
    Case("recipe broken", cut("recipe.toml", 0.9), TRAIN, ("recipe.toml: is no valid TOML",)),
    Case("recipe unknown key", _recipe("steps", "stepz"), TRAIN, ("unknown key 'stepz'; did you mean 'steps'?",)),
    Case("recipe out of range", _recipe("batch = 2", "batch = 0"), TRAIN, ("batch: input should be greater than or",)),
    Case("recipe of NaN", write("recipe.toml", "schema = 1\naverage = nan"), TRAIN, ("recipe.toml: average: input",)),
    Case("recipe of text", _recipe("patch_size = 16", 'patch_size = "big"'), TRAIN, ("patch_size: input should be a",)),
    Case("recipe of the future", _recipe("schema = 1", "schema = 2"), TRAIN, ("schema: input should be 1, not 2",)),
    Case("recipe too large a patch", _recipe("= 16", "= 99999"), TRAIN, ("patch_size: input should be less than or",)),
    Case("recipe of a patch that does not divide", _recipe("= 16", "= 17"), TRAIN, ("17 does not divide by 2",)),
    Case(
        "strategy unknown", nothing, FINETUNE.replace("strategy.toml", "mine"), ("there is no strategy 'mine'; choo",)
    ),
    Case("strategy unknown key", _strategy("steps", "stepz"), FINETUNE, ("unknown key 'stepz'; did you mean 'steps'",)),
    Case("strategy of no rate", _strategy("rate = 1e-3", ""), FINETUNE, ("phases.0.rate is missing; add it",)),
    Case(
        "strategy of unknown words", _strategy('"*" = 1', '"*" = "forzen"'), FINETUNE, ("phases.0.layers.*", "frozen")
    ),
    Case(
        "strategy of a part", _strategy('"*"', '"head"'), FINETUNE, ("phase 'all': no pattern covers layer", "add one")
    ),
    # the model directory
    Case("no model directory", nothing, "inspect .", (".: is no model directory (model.json is missing); give",)),
    Case("model a file", nothing, PREDICT.replace(" model", " base.keras"), ("base.keras: is no model directory",)),
    Case("description empty", write(_MODEL, ""), _LOOK, ("model.json: cannot be read as JSON", "copy the model direc")),
    Case("description cut off", cut(_MODEL), _LOOK, ("model.json: cannot be read as JSON",)),
    Case("description not UTF-8", write(_MODEL, b'{"schema": "\xff"}'), _LOOK, ("model.json: cannot be read as JSON",)),
    Case("description too deep", write(_MODEL, _DEEP), _LOOK, ("model.json: cannot be read as JSON", "recursion")),
    Case("description too long", write(_MODEL, " " * (65 << 20)), _LOOK, ("model.json: is longer than 64 MiB",)),
    Case("description endless", link(_MODEL, "/dev/zero"), _LOOK, ("model.json: is a device or a pipe; give a file",)),
    Case("description a folder", folder_at(_MODEL), _LOOK, ("model.json: cannot be read as JSON",)),
    Case("description a list", write(_MODEL, "[1]"), _LOOK, ("model.json: input should be a table",)),
    Case("description of the future", described(schema=9), _LOOK, ("schema 9 is not supported",)),
    Case("description unknown key", described(nam="x"), _LOOK, ("unknown key 'nam'; did you mean 'name'?",)),
    Case("description without bands", described(bands=[]), _LOOK, ("model.json: bands: ", "at least 1 item")),
    Case(
        "description of one class", described(classes__classes=[{"id": 1, "name": "a"}]), _LOOK, ("at least 2 items",)
    ),
    Case("description of one mean", described(normalization__mean=[1.0]), _LOOK, ("one mean and one std for each of",)),
    Case(
        "description of no deviation",
        described(normalization__std=[50.0, 0.0, 50.0]),
        _LOOK,
        ("deviation must be above 0",),
    ),
    Case(
        "description of NaN", described(normalization__mean=[1.0, _NAN, 1.0]), _LOOK, ("normalization.mean.1: input",)
    ),
    Case(
        "description of infinity", described(normalization__std=[1.0, 1.0, _INF]), _LOOK, ("normalization.std.2: inp",)
    ),
    Case("description of no scale", _first_band(scale=0.0), _LOOK, ("model.json: bands: 'blue' has the scale 0 and",)),
    Case(
        "description of a scale of NaN",
        _first_band(scale=_NAN),
        _LOOK,
        (
            "bands: 'blue' has the scale nan",
            "give those of the sensor",
        ),
    ),
    Case("description of an endless offset", _first_band(offset=_INF), _LOOK, ("has the scale 1 and the offset inf",)),
    Case(
        "description of a band twice",
        _first_band(name="Green"),
        _LOOK,
        ("bands: two bands are named 'Green'; give each",),
    ),
    Case("description too large a network", described(network__filters=999), _LOOK, ("network.filters: input should",)),
    Case("description of code", _lambda_layer, _LOOK, ("model.json: network", "Lambda may hold code or read files")),
    Case("network too large", described(network={"depth": 6, "filters": 256}), PREDICT, ("has more weights than the",)),
    Case("head of a taken name", described(head="encoder_stage_1_conv_1"), PREDICT, ("its network cannot be built",)),
    Case("no weights", removed(_WEIGHTS), PREDICT, ("model.weights.h5: cannot be read", "copy the model directory")),
    Case("weights changed", write(_WEIGHTS, "x"), PREDICT, ("model.weights.h5: does not match model.json",)),
    Case("weights cut off", weights(cut("")), PREDICT, ("model.weights.h5: does not fit the network", "truncated")),
    Case("weights empty", weights(write("", "")), PREDICT, ("model.weights.h5: does not fit the network in model",)),
    Case("weights missing", weights(_without_layer), PREDICT, ("model.weights.h5: does not fit the network in model",)),
    Case("weights of another shape", weights(_another_shape), PREDICT, ("model.weights.h5: does not fit the network",)),
    Case("weights of text", weights(_of_text), PREDICT, ("model.weights.h5: does not fit the network",)),
    Case(
        "weights endless",
        link(_WEIGHTS, "/dev/zero"),
        PREDICT,
        ("model.weights.h5: is not a file; copy the model dir",),
    ),
    # interrupted trainings
    Case("checkpoint empty", _checkpoint(""), _RESUME, ("checkpoint.npz: is no checkpoint of segapp, or is damaged",)),
    Case(
        "checkpoint torn", _checkpoint(b"PK\x03\x04 torn"), _RESUME, ("damaged", "remove new.partial and start again")
    ),
    Case(
        "checkpoint of something else", _checkpoint_of(a=1), _RESUME, ("checkpoint.npz: is no checkpoint of segapp,",)
    ),
    Case("checkpoint of no progress", _checkpoint_of(text="[]"), _RESUME, ("new.partial/checkpoint.npz: is no check",)),
    Case(
        "checkpoint of other settings", _checkpoint_of(text='{"settings": {}}'), _RESUME, ("was run with another rec",)
    ),
    # other makes
    Case("base not there", nothing, _NEW_BASE.format("no.keras"), ("no.keras: no such file or folder; give a model",)),
    Case(
        "base cut off", cut("base.keras"), _NEW_BASE.format("base.keras"), ("base.keras: is damaged or no .keras fi",)
    ),
    Case(
        "base empty", write("base.keras", ""), _NEW_BASE.format("base.keras"), ("base.keras: is damaged or no .kera",)
    ),
    Case(
        "base too large a network",
        _big_kernel,
        _NEW_BASE.format("base.keras"),
        ("base.keras: cannot be read", "more wei"),
    ),
    Case("base of an old make", nothing, _NEW_BASE.format("old.h5"), ("old.h5: is in Keras' old format; save it in",)),
    Case("base an ONNX file", nothing, _NEW_BASE.format("net.onnx"), ("net.onnx: is an ONNX file", "segapp convert")),
    Case("base an image", nothing, _NEW_BASE.format("image.tif"), ("image.tif: is no pretrained network; give",)),
    Case(
        "encoder weights that unpack",
        _weights_that_unpack,
        f"{TRAIN} --encoder vgg16 --encoder-weights base.keras",
        ("base.keras: 'model.weights.h5' unpacks to 67,108,864 bytes from", "as no weights do"),
    ),
    Case("pickle", write("a.pt", "x"), f"{CONVERT} a.pt", ("a.pt: .pt files are pickles, which run code", "safetens")),
    Case("ONNX cut off", cut("net.onnx"), f"{CONVERT} net.onnx", ("net.onnx: is damaged or no ONNX file",)),
    Case("ONNX empty", write("net.onnx", ""), f"{CONVERT} net.onnx", ("net.onnx: is damaged or no ONNX file",)),
    Case(
        "old Keras of no JSON",
        _old_of_no_json,
        f"{CONVERT} old.h5",
        ("old.h5: is damaged or no model of Keras", "copy"),
    ),
    Case("old Keras cut off", cut("old.h5"), f"{CONVERT} old.h5", ("old.h5: cannot be read as HDF5", "copy it again")),
    Case(
        "tensors cut off", also(_safetensors, cut("a.safetensors")), f"{CONVERT} a.safetensors", ("a.safetensors: can",)
    ),
    Case(
        "tensors of another network", _safetensors, f"{CONVERT} a.safetensors", ("a.safetensors: is no U-Net of segm",)
    ),
    Case(
        "network of other bands", nothing, f"{CONVERT.replace(',red', '')} net.onnx", ("takes 3, but --bands names 2",)
    ),
    Case("network of a repeated band", nothing, f"{CONVERT.replace('red', 'blue')} net.onnx", ("name each band once",)),
    Case(
        "network of other classes", edit("classes.csv", "2,", "2,a\n3,"), f"{CONVERT} net.onnx", ("gives 2, but --cl",)
    ),
    Case(
        "network in a folder", lambda f: shutil.move(f / "net.onnx", f / "model"), f"{CONVERT} model", ("is a folder",)
    ),
]
