"""`segapp inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from segapp.commands.options import FILE, json_option, require_folder, results_console, write_results


@click.command()
@click.argument("path", type=FILE)
@json_option("what is found")
def inspect(path: Path, json_file: Path | None) -> None:
    """Say what a model directory, a dataset.toml or an image holds.

    \b
    segapp inspect models/unet6
    segapp inspect dataset.toml
    segapp inspect scene.tif
    segapp inspect dataset.toml --json - | jq .warnings

    With --json, of a model directory its model.json; of an image and of a dataset:

    \b
    {"path": "scene.tif", "height": 7654, "width": 12446, "dtype": "uint16", "crs": "EPSG:32632",
     "bands": [{"name": "nir", "unit": "reflectance", "minimum": 0.01, "mean": 0.3, "maximum": 0.9,
      "std": 0.1}], "invalid_share": 0.12}

    \b
    {"name": "fields", "path": "dataset.toml", "roles": [{"role": "train",
      "bands": [{"name": "nir", "unit": "reflectance", "minimum": 0.01, "mean": 0.3, "maximum": 0.9,
       "std": 0.1}],
      "classes": [{"id": 80, "name": "water", "pixels": 4096}], "unlabelled_pixels": 12}],
     "scenes": [{"name": "a", "path": "a.tif", "role": "train", "height": 96, "width": 96,
      "invalid_share": 0.045, "unknown_ids": [{"id": 7, "pixels": 3}]}],
     "warnings": ["test has no pixel of water"]}
    """
    require_folder(json_file)
    console = results_console(json_file)
    if path.is_dir():
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
    from segapp.data.inspection import inspect_dataset, inspect_scene, print_summary

    is_dataset = path.suffix == ".toml"
    summary = inspect_dataset(read_dataset(path)) if is_dataset else inspect_scene(path)
    print_summary(summary, console)
    write_results(json_file, summary.as_dict())
