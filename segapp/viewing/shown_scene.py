"""A scene as the page shows it: three of its bands as red, green and blue, and the values of one pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from segapp.bands import Band, known_wavelength, match_bands
from segapp.errors import InputError
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import BandChoice, ImageRules, find_band
from segapp.viewing.tiles import Tiles
from segapp.windows import Window

_COMPOSITES = {
    "True colour": ("red", "green", "blue"),
    "Infrared": ("nir", "red", "green"),
    "Shortwave": ("swir1", "nir", "red"),
}
_DARKEST, _BRIGHTEST = 2, 98  # percent of the pixels that are black, and not white
_SAMPLES, _SAMPLE = 4, 256


class ShownScene:
    """The scene in `file`; with a model, its bands and units are the model's.

    `bands` are shown as red, green and blue at first, or one as grey; with a model they are the model's bands, in its
    order. By default the scene is in true colour where its bands' names or wavelengths tell which that are, else its
    first three are shown. Raises InputError where the file cannot be read or the bands do not fit.
    """

    def __init__(self, file: Path, bands: Sequence[BandChoice] | None = None, model: ModelSpec | None = None) -> None:
        if model is not None:
            scene = open_for_model(file, model, ImageRules(bands=tuple(bands)) if bands else None)
        else:
            scene = open_scene([file], ImageRules())
        self.name = file.name
        self.raster = scene.raster
        self.bands = scene.bands
        self._indexes = scene.indexes
        self.composites = _composites(self.bands)
        self.first = next(iter(self.composites.values()), tuple(min(i, len(self.bands) - 1) for i in range(3)))
        if len(self.bands) < 3:
            self.first = (0, 0, 0)
        if model is None and bands:
            if len(bands) not in (1, 3):
                raise InputError(f"{file}: {len(bands)} bands are to be shown; name three, or one to see it in grey")
            red, *others = (find_band(self.raster, band, "bands") for band in bands)
            self.first = (red, *others) if len(others) == 2 else (red, red, red)
        self._ranges = self._sample()
        self.tiles = Tiles(self.raster, "average")

    def tile(self, level: int, column: int, row: int, bands: Sequence[int]) -> bytes:
        """A tile as PNG (see `Tiles.tile`) with the `bands`, counted from 0, as red, green and blue; no data is clear.

        Each band is stretched from the 2nd to the 98th percentile of its values.
        """
        image = self.tiles.tile(level, column, row, self.in_file(bands))
        mask = np.ma.getmaskarray(image.array).any(axis=0)
        image.array = np.ma.MaskedArray(image.array.filled(0), np.broadcast_to(mask, image.array.shape))
        image.rescale(in_range=[self._ranges[band] for band in bands])
        return image.render(img_format="PNG", ZLEVEL=1)

    def at(self, row: int, column: int) -> dict[str, Any]:
        """The pixel's `values` in the bands' units, whether it is `valid`, and where its middle lies (`x`, `y`)."""
        window = Window(row, column, 1, 1)
        counts = self.raster.read(window, self._indexes)[0, 0].astype(np.float64)
        values = [count * band.scale + band.offset for count, band in zip(counts.tolist(), self.bands, strict=True)]
        georeference = self.raster.georeference
        x, y = (None, None) if georeference is None else Affine(*georeference.transform) * (column + 0.5, row + 0.5)
        return {
            "values": [value if np.isfinite(value) else None for value in values],
            "valid": bool(self.raster.valid(window, self._indexes).all()),
            "x": x,
            "y": y,
        }

    def in_file(self, bands: Sequence[int]) -> list[int]:
        """The 0-based places in the file of `bands`."""
        return [self._indexes[band] for band in bands]

    @property
    def crs(self) -> str | None:
        """What the coordinate reference system is called, as "EPSG:32633"; None where the scene has none."""
        wkt = self.raster.georeference.crs if self.raster.georeference else None
        if wkt is None:
            return None
        try:
            code = CRS.from_wkt(wkt).to_epsg()
        except CRSError:
            code = None
        return f"EPSG:{code}" if code else wkt.split('"')[1] if '"' in wkt else wkt

    def _sample(self) -> list[tuple[float, float]]:
        """The range of each band that is stretched from black to white, from pieces all over the scene."""
        height, width = (min(_SAMPLE, size) for size in self.raster.shape)
        rows, columns = (
            sorted({round(start) for start in np.linspace(0, size - piece, _SAMPLES)})
            for size, piece in zip(self.raster.shape, (height, width), strict=True)
        )
        pieces = []
        for row in rows:
            for column in columns:
                window = Window(row, column, height, width)
                pixels = self.raster.read(window, self._indexes)
                pieces.append(pixels[self.raster.valid(window, self._indexes)])
        values = np.concatenate(pieces).astype(np.float32)
        ranges = []
        for band in values.T:
            finite = band[np.isfinite(band)]
            low, high = np.percentile(finite, [_DARKEST, _BRIGHTEST]).tolist() if len(finite) else (0.0, 1.0)
            ranges.append((low, high if high > low else low + 1))
        return ranges


def _composites(bands: tuple[Band, ...]) -> dict[str, tuple[int, int, int]]:
    """The customary composites for which there are bands, by name or wavelength: places of red, green and blue."""
    wanted = sorted({name for names in _COMPOSITES.values() for name in names})
    base = [Band(name=name, wavelength_nm=known_wavelength(name)) for name in wanted]
    place = {wanted[index]: i for i, index in enumerate(match_bands(base, bands)) if index is not None}
    found = {}
    for title, (red, green, blue) in _COMPOSITES.items():
        if {red, green, blue} <= place.keys():
            found[title] = (place[red], place[green], place[blue])
    return found
