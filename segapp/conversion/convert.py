"""Somebody else's pretrained network, made into a model directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segapp.bands import Band, known_wavelength
from segapp.classes import ClassTable, read_class_csv
from segapp.configuration import validate
from segapp.conversion.foreign import Foreign
from segapp.errors import InputError
from segapp.model.bundle import write_model
from segapp.model.model_spec import ModelSpec, Normalization

if TYPE_CHECKING:
    import keras

    from segapp.model.base import Base

_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
_SUFFIXES = ".keras, .h5, .onnx or .safetensors"


def convert(
    source: str | Path,
    output: str | Path,
    *,
    bands: Sequence[str],
    classes: str | Path | ClassTable,
    scale: float = 1.0,
    unit: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    head_layer: str | None = None,
    scene: str | Path | None = None,
) -> keras.Model:
    """Bring a pretrained network over into the new model directory `output`; returns it as `segapp.load` does.

    `source` is a ``.keras`` or ``.h5`` model of Keras, an ``.onnx`` file, the ``weights.h5`` of MATLAB's
    `exportNetworkToTensorFlow`, or the ``.safetensors`` of a segmentation_models.pytorch U-Net. What no such file says
    is given: the names of the `bands` in the network's order, the `classes` (a CSV file, or a table) in its order,
    `scale` and `unit` of what it takes (count * scale), and, where the file does not hold them, `mean` and `std` of the
    bands in that unit. `head_layer` names the classifier where it is not the last layer with weights.

    The result is run against the original on noise, and on the image `scene`, where something installed can run that;
    `spec.provenance["check"]` says what was done. Raises InputError, and writes nothing, where the file is damaged or
    unsafe, its network cannot be brought over, or the result computes something else.
    """
    source, output = Path(source), Path(output)
    check_paths(source, output)
    table = classes if isinstance(classes, ClassTable) else read_class_csv(Path(classes))

    from segapp.conversion.check import compare
    from segapp.conversion.rebuild import rebuild

    foreign = _reader(source)(source)
    base = rebuild(source, foreign.model, head_layer)
    _require_one_each(source, "band", bands, len(base.spec.bands))
    _require_one_each(source, "class", table.names, len(base.spec.classes))
    if foreign.normalization is not None and (mean or std):
        raise InputError(f"{source}: normalises its bands itself; leave out --mean and --std")
    if std is not None and not min(std) > 0:
        raise InputError(f"{source}: --std {', '.join(map(str, std))} is not positive; give the spread of each band")
    normalization = foreign.normalization or Normalization(
        mean=tuple(mean or [0.0] * len(bands)), std=tuple(std or [1.0] * len(bands))
    )
    unit = unit or ("digital number" if scale == 1 else "reflectance")
    takes = [Band(name=name, wavelength_nm=known_wavelength(name), scale=scale, unit=unit) for name in bands]
    described, weights = _describe(output.name, foreign, base)
    given = {"bands": takes, "classes": table, "normalization": normalization}
    spec = validate(ModelSpec, {**described, **given}, str(source))
    model = spec.build()
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    check = compare(source, foreign, model, spec, head_layer, None if scene is None else Path(scene))
    provenance = {"converted from": source.name, "format": foreign.format, "check": check}
    spec = spec.model_copy(update={"provenance": provenance})
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
            whole = Path(folder) / "whole"
            model.spec = write_model(whole, model, spec)
            whole.rename(output)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); give another --output") from None
    return model


def check_paths(source: Path, output: Path) -> None:
    """Raise InputError where `source` is nothing that can be converted, or `output` exists. Nothing is opened."""
    if not source.exists():
        raise InputError(f"{source}: no such file; check the path")
    if source.is_dir():
        inside = next((name for name in ("weights.h5", "saved_model.pb") if (source / name).exists()), None)
        needed = f"give {source / inside}" if inside == "weights.h5" else f"give a file, {_SUFFIXES}"
        raise InputError(f"{source}: is a folder; {needed}")
    suffix = source.suffix.lower()
    if suffix in _PICKLES:
        raise InputError(
            f"{source}: {suffix} files are pickles, which run code when they are opened; in PyTorch write "
            f'safetensors.torch.save_file(model.state_dict(), "{source.stem}.safetensors"), or use torch.onnx.export'
        )
    if suffix not in (*_SUFFIXES.replace(" or", ",").split(", "), ".hdf5", ".mat"):
        raise InputError(f"{source}: is no network that can be converted; give {_SUFFIXES}")
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or give another --output")


def _reader(source: Path) -> Callable[[Path], Foreign]:
    """The importer of a file's format; raises InputError where there is none."""
    suffix = source.suffix.lower()
    if suffix == ".onnx":
        from segapp.conversion.onnx_file import read_onnx

        return read_onnx
    if suffix == ".safetensors":
        from segapp.conversion.smp import read_smp

        return read_smp
    if suffix == ".mat":
        from segapp.conversion.mat_networks import refuse_mat

        refuse_mat(source)
    from segapp.conversion.keras_network import is_whole_model, read_keras, read_old_keras
    from segapp.conversion.keras_weights import holds_weights_alone, read_keras_weights
    from segapp.conversion.matlab_weights import read_matlab_weights

    if suffix == ".keras":
        return read_keras
    if is_whole_model(source):
        return read_old_keras
    return read_keras_weights if holds_weights_alone(source) else read_matlab_weights


def _require_one_each(source: Path, what: str, given: Sequence[str], wanted: int) -> None:
    """Raise InputError unless each of the network's bands or classes has a name of its own."""
    option = {"band": "--bands", "class": "--classes"}[what]
    if len(given) != wanted or len(set(given)) != len(given):
        does = "takes" if what == "band" else "gives"
        raise InputError(
            f"{source}: its network {does} {wanted}, but {option} names {len(given)} ({', '.join(given)}); "
            f"name each {what} once, in the network's order"
        )


def _describe(name: str, foreign: Foreign, base: Base) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What the file says of the model, and the weights of its layers: segapp's U-Net where that computes the same."""
    from segapp.conversion.unet_graph import as_unet

    own = as_unet(base.model, base.spec.head)
    description = {
        "schema": 2,
        "name": name,
        "network": own.config if own else base.spec.network,
        "head": "final_conv" if own else base.spec.head,
        "patch_size": min((side for side in foreign.size if side), default=base.spec.patch_size),
    }
    weights = own.weights if own else {layer.name: layer.get_weights() for layer in base.model.layers if layer.weights}
    return description, weights
