"""`segapp report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segapp.commands.options import FILE, import_tensorflow, precision_option, results_console


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--data", type=FILE, help="dataset.toml with the model's bands and classes; without, nothing is measured."
)
@click.option("--compare", type=FILE, help="Another model directory to set beside it, as the base of a transfer.")
@click.option(
    "--output", type=FILE, default="report.html", show_default=True, help="The page; an older one is replaced."
)
@click.option(
    "--role",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Measure on the scenes that the dataset gives this role.",
)
@precision_option
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def report(
    model: Path, data: Path | None, compare: Path | None, output: Path, role: Any, precision: Any, quiet: bool
) -> None:
    """Write one HTML page about a model: scores, confusions, best and worst patches, training, transfer.

    \b
    segapp report models/unet6
    segapp report models/new --data new.toml --compare models/unet6 --output new.html

    The page is complete in itself: it can be mailed, opens from disk, and asks for nothing from any network.
    """
    from segapp.reporting.report import report as run

    if data is not None:
        import_tensorflow()
    file = run(model, data, compare=compare, output=output, role=role, precision=precision, quiet=quiet)
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    results_console(None, quiet).print(f"{file}: {size}", markup=False, soft_wrap=True)
