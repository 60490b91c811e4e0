"""`segapp inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from segapp.commands.options import FILE


@click.command()
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
