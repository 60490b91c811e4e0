"""Writing a map tile by tile, in the kind of file that its name asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.array_writers import MatWriter, NpyWriter
from segapp.maps.cog import translate_to_cog
from segapp.maps.geotiff_writer import GeoTiffWriter
from segapp.maps.layers import Layer
from segapp.maps.png import require_palette, translate_to_png
from segapp.scenes.control_points import ControlPoints
from segapp.scenes.raster import Georeference
from segapp.windows import Window


class MapWriter(Protocol):
    """A map that is being written to `temporary`, beside `file`, whose name it gets when it is whole.

    Pixels that no window brings are "no data". When writing fails, the methods raise an OSError of one line that
    names the file, and `abandon` leaves nothing behind.
    """

    temporary: Path
    file: Path

    def write(self, window: Window, values: np.ndarray) -> None:
        """Write what `segapp.maps.layers.values_of` gives, (h, w) or (h, w, K), to `window` of the map."""
        ...

    def close(self) -> None:
        """Finish: everything is on disk, whole, under the temporary name. A second call does nothing."""
        ...

    def deliver(self) -> None:
        """Give the closed map its name, and before that their names to the files beside it, such as .aux.xml."""
        ...

    def abandon(self) -> None:
        """Close, and remove what was not delivered; may be called at any time."""
        ...


def open_writer(
    file: Path,
    layer: Layer,
    shape: tuple[int, int],
    georeference: Georeference | None,
    classes: ClassTable,
    tags: Mapping[str, str],
    cog: bool = False,
    control_points: ControlPoints | None = None,
) -> MapWriter:
    """A writer of `layer` for a map of `shape` (H, W) pixels; the suffix of `file` gives the kind.

    .tif and .tiff are GeoTIFF with `georeference` or `control_points` and `tags`, Cloud Optimized with `cog`; .npy and
    .mat are arrays; .png is a picture of classes with their ids as palette indexes. Raises InputError when the suffix
    is another, the kind cannot hold the layer, or the file cannot be made; OSError when there is no room for it.
    """
    suffix = file.suffix.lower()
    if cog and suffix not in (".tif", ".tiff"):
        raise InputError(f"{file}: only a GeoTIFF can be cloud optimized; write .tif")
    translate: Callable[[Path, Path], None] | None = None
    if suffix == ".png":
        require_palette(file, layer, classes)
        translate = translate_to_png
    elif cog:
        translate = partial(translate_to_cog, resampling="mode" if layer == "classes" else "average")
    if suffix in (".tif", ".tiff", ".png"):
        return GeoTiffWriter(file, layer, shape, georeference, classes, tags, translate, control_points)
    if suffix == ".npy":
        return NpyWriter(file, layer, shape, classes)
    if suffix == ".mat":
        return MatWriter(file, layer, shape, classes)
    raise InputError(f"{file}: no map can be written as '{suffix}'; use .tif, .tiff, .png, .npy or .mat")
