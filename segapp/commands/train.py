"""`segapp train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segapp.commands.interruption import reporting_interruption, saved_training
from segapp.commands.options import (
    FILE,
    band_choice,
    import_tensorflow,
    json_option,
    require_folder,
    run_options,
    write_results,
)
from segapp.errors import InputError
from segapp.nets.encoders.registry import NAMES

if TYPE_CHECKING:
    from segapp.data.dataset import Dataset


@click.command()
@click.option("--data", type=FILE, help="dataset.toml: scenes with labels in roles.")
@click.option("--image", type=FILE, help="Instead of --data: one training image.")
@click.option("--labels", type=FILE, help="The labels of --image.")
@click.option("--val-image", type=FILE, help="An image to validate on; without it, blocks of --image are held out.")
@click.option("--val-labels", type=FILE, help="The labels of --val-image.")
@click.option("--classes", type=FILE, help="CSV with the columns id, name and, if wanted, color, ignore.")
@click.option("--bands", help="Bands of --image by 1-based index or name, as in 1,2,3; by default all.")
@click.option("--mask-band", help="A band of --image whose non-zero pixels are valid.")
@click.option("--output", type=FILE, required=True, help="The model directory to make.")
@click.option("--recipe", default="default", show_default=True, help="A recipe's name or a recipe.toml.")
@click.option("--steps", type=int, help="Training steps, instead of the recipe's epochs.")
@click.option("--epochs", type=int, help="Epochs, instead of the recipe's.")
@click.option("--patch-size", type=int, help="Patch side in pixels, instead of the recipe's.")
@click.option("--patches-per-image", type=int, help="Patches of each image in an epoch, instead of the recipe's.")
@click.option("--encoder", type=click.Choice(NAMES), help="The network's encoder, instead of the recipe's.")
@click.option("--encoder-weights", help="imagenet, none, or a .weights.h5, .h5 or .keras file.")
@click.option("--freeze", type=click.Choice(["encoder"]), help="Leave the encoder's weights as they are.")
@click.option("--unfreeze-at", type=float, help="The share of the steps after which they are trained, too, as 0.5.")
@json_option("the scores")
@run_options
def train(
    data: Path | None,
    image: Path | None,
    labels: Path | None,
    val_image: Path | None,
    val_labels: Path | None,
    classes: Path | None,
    bands: str | None,
    mask_band: str | None,
    output: Path,
    recipe: str,
    steps: int | None,
    epochs: int | None,
    patch_size: int | None,
    patches_per_image: int | None,
    encoder: str | None,
    encoder_weights: str | None,
    freeze: str | None,
    unfreeze_at: float | None,
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Train a U-Net and write a scored model directory.

    \b
    segapp train --data dataset.toml --output models/mine
    segapp train --image train.mat --labels train.png --classes classes.csv --output models/mine
    segapp train --data dataset.toml --encoder vgg16 --encoder-weights imagenet --output models/mine

    While it runs everything lies in models/mine.partial, messages.log included; Ctrl-C stops it, and --resume goes on.

    With --json, of each role that has scenes the scores as segapp evaluate --json gives them:

    
    {"model": "models/mine", "scores": {"val": {"mean_iou": 0.7}, "test": {"mean_iou": 0.68}}}
    """
    require_folder(json_file)
    from segapp.data.dataset import dataset_from_files, read_dataset
    from segapp.training.recipe import read_recipe

    dataset: Dataset
    if data is not None:
        given: dict[str, object] = {
            "--image": image,
            "--labels": labels,
            "--val-image": val_image,
            "--val-labels": val_labels,
        }
        given |= {"--classes": classes, "--bands": bands, "--mask-band": mask_band}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"--data and {name} exclude each other; say it in {data}, or leave --data out")
        dataset = read_dataset(data)
    elif image is not None and labels is not None and classes is not None:
        dataset = dataset_from_files(
            image,
            labels,
            val_image,
            val_labels,
            classes,
            bands=[band_choice(name) for name in bands.split(",")] if bands else None,
            mask_band=band_choice(mask_band) if mask_band else None,
        )
    else:
        raise InputError("no data is given; give --data dataset.toml, or --image, --labels and --classes")
    overrides: dict[str, Any] = {
        "steps": steps,
        "epochs": epochs,
        "patch_size": patch_size,
        "patches_per_image": patches_per_image,
    }
    overrides |= {"encoder": encoder, "encoder_weights": encoder_weights, "freeze": freeze, "unfreeze_at": unfreeze_at}
    chosen = read_recipe(recipe, overrides)

    import_tensorflow()
    from segapp.training.train import train as run

    with reporting_interruption(lambda: saved_training(output)):
        model = run(dataset, output, recipe=chosen, command=" ".join(["segapp", *sys.argv[1:]]), **settings)
        write_results(json_file, {"model": str(output), "scores": model.spec.scores})
