"""`segapp predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segapp.commands.interruption import reporting_interruption, saved_maps
from segapp.commands.options import (
    FILE,
    band_choice,
    import_tensorflow,
    json_option,
    precision_option,
    require_folder,
    results_console,
    write_results,
)
from segapp.errors import InputError

if TYPE_CHECKING:
    from segapp.inference.settings import RunSettings
    from segapp.windows import Window

SOME_SCENES_FAILED = 3


@click.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@click.option("--model", type=FILE, help="A model directory.")
@click.option("--endpoint", help="A model on a server instead, as in grpc://host:8500/unet6 or http://host:8501/unet6.")
@click.option("--output", type=FILE, required=True, help="The map to write; for several scenes, a folder.")
@click.option("--data", type=FILE, help="Read scenes as the images of this dataset.toml are read.")
@click.option("--bands", help="Bands of the scenes by 1-based index or name, in the model's order, as in 4,3,2.")
@click.option("--scale", type=float, help="Stored counts times this are the model's units; by default the model's.")
@click.option("--offset", type=float, help="Added after scaling.")
@click.option("--nodata", type=float, help="A value that means no data, in addition to the file's own.")
@click.option(
    "--also",
    type=click.Choice(["probabilities", "probabilities-float32", "confidence", "entropy"]),
    multiple=True,
    help="Another layer beside the classes; may be repeated.",
)
@click.option("--polygons", type=click.Choice(["gpkg", "geojson"]), help="Write the classes as polygons, too.")
@click.option("--minimum-pixels", default=1, show_default=True, help="Smaller polygons join their largest neighbour.")
@click.option("--cog", is_flag=True, help="Write Cloud Optimized GeoTIFFs.")
@click.option("--window", metavar="ROW,COL,HEIGHT,WIDTH", help="Map this part of the scene, in pixels.")
@click.option("--aoi", type=FILE, help="Map what lies in the polygons of this vector file.")
@click.option(
    "--engine",
    type=click.Choice(["tensorflow", "openvino"]),
    default="tensorflow",
    show_default=True,
    help="What runs the network.",
)
@precision_option
@click.option("--check", is_flag=True, help="First say how many pixels differ from TensorFlow in float32.")
@click.option("--tile-size", type=click.IntRange(1), help="What the network sees at once, in pixels a side.")
@click.option("--blend", is_flag=True, help="Blend overlapping windows instead of exact tiles.")
@click.option("--test-time-augmentation", is_flag=True, help="Average over flips and quarter turns: 8 times the work.")
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    default=120,
    show_default=True,
    help="Seconds that a server may take for a tile.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    help="Seconds to go on trying while a server does not answer.",
)
@click.option("--dask", metavar="ADDRESS", help="Share the scenes over the workers of this Dask scheduler.")
@json_option("the areas, and which scenes failed,")
@click.option("--resume", is_flag=True, help="Keep the maps that an earlier run finished.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def predict(
    scenes: tuple[str, ...],
    model: Path | None,
    endpoint: str | None,
    output: Path,
    also: tuple[Any, ...],
    window: str | None,
    engine: Any,
    precision: Any,
    check: bool,
    tile_size: int | None,
    blend: bool,
    test_time_augmentation: bool,
    deadline: float,
    patience: float,
    dask: str | None,
    json_file: Path | None,
    resume: bool,
    quiet: bool,
    polygons: Any,
    minimum_pixels: int,
    cog: bool,
    aoi: Path | None,
    data: Path | None,
    bands: str | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
) -> None:
    """Map scenes of any size. A SCENE is a file, a glob, a folder, or a .txt file that lists such.

    \b
    segapp predict --model models/unet6 scene.tif --output classes.tif
    segapp predict --model models/unet6 "scenes/*.tif" --output maps --also confidence --resume
    segapp predict --endpoint grpc://host:8500/unet6 scene.tif --output classes.tif

    A server gets the bearer token in SEGAPP_TOKEN, or in the file that SEGAPP_TOKEN_FILE names. For one with TLS, write
    grpcs:// or https://; SEGAPP_CA_CERTIFICATE
    names the PEM file of a private authority.

    Of several scenes a bad one does not stop the others; the exit code is 3 then.

    With --json, each map as in its record (classes.tif.json), and hectares null where the CRS does not tell:

    
    {"maps": [{"scene": "scene.tif", "map": "classes.tif", "classes": [{"id": 80, "name": "water",
      "pixels": 4096, "hectares": 368.64}], "nodata_pixels": 12, "made_with": {"engine": "tensorflow"},
      "notes": []}],
     "failures": [{"scene": "bad.tif", "reason": "bad.tif: is empty"}]}
    """
    from segapp.client.endpoint import ServerSettings
    from segapp.inference.settings import RunSettings
    from segapp.model.bundle import read_spec
    from segapp.prediction.inputs import find_scenes, group_by_bands
    from segapp.prediction.settings import MapSettings, reading_rules

    run = RunSettings(engine, precision, tile_size, blend, test_time_augmentation)
    source = _source(model, endpoint, run, check)
    require_folder(json_file)
    settings = MapSettings(
        rules=reading_rules(data, _bands(bands), scale, offset, nodata),
        layers=tuple(dict.fromkeys(also)),
        polygons=polygons,
        minimum_pixels=minimum_pixels,
        cog=cog,
        window=_window(window) if window else None,
        aoi=aoi,
    )
    spec = None if model is None else read_spec(model)
    files = find_scenes(scenes)
    if spec is not None:
        files, left_out = group_by_bands(files, spec)
        for file in left_out if not quiet else ():
            click.echo(f"note: {file}: is none of the model's bands, and is left out", err=True)
    if model is not None or str(source).startswith("grpc"):
        import_tensorflow()
    from segapp.maps.record import print_summary
    from segapp.prediction.predict import map_scenes

    if check and model is not None:
        from segapp.prediction.check import disagreement

        share = disagreement(model, files[0], settings, run)
        click.echo(f"{files[0]}: {share:.4%} of pixels get another class than by TensorFlow in float32", err=True)
    server = ServerSettings(deadline, patience)
    with reporting_interruption(lambda: saved_maps(files, output)):
        maps = map_scenes(source, files, output, settings, run, server=server, resume=resume, dask=dask, quiet=quiet)
        if maps.records:
            print_summary(maps.records, results_console(json_file, quiet))
        summary = {
            "maps": [record.model_dump(mode="json") for record in maps.records],
            "failures": [{"scene": str(failure.scene), "reason": failure.reason} for failure in maps.failures],
        }
        write_results(json_file, summary)
    if maps.failures:
        for failure in maps.failures if quiet else ():  # said already where it is not
            click.echo(f"failed: {failure.reason}", err=True)
        click.echo(f"segapp: {len(maps.failures)} of {len(files)} scenes failed", err=True)
        sys.exit(SOME_SCENES_FAILED)


def _source(model: Path | None, endpoint: str | None, run: RunSettings, check: bool) -> str | Path:
    """The model directory, or the endpoint: exactly one must be given, with options that mean something to it."""
    from segapp.client.endpoint import parse_endpoint

    if model is not None and endpoint is not None:
        raise InputError("--model and --endpoint exclude each other; give the one that is to make the map")
    if model is not None:
        return model
    if endpoint is None:
        raise InputError("no model is given; give --model DIRECTORY, or --endpoint for one on a server")
    run.check_for_server()
    if check:
        raise InputError("--check compares engines on this machine, and --endpoint uses none; leave it out")
    return str(parse_endpoint(endpoint))


def _bands(text: str | None) -> tuple[int | str, ...] | None:
    return tuple(band_choice(name) for name in text.split(",")) if text else None


def _window(text: str) -> Window:
    from segapp.windows import Window

    try:
        row, col, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--window '{text}' is not understood; write ROW,COL,HEIGHT,WIDTH in pixels") from None
    return Window(row, col, height, width)
