"""``python -m segapp.samples FOLDER`` writes sample scenes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from segapp.errors import InputError
from segapp.samples.write import write_samples


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--scenes", default=6, show_default=True, help="How many scenes.")
@click.option("--size", default=256, show_default=True, help="Pixels a side.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other landscapes.")
def main(folder: Path, scenes: int, size: int, seed: int) -> None:
    """Write sample scenes with masks and a dataset.toml into the new FOLDER."""
    try:
        written = write_samples(folder, scenes=scenes, size=size, seed=seed)
    except InputError as error:
        print(f"segapp: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{scenes} sample scenes of {size} x {size} pixels: {written}")


if __name__ == "__main__":
    main()
