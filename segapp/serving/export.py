"""`segapp export`: a model directory as what TensorFlow Serving loads, or as a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from segapp import terminal
from segapp.client.description import CountInput, CountType, Description
from segapp.errors import InputError
from segapp.model.bundle import MODEL_FILE, load, read_spec
from segapp.model.model_spec import ModelSpec
from segapp.remote import address_of, reads_remote
from segapp.serving.templates import templates
from segapp.serving.upload import exports_remote
from segapp.serving.versions import check_version, deliver, new_version

if TYPE_CHECKING:
    import keras

Format = Literal["savedmodel", "onnx", "litert", "openvino"]
Nodata = int | Literal["usual", "none"]

USUAL_NODATA: dict[CountType, int] = {"uint16": 0, "int16": -9999, "uint8": 0}
"""The count that sensors' products of each type deliver where they have no data (Landsat, Sentinel-2, HLS)."""


@exports_remote
@reads_remote("model")
def export(
    model: str | Path,
    output: str | Path,
    *,
    next: bool = False,
    format: Format = "savedmodel",
    counts: CountType = "uint16",
    nodata: Nodata = "usual",
    data: str | Path | None = None,
    quiet: bool = False,
) -> Path:
    """Write the model directory `model` for a server or another runtime; returns what was written.

    "savedmodel" writes a version for TensorFlow Serving with the signatures of `segapp.serving.signatures`: `output` is
    the version, as in serving/unet6/1, or with `next` the folder of versions, in which it takes the next number. The
    version appears when it is whole and a fresh process has found that it answers as the Keras model does, on synthetic
    images and on some of the scenes of the dataset.toml `data`. Templates of a server's configuration are put beside
    the versions where they are missing. `counts` is the sensor's type of number, and `nodata` the count for no data: a
    number, "usual" (`USUAL_NODATA`), or "none" where every count is data.

    The other formats write one file, as `segapp.serving.formats.export_format` does.

    Raises InputError where the model, the output or the dataset are not fit, and
    `segapp.serving.check.DisagreementError` where the check fails, and OSError where the disk does.
    """
    model, output = Path(model), Path(output)
    check_export(model, output, next=next, format=format, counts=counts, nodata=nodata)
    if format != "savedmodel":
        from segapp.serving.formats import export_format

        export_format(model, output, format)
        return output
    console = terminal.console(stderr=True, quiet=quiet)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    spec = read_spec(model)
    patches: list[np.ndarray] = []
    if data is not None:
        from segapp.serving.patches import real

        patches = real(Path(data), spec)
    counted = _counted(spec, counts, nodata)
    if counted is None:
        say(f"{model}: its bands are not scaled from counts, so the signatures counts and classes are left out")
    import tensorflow as tf

    from segapp.nets.precision import EXPORTED, computing_in
    from segapp.serving.check import check_in_fresh_process
    from segapp.serving.warmup import write_warmup

    with computing_in(EXPORTED):
        network = load(model)
    description = _describe(network, counted)
    with new_version(output, next) as (hidden, version):
        made, name = hidden / version.name, version.absolute().parent.name
        try:
            model_file = hidden / MODEL_FILE
            model_file.write_text(description.model.as_text(), encoding="utf-8")
            write_saved_model(made, network, description, model_file)
            model_file.unlink()
            warm = write_warmup(made, name, description)
        except tf.errors.OpError as error:
            reason = error.message.partition("\n")[0]
            raise OSError(f"{version}: cannot be written ({reason}); free some space or write elsewhere") from None
        if not warm:
            say("warm-up requests are left out: pip install 'segapp[serving]' to have them")
        real_patches = None
        if patches:
            real_patches = hidden / "patches.npz"
            np.savez(real_patches, *patches)
        difference = check_in_fresh_process(made, model, real_patches)
        say(f"checked in a fresh process: probabilities within {difference:.1g} of the Keras model's")
        for file_name, text in templates(name).items():
            if not (version.parent / file_name).exists():
                (hidden / file_name).write_text(text, encoding="utf-8")
                (hidden / file_name).rename(version.parent / file_name)
        deliver(made, version)
    say(f"version: {version}")
    return version


def check_export(model: Path, output: Path, *, next: bool, format: Format, counts: CountType, nodata: Nodata) -> None:
    """Raise InputError for what can be known to fail before a network is read."""
    spec = read_spec(model)
    if format == "savedmodel":
        _counted(spec, counts, nodata)
        if address_of(output) is None:
            check_version(output, next)
    elif next:
        raise InputError(f"{output}: --next numbers the versions of a SavedModel; {format} writes one file")


def write_saved_model(folder: Path, model: keras.Model, description: Description, model_file: Path) -> None:
    """Write a SavedModel with the signatures of `segapp.serving.signatures` and `model_file` as its asset.

    The reloaded object separates frozen variables from others: `trainable_variables`, `non_trainable_variables`.
    """
    import tensorflow as tf

    from segapp.serving.signatures import signatures_of

    def variables(weights: list[keras.Variable]) -> list[tf.Variable]:
        return [weight.value for weight in weights]  # Keras' own are not restored by TensorFlow's C++ loader

    # Weights alone: the seeds of dropout have nothing to do on a server.
    served = tf.train.Checkpoint(
        variables=variables(model.weights),
        trainable_variables=variables(model.trainable_weights),
        non_trainable_variables=variables(model.non_trainable_weights),
        model_file=tf.saved_model.Asset(str(model_file)),
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(served, str(folder), signatures=signatures_of(model, description), options=options)


def _describe(model: keras.Model, counted: CountInput | None) -> Description:
    from segapp.nets.graph import analyse, bytes_per_pixel

    graph = analyse(model)
    return Description(
        model=model.spec.to_share(),
        stride=graph.stride,
        halo=graph.halo,
        bytes_per_pixel=bytes_per_pixel(model),
        counts=counted,
    )


def _counted(spec: ModelSpec, dtype: CountType, nodata: Nodata) -> CountInput | None:
    """What the signatures of counts take; None where the model's bands are not scaled from counts."""
    if nodata == "usual":
        count: int | None = USUAL_NODATA[dtype]
    else:
        count = None if nodata == "none" else nodata
    limits = np.iinfo(dtype)
    if count is not None and not limits.min <= count <= limits.max:
        raise InputError(f"nodata {count} is no {dtype}, which goes from {limits.min} to {limits.max}; choose another")
    if all((band.scale, band.offset) == (1, 0) and band.unit != "digital number" for band in spec.bands):
        return None
    return CountInput(dtype=dtype, nodata=count)
