"""`segapp convert`."""

from __future__ import annotations

from pathlib import Path

import click

from segapp.commands.options import (
    FILE,
    import_tensorflow,
    json_option,
    require_folder,
    results_console,
    write_results,
)
from segapp.errors import InputError


@click.command()
@click.argument("foreign", type=FILE)
@click.option("--output", type=FILE, required=True, help="The model directory to make.")
@click.option("--bands", required=True, help="Names of the network's bands in its order, as in blue,green,red,nir.")
@click.option("--classes", type=FILE, required=True, help="CSV with the columns id and name, in the network's order.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Count times this is what the network takes.")
@click.option("--unit", help="Of what the network takes: reflectance, digital number, ...")
@click.option("--mean", help="Mean of each band, as in 0.05,0.08,0.1,0.2, where the file does not hold them.")
@click.option("--std", help="Standard deviation of each band, likewise.")
@click.option("--scene", type=FILE, help="An image to compare the result with the original on, besides noise.")
@click.option("--head-layer", help="The classifier layer, where it is not found.")
@json_option("what was made, and how it was checked")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def convert(
    foreign: Path,
    output: Path,
    bands: str,
    classes: Path,
    scale: float,
    unit: str | None,
    mean: str | None,
    std: str | None,
    scene: Path | None,
    head_layer: str | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Make a pretrained network from elsewhere a model directory.

    FOREIGN is a .keras or .h5 model of Keras, an .onnx file (MATLAB's exportONNXNetwork, torch.onnx.export), the
    weights.h5 of MATLAB's exportNetworkToTensorFlow, or a segmentation_models.pytorch U-Net's .safetensors.

    \b
    segapp convert theirs.onnx --bands blue,green,red --classes classes.csv --output models/theirs
    segapp convert theirs.keras --bands blue,green,red,nir --classes classes.csv --scale 1e-4 --output models/theirs

    With --json:

    
    {"model": "models/theirs", "network": "U-Net of depth 4", "weights": 31032837, "format": "ONNX",
     "check": "ONNX Runtime, largest difference of probabilities 3e-07"}
    """
    from segapp.classes import read_class_csv
    from segapp.conversion.convert import check_paths

    require_folder(json_file)
    check_paths(foreign, output)
    table = read_class_csv(classes)
    names = [name.strip() for name in bands.split(",") if name.strip()]
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    import_tensorflow()
    from segapp.conversion.convert import convert as run
    from segapp.nets.config import UNetConfig

    model = run(
        foreign,
        output,
        bands=names,
        classes=table,
        scale=scale,
        unit=unit,
        mean=means,
        std=stds,
        head_layer=head_layer,
        scene=scene,
    )
    network = model.spec.network
    kind = f"U-Net of depth {network.depth}" if isinstance(network, UNetConfig) else "Keras network"
    made = {"model": str(output), "network": kind, "weights": model.count_params()}
    made |= {key: model.spec.provenance[key] for key in ("format", "check")}
    console = results_console(json_file, quiet)
    console.print(f"{kind}, {made['weights']:,} weights, from {made['format']}", markup=False, soft_wrap=True)
    console.print(f"compared with the original by {made['check']}", markup=False, soft_wrap=True)
    console.print(f"model directory: {output}", markup=False, soft_wrap=True)
    write_results(json_file, made)


def _numbers(option: str, text: str | None) -> list[float] | None:
    """ "0.1,0.2" as [0.1, 0.2]."""
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{option} '{text}' is not understood; write one number a band, as in 0.1,0.2") from None
