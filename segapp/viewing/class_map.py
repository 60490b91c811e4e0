"""A class map as the page shows it: on the scene's grid, with the names, colours and areas of its classes."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.layers import Layer, layer_file
from segapp.maps.pixel_area import hectares_by_row
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Raster
from segapp.scenes.stack import same_grid
from segapp.scenes.warped import WarpedRaster
from segapp.viewing.legend import LegendEntry, legend_of
from segapp.viewing.tiles import Tiles
from segapp.windows import Window, grid, whole

_ROWS = 512
_MOST_CLASSES = 255
_OF_BYTES = 254  # the uint8 that stands for probability 1
_LAYERS: tuple[Layer, ...] = ("probabilities", "confidence", "entropy")


@dataclass(frozen=True)
class ClassArea:
    """A class of a map, the pixels it has there, and their area in hectares where the CRS gives it."""

    entry: LegendEntry
    pixels: int
    hectares: float | None


class ClassMap:
    """The class map in `file`, brought to the grid of `scene`; areas are counted in the map's own pixels.

    Opening reads the whole map once. `known` names the classes of maps that do not name their own. Raises InputError
    where the file is no class map or cannot be placed on the scene.
    """

    def __init__(self, file: Path, scene: Raster, known: ClassTable | None = None) -> None:
        raster = open_raster(file, indexed=True)
        if len(raster.band_names) != 1:
            raise InputError(
                f"{file}: has {len(raster.band_names)} bands where a class map has one; name the scene first"
            )
        self.name = file.name
        self._shown = _on_grid(raster, scene)
        pixels, hectares = _count(raster)
        self.areas = tuple(
            ClassArea(entry, pixels.get(entry.id, 0), None if hectares is None else hectares.get(entry.id, 0.0))
            for entry in legend_of(file, raster, pixels, known)
        )
        self.tiles = Tiles(self._shown, "mode")
        self._layers: dict[Layer, Raster] = {
            layer: _on_grid(open_raster(beside), scene)
            for layer in _LAYERS
            if (beside := layer_file(file, layer)).is_file()
        }

    def tile(self, level: int, column: int, row: int, hidden: Collection[int] = ()) -> bytes:
        """A tile as PNG (see `Tiles.tile`): classes in their colours but for the ids in `hidden`, the rest clear."""
        image = self.tiles.tile(level, column, row, [0])
        colors = {
            area.entry.id: (*bytes.fromhex(area.entry.color[1:]), 255)
            for area in self.areas
            if area.entry.id not in hidden
        }
        if image.array.dtype == np.uint8:  # rio-tiler is faster with all 256
            colors = {value: colors.get(value, (0, 0, 0, 0)) for value in range(256)}
        elif not colors:
            colors = {0: (0, 0, 0, 0)}
        return image.apply_colormap(colors).render(img_format="PNG", ZLEVEL=1)

    def at(self, row: int, column: int) -> dict[str, Any]:
        """What the map says of a pixel of the scene: `id`, `probabilities` by name, `confidence` and `entropy`.

        Each is None where the map has no data, the last three also where the file beside the map is missing.
        """
        window = Window(row, column, 1, 1)
        valid = self._shown.valid(window, [0]).all()
        value = self._shown.read(window, [0]).item()
        found = dict.fromkeys(_LAYERS) | {"id": int(value) if valid and value == value else None}
        for layer, raster in self._layers.items():
            bands = range(len(raster.band_names))
            if not raster.valid(window, bands).all():
                continue
            values = raster.read(window, bands)[0, 0]
            if values.dtype == np.uint8:
                if (values == 255).any():
                    continue
                values = values / _OF_BYTES
            numbers = [None if math.isnan(number) else float(number) for number in values]
            found[layer] = numbers[0] if layer != "probabilities" else self._by_name(raster, numbers)
        return found

    def _by_name(self, raster: Raster, numbers: list[float | None]) -> list[dict[str, Any]]:
        ours = [area.entry.name for area in self.areas]
        names = [name or (ours[i] if i < len(ours) else f"band {i + 1}") for i, name in enumerate(raster.band_names)]
        return [{"name": name, "value": number} for name, number in zip(names, numbers, strict=True)]


def _count(raster: Raster) -> tuple[dict[int, int], dict[int, float] | None]:
    """How many valid pixels have each value, and how many hectares those are where the CRS gives areas."""
    counts: dict[int, int] = {}
    hectares: dict[int, float] = {}
    of_a_pixel = hectares_by_row(raster.georeference, raster.shape)
    for window in grid(whole(raster.shape), _ROWS, raster.shape[1]):
        values, valid = raster.read(window, [0])[..., 0], raster.valid(window, [0])
        rows = 0.0 if of_a_pixel is None else of_a_pixel[window.row : window.row_stop, np.newaxis]
        weights = np.broadcast_to(rows, values.shape)
        if not (kept := valid & (values == values)).all():
            values, weights = values[kept], weights[kept]
        if values.dtype == np.uint8:
            numbers, inverse = np.arange(256), values.ravel()
        else:
            numbers, inverse = np.unique(values, return_inverse=True)
        found = np.bincount(inverse.ravel(), minlength=len(numbers))
        areas = np.bincount(inverse.ravel(), weights.ravel(), minlength=len(numbers))
        for value, n, area in zip(numbers.tolist(), found.tolist(), areas.tolist(), strict=True):
            if n:
                counts[value] = counts.get(value, 0) + n
                hectares[value] = hectares.get(value, 0.0) + area
        if len(counts) > _MOST_CLASSES or any(value != int(value) for value in counts):
            raise InputError(f"{raster.path}: holds measurements and no classes; give the class map that predict wrote")
    by_id = {int(value): n for value, n in counts.items()}
    if of_a_pixel is None:
        return by_id, None
    if np.ptp(of_a_pixel) == 0:  # without the rounding of sums
        return by_id, {value: n * float(of_a_pixel[0]) for value, n in by_id.items()}
    return by_id, {int(value): area for value, area in hectares.items()}


def _on_grid(raster: Raster, scene: Raster) -> Raster:
    """`raster` on the grid of `scene`, by its nearest pixels."""
    if same_grid(raster, scene):
        return raster
    if isinstance(raster, RasterioRaster) and raster.georeference is not None and scene.georeference is not None:
        return WarpedRaster(raster, scene.georeference, scene.shape, ["nearest"] * len(raster.band_names))
    raise InputError(
        f"{raster.path}: is {raster.shape[0]}x{raster.shape[1]} pixels where {scene.path} is "
        f"{scene.shape[0]}x{scene.shape[1]}, and cannot be placed on it without a CRS; give the map of this scene"
    )
