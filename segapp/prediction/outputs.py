"""Where the map of each scene goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segapp.errors import InputError
from segapp.scenes.band_files import Source

_IN_KIND = {".mat": ".mat", ".npy": ".npy", ".npz": ".npy", ".png": ".png", ".jpg": ".png", ".jpeg": ".png"}


def outputs_of(scenes: Sequence[Source], output: Path) -> list[Path]:
    """The map of each scene: `output` itself for one scene and a file name, else a file in the folder `output`.

    Maps are written in kind: MAT, NPY and PNG scenes give such files, all others GeoTIFF. Raises InputError where two
    scenes would have one map.
    """
    if len(scenes) == 1 and output.suffix and not output.is_dir():
        return [output]
    maps = [output / f"{scene.stem}{_IN_KIND.get(scene.suffix.lower(), '.tif')}" for scene in scenes]
    for number, file in enumerate(maps):
        if file in maps[:number]:
            raise InputError(
                f"{scenes[number]}: its map would be {file}, as that of {scenes[maps.index(file)]}; map them apart"
            )
    return maps
