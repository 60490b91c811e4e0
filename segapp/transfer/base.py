"""The pretrained network that a transfer starts from: a model directory, or a network that Keras saved."""

from __future__ import annotations

from pathlib import Path

from segapp.conversion.keras_file import read_keras_file
from segapp.conversion.mat_networks import convert_command, refuse_mat
from segapp.conversion.rebuild import rebuild
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.bundle import load, read_spec


def read_base(path: Path, head_layer: str | None = None) -> Base:
    """The base at `path`: a model directory of segapp, or a ``.keras`` file with a functional or sequential network.

    The network must map an image (N, H, W, C) to one map of the same size, and end in a 1x1 `Conv2D`, its head, which
    at most activations follow; `head_layer` names it where it is not the last layer with weights. It is built again
    as segapp builds networks, H and W open, with the same weights, and checked to compute the same, bit for bit.
    A head that gives one class (for a sigmoid) becomes one of two classes, the first of which is all else.

    Raises InputError when `path` is nothing of the kind, saying what to do.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a model directory or a .keras file")
    if path.is_dir():
        spec = read_spec(path)
        if head_layer not in (None, spec.head):
            raise InputError(f"{path}: its head is '{spec.head}', not '{head_layer}'; leave out the head's name")
        model = load(path)
        return Base(model, model.spec, str(path), known_classes=True)
    suffix = path.suffix.lower()
    if suffix == ".keras":
        return rebuild(path, read_keras_file(path), head_layer)
    if suffix == ".mat":
        refuse_mat(path)
    if suffix == ".onnx":
        raise InputError(f"{path}: is an ONNX file; convert it with `{convert_command(path)}` and give the result")
    if suffix in (".pt", ".pth"):
        raise InputError(
            f"{path}: is a PyTorch file; write {path.stem}.onnx with torch.onnx.export, then `{convert_command(path)}`"
        )
    if suffix in (".h5", ".hdf5"):
        load_and_save = f'keras.models.load_model("{path.name}", compile=False).save("{path.stem}.keras")'
        raise InputError(f"{path}: is in Keras' old format; save it in the new one: {load_and_save}")
    raise InputError(f"{path}: is no pretrained network; give a model directory or a .keras file")
