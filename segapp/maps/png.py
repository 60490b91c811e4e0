"""Class maps as palette PNG, translated from a finished GeoTIFF: PNG is written from the top down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio import shutil

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.layers import Layer
from segapp.scenes import picture


def require_palette(file: Path, layer: Layer, classes: ClassTable) -> None:
    """Raises InputError unless `layer` fits a palette of 256 colours."""
    if layer != "classes":
        raise InputError(f"{file}: PNG holds classes, not {layer}; write .tif or .npy")
    if classes.dtype != np.uint8:
        largest = max(int(classes.ids.max()), classes.nodata)
        raise InputError(f"{file}: PNG holds ids up to 255, but there is {largest}; write .tif or .npy")


def translate_to_png(source: Path, target: Path) -> None:
    """Write the class map `source` to `target` with the ids as palette indexes, no data transparent.

    What PNG has no place for (CRS, names, tags) goes to `target`.aux.xml. Raises OSError or rasterio's errors.
    """
    with rasterio.Env():
        shutil.copy(source, target, driver="PNG")
    try:
        picture.require_complete(target)
    except InputError:
        raise OSError("it is cut off") from None
