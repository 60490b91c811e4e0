"""One raster from several files: a band a file (Landsat), or bands of different resolution (Sentinel-2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine, rowcol, xy

from segapp.errors import InputError
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.memory import require_inside
from segapp.scenes.raster import Georeference, Raster, Scaling
from segapp.scenes.warped import WarpedRaster
from segapp.windows import Window


def open_stack(
    rasters: Sequence[Raster],
    *,
    grid: int = 0,
    resampling: str | Sequence[str] = "bilinear",
    nodata: float | None = None,
) -> Raster:
    """The bands of `rasters`, one after the other, on the grid of raster number `grid` (from 0).

    Rasters on that grid already are read as they are; others are resampled as they are read, by `resampling`, one
    of rasterio's names ("nearest", "bilinear", "cubic", "average", ...) for all, or one for each band. Bands of
    flags or classes need "nearest". `nodata` is a value that, beside the files' own, is no data where bands are
    interpolated. The dtype is the one NumPy promotes the files' dtypes to.

    Raises InputError when a raster of another shape cannot be placed on the grid.
    """
    if not 0 <= grid < len(rasters):
        raise ValueError(f"no raster number {grid} among {len(rasters)}")
    if len(rasters) == 1:
        return rasters[0]
    counts = [len(raster.band_names) for raster in rasters]
    methods = iter([resampling] * sum(counts) if isinstance(resampling, str) else resampling)
    target = rasters[grid]
    return StackedRaster(
        [
            _on_grid(raster, target, list(islice(methods, count)), nodata)
            for raster, count in zip(rasters, counts, strict=True)
        ]
    )


def open_pages(path: Path, count: int) -> Raster:
    """The pages of a TIFF, one band each, as the bands of one raster.

    Raises InputError where they are no bands of one image: of several sizes, types or numbers of bands.
    """
    pages = [RasterioRaster(path, page) for page in range(1, count + 1)]
    kinds = [f"{page.shape[0]}x{page.shape[1]}x{len(page.band_names)} {page.dtype}" for page in pages]
    if len(set(kinds)) > 1 or len(pages[0].band_names) > 1:
        listed = ", ".join(f"{number} is {kind}" for number, kind in enumerate(kinds[:3], 1))
        raise InputError(
            f"{path}: has {count} pages that are not bands of one image (page {listed}{', ...' if count > 3 else ''}); "
            f"save one page (rio convert GTIFF_DIR:1:{path.name} page.tif)"
        )
    raster = StackedRaster(pages)
    raster.path = str(path)
    raster.remarks = (*pages[0].remarks, f"its {count} pages are read as {count} bands")
    return raster


def same_grid(one: Raster, other: Raster) -> bool:
    """Whether the pixels of two rasters lie on each other: same shape and, where both have one, same CRS and transform.

    Transforms may differ by a hundredth of a pixel over the whole raster, which is how files round them.
    """
    if one.shape != other.shape:
        return False
    if one.georeference is None or other.georeference is None:
        return True
    crs, other_crs = _crs(one.georeference), _crs(other.georeference)
    if crs and other_crs and crs != other_crs:
        return False
    height, width = one.shape
    corners = np.array([[0, 0, height, height], [0, width, 0, width]])  # rows, columns
    x, y = xy(Affine(*one.georeference.transform), *corners, offset="ul")
    there = rowcol(Affine(*other.georeference.transform), x, y, op=float)
    return bool(np.abs(np.array(there) - corners).max() <= 0.01)


class StackedRaster(Raster):
    """The bands of several rasters on one grid, one raster after the other."""

    def __init__(self, rasters: Sequence[Raster]) -> None:
        first = rasters[0]
        self.path = f"{first.path} and {len(rasters) - 1} more"
        self.shape = first.shape
        self.dtype = np.result_type(*(raster.dtype for raster in rasters))
        self.band_names: tuple[str | None, ...] = tuple(name for raster in rasters for name in raster.band_names)
        if any(raster.wavelengths_nm for raster in rasters):
            self.wavelengths_nm = tuple(w for r in rasters for w in r.wavelengths_nm or (None,) * len(r.band_names))
        self.georeference = next((raster.georeference for raster in rasters if raster.georeference), None)
        self.control_points = None if self.georeference else first.control_points
        names = (f"{Path(raster.path).name}: {raster.nodata_source}" for raster in rasters if raster.nodata_source)
        self.nodata_source = "; ".join(names)
        self.remarks = tuple(f"{Path(raster.path).name}: {text}" for raster in rasters for text in raster.remarks)
        if any(raster.scaling for raster in rasters):
            unscaled = Scaling(1.0, 0.0)
            self.scaling = tuple(s for r in rasters for s in r.scaling or (unscaled,) * len(r.band_names))
        self._rasters = tuple(rasters)
        self._places = [(raster, band) for raster in rasters for band in range(len(raster.band_names))]

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)). Raises InputError when one of the files is damaged."""
        require_inside(window, self.shape, self.path)
        pixels = np.empty((*window.shape, len(bands)), self.dtype)
        for raster, places, inner in self._by_raster(bands):
            pixels[..., places] = raster.read(window, inner)
        return pixels

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where any of the files has no data in any of `bands`."""
        require_inside(window, self.shape, self.path)
        valid = np.ones(window.shape, bool)
        for raster, _, inner in self._by_raster(bands):
            valid &= raster.valid(window, inner)
        return valid

    def part(self, band: int) -> tuple[Raster, int]:
        """The raster, on the common grid, that holds `band`, and the number of the band in it."""
        return self._places[band]

    def _by_raster(self, bands: Sequence[int]) -> list[tuple[Raster, list[int], list[int]]]:
        """For each raster needed: the places of its bands in the result, and what the raster itself calls them."""
        found = []
        for raster in self._rasters:
            places = [place for place, band in enumerate(bands) if self._places[band][0] is raster]
            if places:
                found.append((raster, places, [self._places[bands[place]][1] for place in places]))
        return found


def _on_grid(raster: Raster, target: Raster, resampling: Sequence[str], nodata: float | None) -> Raster:
    if raster is target or same_grid(raster, target):
        return raster
    sizes = f"{raster.path}: is {_size(raster)} where {target.path} is {_size(target)}"
    if raster.georeference is None or target.georeference is None:
        raise InputError(f"{sizes}, and without georeference cannot be placed on it; give files of one shape")
    if (raster.georeference.crs is None) != (target.georeference.crs is None):
        raise InputError(f"{sizes}, and only one of them has a CRS; assign it to the other (gdal_edit -a_srs)")
    if not isinstance(raster, RasterioRaster):
        raise InputError(f"{sizes}, and only files that rasterio opens can be resampled; save it as a GeoTIFF")
    return WarpedRaster(raster, target.georeference, target.shape, resampling, nodata)


def _size(raster: Raster) -> str:
    return f"{raster.shape[0]}x{raster.shape[1]} pixels"


def _crs(georeference: Georeference) -> CRS | None:
    return CRS.from_wkt(georeference.crs) if georeference.crs else None
