"""The command line: parse, call one library function, print. TensorFlow is imported by the functions that need it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segapp.errors import InputError

if TYPE_CHECKING:
    from segapp.dataset import Dataset

FILE = click.Path(path_type=Path)


class _Commands(click.Group):
    """Turns mistakes of the user into one line and exit code 2, and an interruption into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except InputError as error:
            _fail(str(error), 2)
        except click.ClickException as error:
            _fail(f"{error.format_message()} (see segapp --help)", 2)
        except OSError as error:
            _fail(f"reading or writing failed on the way: {error}; what was done is kept", 3)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted; what was done is kept, and training goes on with --resume", 130)


def _fail(message: str, code: int) -> None:
    click.echo(f"segapp: {message}", err=True)
    sys.exit(code)


def _import_tensorflow() -> None:
    """Import TensorFlow with stderr closed: it greets with lines about absent GPUs that no setting silences."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            tf.get_logger().setLevel("ERROR")  # it warns of a new graph for each network that is scored
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segapp")
def main() -> None:
    """Semantic segmentation of multispectral images with a U-Net."""


@main.command()
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
@click.option("--seed", default=0, show_default=True, help="Seed of weights, patches and dropout.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True
)
@click.option("--devices", default="auto", show_default=True, help="auto (all GPUs, else the CPU), or cpu:N.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same settings.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
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
    **settings: Any,
) -> None:
    """Train a U-Net and write a scored model directory.

    \b
    segapp train --data dataset.toml --output models/mine
    segapp train --image train.mat --labels train.png --classes classes.csv --output models/mine
    """
    from segapp.dataset import dataset_from_files, read_dataset
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
            bands=[_band(name) for name in bands.split(",")] if bands else None,
            mask_band=_band(mask_band) if mask_band else None,
        )
    else:
        raise InputError("no data is given; give --data dataset.toml, or --image, --labels and --classes")
    overrides = {"steps": steps, "epochs": epochs, "patch_size": patch_size, "patches_per_image": patches_per_image}
    chosen = read_recipe(recipe, overrides)

    _import_tensorflow()
    from segapp.training.train import train as run

    run(dataset, output, recipe=chosen, command=" ".join(["segapp", *sys.argv[1:]]), **settings)


@main.command()
@click.option("--base", type=FILE, required=True, help="A model directory, or a .keras file.")
@click.option("--data", type=FILE, required=True, help="dataset.toml of the new scenes.")
@click.option("--output", type=FILE, help="The model directory to make.")
@click.option("--strategy", default="staged", show_default=True, help="staged, head, full, surgical, forum or a .toml.")
@click.option("--dry-run", is_flag=True, help="Print the plan and train nothing.")
@click.option(
    "--map", "maps", multiple=True, metavar="NEW=BASE[,BASE]", help="A new class continues these classes of the base."
)
@click.option(
    "--unlabelled", type=FILE, multiple=True, help="An image on which the base's word is kept; may be repeated."
)
@click.option("--new-bands", type=click.Choice(["zero", "mean"]), help="How filters of bands new to the base start.")
@click.option("--head-init", type=click.Choice(["fitted", "copied", "random"]), help="Instead of the strategy's.")
@click.option("--head-layer", help="The classifier layer of a .keras file, where it is not found.")
@click.option("--steps", type=int, help="Training steps of all phases together, instead of the strategy's.")
@click.option("--patch-size", type=int, help="Patch side in pixels, instead of the strategy's.")
@click.option("--seed", default=0, show_default=True, help="Seed of patches and dropout.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True
)
@click.option("--devices", default="auto", show_default=True, help="auto (all GPUs, else the CPU), or cpu:N.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same settings.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def finetune(
    base: Path,
    data: Path,
    output: Path | None,
    strategy: str,
    dry_run: bool,
    maps: tuple[str, ...],
    unlabelled: tuple[Path, ...],
    new_bands: Any,
    head_init: str | None,
    head_layer: str | None,
    steps: int | None,
    patch_size: int | None,
    **settings: Any,
) -> None:
    """Bring a pretrained network to new classes, bands and scenes; the result is never worse than its base.

    \b
    segapp finetune --base models/unet6 --data new.toml --dry-run
    segapp finetune --base models/unet6 --data new.toml --output models/new
    """
    from rich.console import Console

    from segapp.dataset import read_dataset
    from segapp.transfer.strategy import read_strategy

    class_map = dict(_mapped_class(text) for text in maps)
    chosen = read_strategy(strategy, {"steps": steps, "patch_size": patch_size, "head": head_init})
    if output is None and not dry_run:
        raise InputError("nothing says where the model goes; give --output, or --dry-run to see the plan")
    dataset = read_dataset(data)
    _import_tensorflow()
    from segapp.transfer.finetune import finetune as run
    from segapp.transfer.finetune import plan_finetune
    from segapp.transfer.plan import print_plan

    matching: dict[str, Any] = {"strategy": chosen, "class_map": class_map, "unlabelled": unlabelled}
    matching |= {"new_bands": new_bands, "head_layer": head_layer}
    if output is None or dry_run:
        print_plan(plan_finetune(base, dataset, **matching), Console(highlight=False))
        return
    run(base, dataset, output, command=" ".join(["segapp", *sys.argv[1:]]), **matching, **settings)


def _mapped_class(text: str) -> tuple[str, list[str]]:
    """ "water=lake,river" as ("water", ["lake", "river"])."""
    new, found, sources = text.partition("=")
    if not found:
        raise InputError(f"--map '{text}' is not understood; write NEW=BASE or NEW=BASE,BASE")
    return new.strip(), [source.strip() for source in sources.split(",") if source.strip()]


def _band(text: str) -> int | str:
    text = text.strip()
    return int(text) if text.isdigit() else text


@main.command()
@click.option("--model", type=FILE, required=True, help="A model directory.")
@click.option("--data", type=FILE, required=True, help="dataset.toml with the model's bands and classes.")
@click.option("--role", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--test-time-augmentation", is_flag=True, help="Average over flips and quarter turns: 8 times the work.")
@click.option("--json", "json_file", type=FILE, help="Write the scores to this file, too.")
def evaluate(model: Path, data: Path, role: Any, test_time_augmentation: bool, json_file: Path | None) -> None:
    """Score a model on labelled scenes.

    \b
    segapp evaluate --model models/mine --data dataset.toml --json scores.json
    """
    from rich.console import Console

    from segapp.evaluation.evaluate import evaluate as run
    from segapp.evaluation.report import print_scores

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise InputError(f"{json_file}: its folder does not exist; make it first")
    _import_tensorflow()
    scores = run(model, data, role=role, test_time_augmentation=test_time_augmentation)
    print_scores(scores, Console(highlight=False))
    if json_file is not None:
        temporary = json_file.with_name(json_file.name + ".writing")
        temporary.write_text(json.dumps(scores.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(json_file)


@main.command()
@click.argument("path", type=FILE)
def inspect(path: Path) -> None:
    """Say what a model directory, a dataset.toml or an image holds.

    \b
    segapp inspect models/unet6
    segapp inspect dataset.toml
    segapp inspect scene.tif
    """
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(highlight=False)
    if path.is_dir():
        from segapp.bundle import read_spec
        from segapp.card import model_card

        console.print(Markdown(model_card(read_spec(path))))
        return
    from segapp.dataset import read_dataset
    from segapp.inspection import inspect_dataset, inspect_scene, print_summary

    is_dataset = path.suffix == ".toml"
    print_summary(inspect_dataset(read_dataset(path)) if is_dataset else inspect_scene(path), console)
