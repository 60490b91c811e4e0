"""Sample scenes on disk: synthetic landscapes as georeferenced GeoTIFFs of six bands, with masks and a dataset.toml."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine

from segapp.errors import InputError
from segapp.samples.landscape import BANDS, CLASSES, PIXEL_M, SCALE, landscape

_CRS = "EPSG:32633"  # UTM zone 33 north
_ORIGIN = (420_000.0, 5_460_000.0)  # easting and northing in metres
_SMALLEST = 64  # pixels a side: smaller scenes may lack a class


def write_samples(folder: Path, *, scenes: int = 6, size: int = 256, seed: int = 0) -> Path:
    """Write `scenes` sample scenes of `size` x `size` pixels into the new `folder`; returns its dataset.toml.

    Images are (H, W, 6) uint16 GeoTIFFs, surface reflectance x 10 000 with nodata 0, blue to swir2 as band
    descriptions, 10 m pixels in UTM; masks are uint8 GeoTIFFs. A sixth of the scenes, one at least, is for validation
    and as many for testing. The same arguments give the same pixels. The folder appears only when it is whole.
    Raises InputError when the folder holds files already or cannot be written, or there is too little to divide.
    """
    if scenes < 3 or size < _SMALLEST:
        raise InputError(
            f"{folder}: {scenes} scenes of {size} pixels are too little; ask for 3 or more, of {_SMALLEST} or more"
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a folder that does not exist yet")
    held_out = max(1, scenes // 6)
    roles = ["train"] * (scenes - 2 * held_out) + ["val"] * held_out + ["test"] * held_out
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".samples-") as partial:
            whole = Path(partial) / "samples"
            (whole / "labels").mkdir(parents=True)
            for number, role in enumerate(roles):
                (whole / role).mkdir(exist_ok=True)
                name = f"scene_{number + 1:02d}.tif"
                counts, labels = landscape(size, np.random.default_rng((seed, number)))
                _write(whole / role / name, counts, number)
                _write(whole / "labels" / name, labels[..., None], number)
            (whole / "dataset.toml").write_text(_toml(), encoding="utf-8")
            whole.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}); name a folder in a place you may write to") from None
    return folder / "dataset.toml"


def _write(path: Path, pixels: np.ndarray, number: int) -> None:
    """Write (H, W, C) pixels as a tiled GeoTIFF; scene after scene lies further east."""
    height, width, bands = pixels.shape
    west = _ORIGIN[0] + number * width * PIXEL_M
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": pixels.dtype,
        "crs": _CRS,
        "transform": Affine(PIXEL_M, 0, west, 0, -PIXEL_M, _ORIGIN[1]),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(pixels, -1, 0))
        if bands == len(BANDS):
            file.descriptions = BANDS


def _toml() -> str:
    classes = "\n".join(f'  {{ id = {i}, name = "{name}", color = "{color}" }},' for i, name, color in CLASSES)
    scenes = "\n".join(
        f'[[scenes]]\nimage = "{role}/*.tif"\nlabels = "labels/{{name}}.tif"\nrole = "{role}"\n'
        for role in ("train", "val", "test")
    )
    bands = ", ".join(f'"{band}"' for band in BANDS)
    return f"""schema = 1
name = "samples"

[image]
bands = [{bands}]
scale = {1 / SCALE}
unit = "reflectance"

[classes]
ignore = [0]
list = [
{classes}
]

{scenes}"""
