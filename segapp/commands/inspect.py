"""`segapp inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from segapp.commands.options import FILE, json_option, require_folder, results_console, write_results


@click.command()
@click.argument("path", type=FILE)
@click.option("--model", type=FILE, help="Compare an image with what this model was trained on.")
@json_option("what is found")
def inspect(path: Path, model: Path | None, json_file: Path | None) -> None:
    """Say what a model directory, a dataset.toml or an image holds.

    \b
    segapp inspect models/unet6
    segapp inspect dataset.toml
    segapp inspect scene.tif
    segapp inspect scene.tif --model models/unet6
    segapp inspect dataset.toml --json - | jq .warnings

    With --json, of a model directory its model.json; of an image and of a dataset:

    \b
    {"path": "scene.tif", "height": 7654, "width": 12446, "dtype": "uint16", "crs": "EPSG:32632",
     "bands": [{"name": "nir", "unit": "reflectance", "minimum": 0.01, "mean": 0.3, "maximum": 0.9,
      "std": 0.1, "scale": 0.0001, "offset": 0.0}], "invalid_share": 0.12, "nodata": "nodata 0 (file)",
     "warnings": []}

    \b
    {"name": "fields", "path": "dataset.toml", "roles": [{"role": "train",
      "bands": [{"name": "nir", "unit": "reflectance", "minimum": 0.01, "mean": 0.3, "maximum": 0.9,
       "std": 0.1}],
      "classes": [{"id": 80, "name": "water", "pixels": 4096}], "unlabelled_pixels": 12}],
     "scenes": [{"name": "a", "path": "a.tif", "role": "train", "height": 96, "width": 96,
      "invalid_share": 0.045, "unknown_ids": [{"id": 7, "pixels": 3}], "nodata": "nodata 0 (file)",
      "partly_share": 0.01, "bands": [{"name": "nir", "unit": "reflectance", "minimum": 0.01, "mean": 0.3,
      "maximum": 0.9, "std": 0.1}]}],
     "warnings": ["test has no pixel of water"]}
    """
    require_folder(json_file)
    console = results_console(json_file)
    from segapp.scenes.local import FOLDERS_OF_DATA

    if path.is_dir() and path.suffix.lower() not in FOLDERS_OF_DATA:
        from segapp.model.bundle import read_spec
        from segapp.model.card import model_card
        from segapp.terminal import printable

        spec = read_spec(path)
        card = printable(model_card(spec))
        if console.is_terminal:
            from rich.markdown import Markdown

            console.print(Markdown(card))
        else:
            console.print(card, markup=False)
        write_results(json_file, spec.model_dump(mode="json", by_alias=True))
        return
    from segapp.data.dataset import read_dataset
    from segapp.data.inspection import inspect_dataset, inspect_scene
    from segapp.data.inspection_tables import print_summary
    from segapp.data.summaries import DatasetSummary, ImageSummary
    from segapp.scenes.band_files import same_scene
    from segapp.scenes.raster_scene import open_scene
    from segapp.scenes.rules import ImageRules

    summary: DatasetSummary | ImageSummary
    if path.suffix == ".toml":
        summary = inspect_dataset(read_dataset(path))
    elif model is None:
        scene = open_scene([path], ImageRules())
        if band_files := same_scene(path):
            scene.notes = (
                f"is one of {len(band_files.files)} files of one band each of the scene {band_files.name}; list them "
                "in 'image' of a dataset.toml to read them together",
            )
        summary = inspect_scene(scene)
    else:
        import numpy as np

        from segapp.model.bundle import read_spec
        from segapp.model.model_scene import open_for_model

        spec = read_spec(model)
        source = same_scene(path, spec.images.band_files, spec.images.quality_part) if len(spec.bands) > 1 else None
        summary = inspect_scene(open_for_model(source or path, spec), np.array(spec.normalization.mean))
    print_summary(summary, console)
    write_results(json_file, summary.as_dict())
