"""`segapp view`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from segapp.commands.interruption import exit_code
from segapp.commands.options import FILE, band_choice


@click.command()
@click.argument("scene", type=FILE)
@click.argument("classes", type=FILE)
@click.option("--compare", type=FILE, help="Another map of the scene, on the other side of a swipe bar.")
@click.option("--model", type=FILE, help="Bands, units and class names are those of this model directory.")
@click.option(
    "--bands",
    help="Three bands by 1-based index or name, shown as red, green and blue at first, or one for grey, as in 4,3,2; "
    "with --model, the model's bands in its order.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default a free one.")
@click.option("--no-browser", is_flag=True, help="Only say where the page is.")
def view(
    scene: Path,
    classes: Path,
    compare: Path | None,
    model: Path | None,
    bands: str | None,
    port: int,
    no_browser: bool,
) -> None:
    """Show a scene and its class map in the browser.

    \b
    segapp view scene.tif classes.tif
    segapp view scene.tif new.tif --compare old.tif --bands 4,3,2
    segapp view scene.tif classes.tif --model models/unet6 --port 8000 --no-browser

    The page is served to this machine alone, until Ctrl-C. It shows the map over the scene, the area of each class
    and, under the cursor, the bands' values and what predict --also wrote beside the map.
    """
    from segapp.viewing.view import view as show

    chosen = [band_choice(band) for band in bands.split(",")] if bands else None

    def ready(url: str) -> None:
        click.echo(f"{scene.name} is shown at {url} (Ctrl-C stops)")

    try:
        show(scene, classes, compare=compare, model=model, bands=chosen, port=port, browser=not no_browser, ready=ready)
    except KeyboardInterrupt as interruption:
        click.echo("\nsegapp: the page is closed; nothing was written", err=True)
        sys.exit(exit_code(interruption))
