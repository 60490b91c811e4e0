"""`segapp export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segapp.commands.options import FILE, import_tensorflow, json_option, require_folder, write_results
from segapp.errors import InputError


@click.command()
@click.option("--model", type=FILE, required=True, help="A model directory.")
@click.option("--output", type=FILE, required=True, help="The version, as serving/NAME/1; or the file to write.")
@click.option("--next", is_flag=True, help="--output is the folder of versions: take the next number.")
@click.option(
    "--format",
    type=click.Choice(["savedmodel", "onnx", "litert", "openvino"]),
    default="savedmodel",
    show_default=True,
    help="A version for TensorFlow Serving, or a file for another runtime.",
)
@click.option(
    "--counts",
    type=click.Choice(["uint16", "int16", "uint8"]),
    default="uint16",
    show_default=True,
    help="The numbers that the sensor delivers.",
)
@click.option(
    "--nodata",
    default="usual",
    metavar="COUNT|none",
    help="The count that means no data; none where every count is data.  [default: 0; -9999 for int16]",
)
@click.option("--data", type=FILE, help="Check the export on scenes of this dataset.toml, too.")
@json_option("what was written")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def export(
    model: Path, output: Path, nodata: str, data: Path | None, json_file: Path | None, quiet: bool, **options: Any
) -> None:
    """Write a model for TensorFlow Serving, checked and whole, or for another runtime.

    \b
    segapp export --model models/unet6 --output serving/unet6/1
    segapp export --model models/unet6 --output serving/unet6 --next --data dataset.toml
    segapp export --model models/unet6 --output unet6.onnx --format onnx

    With --json; what does not answer as the Keras model does is not written:

    
    {"written": "serving/unet6/1", "format": "savedmodel", "checked": true}
    """
    from segapp.serving.export import check_export
    from segapp.serving.export import export as run

    options["nodata"] = _count(nodata)
    require_folder(json_file)
    check_export(model, output, **options)
    import_tensorflow()
    written = run(model, output, data=data, quiet=quiet, **options)
    write_results(json_file, {"written": str(written), "format": options["format"], "checked": True})


def _count(text: str) -> int | str:
    if text in ("usual", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--nodata '{text}' is not understood; give a whole number, or none") from None
