"""`segapp finetune`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from segapp.commands.interruption import reporting_interruption, saved_training
from segapp.commands.options import (
    FILE,
    import_tensorflow,
    json_option,
    require_folder,
    results_console,
    run_options,
    write_results,
)
from segapp.errors import InputError


@click.command()
@click.option("--base", type=FILE, required=True, help="A model directory, or a .keras file.")
@click.option("--data", type=FILE, required=True, help="dataset.toml of the new scenes.")
@click.option("--output", type=FILE, help="The model directory to make.")
@click.option("--strategy", default="staged", show_default=True, help="staged, head, full, surgical, forum or a .toml.")
@click.option("--dry-run", is_flag=True, help="Print the plan and train nothing.")
@click.option(
    "--map", "maps", multiple=True, metavar="NEW=BASE[,BASE]", help="A new class continues these classes of the base."
)
@click.option(
    "--unlabelled", type=FILE, multiple=True, help="An image on which the base's predictions are kept; may be repeated."
)
@click.option(
    "--new-bands",
    type=click.Choice(["zero", "mean", "discriminants"]),
    help="How filters of bands new to the base start.",
)
@click.option("--head-init", type=click.Choice(["fitted", "copied", "random"]), help="Instead of the strategy's.")
@click.option("--head-layer", help="The classifier layer of a .keras file, where it is not found.")
@click.option("--steps", type=int, help="Training steps of all phases together, instead of the strategy's.")
@click.option("--patch-size", type=int, help="Patch side in pixels, instead of the strategy's.")
@json_option("the scores, or with --dry-run the plan,")
@run_options
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
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Bring a pretrained network to new classes, bands and scenes; the result is never worse than its base.

    \b
    segapp finetune --base models/unet6 --data new.toml --dry-run
    segapp finetune --base models/unet6 --data new.toml --output models/new
    segapp finetune --base models/unet6 --data new.toml --map water=lake,river --strategy head --output models/new

    While it runs everything lies in models/new.partial, messages.log included; Ctrl-C stops it, and --resume goes on.

    With --json, scores as segapp evaluate --json gives them; with --dry-run the plan, as in model.json:

    
    {"model": "models/new", "scores": {"val": {"mean_iou": 0.7}, "test": {"mean_iou": 0.68}},
     "winner": "2-all", "phases": [{"phase": "2-all", "accuracy": 0.9, "mean_iou": 0.7,
      "against": "head", "won": true}]}
    """
    from segapp.data.dataset import read_dataset
    from segapp.transfer.strategy import read_strategy

    require_folder(json_file)
    class_map = dict(_mapped_class(text) for text in maps)
    chosen = read_strategy(strategy, {"steps": steps, "patch_size": patch_size, "head": head_init})
    if output is None and not dry_run:
        raise InputError("nothing says where the model goes; give --output, or --dry-run to see the plan")
    dataset = read_dataset(data)
    import_tensorflow()
    from segapp.transfer.finetune import finetune as run
    from segapp.transfer.finetune import plan_finetune
    from segapp.transfer.plan import print_plan

    matching: dict[str, Any] = {"strategy": chosen, "class_map": class_map, "unlabelled": unlabelled}
    matching |= {"new_bands": new_bands, "head_layer": head_layer}
    if output is None or dry_run:
        plan = plan_finetune(base, dataset, **matching)
        print_plan(plan, results_console(json_file))
        write_results(json_file, plan.model_dump(mode="json"))
        return
    with reporting_interruption(lambda: saved_training(output)):
        model = run(base, dataset, output, command=" ".join(["segapp", *sys.argv[1:]]), **matching, **settings)
        made = {key: model.spec.provenance[key] for key in ("winner", "phases")}
        write_results(json_file, {"model": str(output), "scores": model.spec.scores, **made})


def _mapped_class(text: str) -> tuple[str, list[str]]:
    """ "water=lake,river" as ("water", ["lake", "river"])."""
    new, found, sources = text.partition("=")
    if not found:
        raise InputError(f"--map '{text}' is not understood; write NEW=BASE or NEW=BASE,BASE")
    return new.strip(), [source.strip() for source in sources.split(",") if source.strip()]
