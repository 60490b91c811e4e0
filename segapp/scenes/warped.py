"""A raster file on another grid, resampled as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine, array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from segapp.errors import InputError
from segapp.scenes.geotiff import HANDLES, NO_GEOREFERENCE, RasterioRaster, of_rasterio, without_warnings
from segapp.scenes.memory import require_inside
from segapp.scenes.raster import Georeference, Raster
from segapp.windows import Window

# Rasters with a transform but no CRS can be resampled onto each other; GDAL only needs some CRS.
_ANY_CRS = 'LOCAL_CS["unknown",UNIT["metre",1]]'


@dataclass(frozen=True)
class _Warp:
    """How one band of a file is resampled: to `shape` (H, W) pixels placed by `georeference`."""

    georeference: Georeference
    shape: tuple[int, int]
    resampling: str
    nodata: float | None
    band: int


class WarpedRaster(Raster):
    """The bands of `source` on the grid of `georeference` and `shape` (H, W), resampled as they are read.

    `resampling` has one of rasterio's names ("nearest", "bilinear", "cubic", "average", ...) a band. Pixels that the
    file does not cover, or whose centre has no data in the file, are invalid, and no value without data enters an
    interpolation: nodata values, masks and alpha of the file, NaN, and `nodata`. Where only one of the two grids has a
    CRS, both are taken to have it. Raises InputError when the two do not overlap.
    """

    def __init__(
        self,
        source: RasterioRaster,
        georeference: Georeference,
        shape: tuple[int, int],
        resampling: Sequence[str],
        nodata: float | None = None,
    ) -> None:
        self.path = source.path
        self.shape = shape
        self.dtype = source.dtype
        self.band_names, self.wavelengths_nm = source.band_names, source.wavelengths_nm
        self.georeference = georeference
        self.scaling, self.nodata_source = source.scaling, source.nodata_source
        self.nodata_values, self.lossy = source.nodata_values, source.lossy
        self._source = source
        self._place = _turned(source, georeference, shape)
        # a nodata value of the reflectances is none of flags and classes
        self._warps = [
            _Warp(georeference, shape, method, None if method == "nearest" else nodata, band)
            for band, method in enumerate(resampling)
        ]
        with self._dataset(0):  # says now what cannot be placed
            pass

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window` as (h, w, len(bands)) in the file's dtype; 0, or NaN, where there is no data."""
        pixels = np.stack([self._read_band(band, window) for band in bands], axis=-1)
        if self.dtype.kind == "f":
            return pixels.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype if self.dtype.kind != "b" else np.uint8)
        return np.clip(np.rint(np.nan_to_num(pixels, copy=False)), limits.min, limits.max).astype(self.dtype)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where any of `bands` has no data."""
        valid = np.ones(window.shape, bool)
        for band in bands:
            valid &= ~np.isnan(self._read_band(band, window))
        return valid

    def _read_band(self, band: int, window: Window) -> np.ndarray:
        """(h, w) float, NaN where there is no data."""
        require_inside(window, self.shape, self.path)
        with self._dataset(band) as dataset:
            return dataset.read(1, window=of_rasterio(window))

    def _dataset(self, band: int) -> AbstractContextManager[WarpedVRT]:
        warp = self._warps[band]
        return HANDLES.borrow((*self._source.key, warp), lambda: self._open(warp))

    def _open(self, warp: _Warp) -> WarpedVRT:
        transform = Affine(*self._place.transform)
        with self._source.dataset() as file, without_warnings(NO_GEOREFERENCE):
            source = rasterio.open(_without_data_as_nan(self._source, file, transform, warp))
        target = warp.georeference
        try:
            crs, target_crs = _both_crs(self._place.crs, target.crs)
            _require_overlap(self.path, crs, array_bounds(*self._source.shape, transform), target_crs, warp)
            sizes = _pixel_sizes(self.path, crs, self._place, target_crs, target, warp.shape)
            return WarpedVRT(
                source,
                src_crs=crs,
                crs=target_crs,
                transform=Affine(*target.transform),
                height=warp.shape[0],
                width=warp.shape[1],
                resampling=Resampling[warp.resampling],
                src_nodata=np.nan,
                nodata=np.nan,
                tolerance=1e-6,  # source pixels; an approximation would depend on the window, and 0 is refused
                # left to itself GDAL derives these from each piece that it warps, and pixels depend on the window
                XSCALE=1 / sizes[0],
                YSCALE=1 / sizes[1],
            )
        except BaseException:
            source.close()
            raise


def pixels_to_a_pixel(source: Raster, target: Raster) -> tuple[float, float]:
    """How many pixels of `source`, a side, one pixel in the middle of `target` covers: by its columns, by its rows.

    Both need a georeference. Raises InputError where the one cannot be transformed to the CRS of the other.
    """
    assert source.georeference and target.georeference
    crs, target_crs = _both_crs(source.georeference.crs, target.georeference.crs)
    return _pixel_sizes(source.path, crs, source.georeference, target_crs, target.georeference, target.shape)


def _both_crs(crs: str | None, other: str | None) -> tuple[CRS, CRS]:
    """The CRS of two rasters; where one has none, that of the other."""
    return CRS.from_wkt(crs or other or _ANY_CRS), CRS.from_wkt(other or crs or _ANY_CRS)


def _pixel_sizes(
    path: str, crs: CRS, source: Georeference, target_crs: CRS, target: Georeference, shape: tuple[int, int]
) -> tuple[float, float]:
    height, width = shape
    # the centre of the grid, and the pixels right of and below it
    columns, rows = np.array([width / 2, width / 2 + 1, width / 2]), np.array([height / 2, height / 2, height / 2 + 1])
    try:
        x, y = transform_points(target_crs, crs, *(Affine(*target.transform) * (columns, rows)))
    except (RasterioError, ValueError) as error:
        raise _not_resampled(path, error) from None
    columns, rows = ~Affine(*source.transform) * (np.array(x), np.array(y))
    spans = [max(float(np.ptp(columns[[0, i]])), float(np.ptp(rows[[0, i]])), 1e-9) for i in (1, 2)]
    return spans[0], spans[1]


def _require_overlap(path: str, crs: CRS, bounds: Sequence[float], target_crs: CRS, warp: _Warp) -> None:
    """Raises InputError where file and grid do not overlap."""
    try:
        left, bottom, right, top = transform_bounds(crs, target_crs, *_sorted(bounds))
    except (RasterioError, ValueError) as error:
        raise _not_resampled(path, error) from None
    west, south, east, north = _sorted(array_bounds(*warp.shape, Affine(*warp.georeference.transform)))
    beside = left <= right and (left >= east or right <= west)  # not across the date line, where east is less
    if beside or bottom >= north or top <= south:
        raise InputError(f"{path}: does not overlap the image that it belongs to; give files of one place and one CRS")


def _not_resampled(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be resampled to another grid ({error}); reproject it first")


def _sorted(bounds: Sequence[float]) -> tuple[float, float, float, float]:
    """West, south, east and north, also of a raster whose rows run north or whose columns run west."""
    x1, y1, x2, y2 = bounds
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _turned(source: RasterioRaster, target: Georeference, shape: tuple[int, int]) -> Georeference:
    """The georeference of `source`, in degrees by as many full turns moved as bring it to the grid of `target`.

    Raises InputError where the grid lies on both sides of where `source`, in degrees, is cut.
    """
    assert source.georeference
    if not all(place.crs and CRS.from_wkt(place.crs).is_geographic for place in (source.georeference, target)):
        return source.georeference
    a, b, c, d, e, f = source.georeference.transform
    west, _, east, _ = _sorted(array_bounds(*source.shape, Affine(a, b, c, d, e, f)))
    first, _, last, _ = _sorted(array_bounds(*shape, Affine(*target.transform)))
    shared = {turn: min(east + turn, last) - max(west + turn, first) for turn in (0.0, 360.0, -360.0)}
    best = max(shared, key=shared.__getitem__)
    whole = shared[best] >= last - first - abs(target.transform[0])
    if not whole and sum(length > abs(a) / 2 for length in shared.values()) > 1:
        raise InputError(
            f"{source.path}: is cut where the image goes on, at 180 degrees; reproject the image, as to UTM, or cut it "
            "there, too"
        )
    return Georeference(source.georeference.crs, (a, b, c + best, d, e, f))


def _without_data_as_nan(raster: RasterioRaster, dataset: Any, transform: Affine, warp: _Warp) -> str:
    """A VRT document of one band in floats that is NaN where there is no data, for whatever reason.

    GDAL's warper looks at nodata values or at a mask, not at both, and at alpha in files of 2 or 4 bands only.
    """
    small = raster.dtype.itemsize <= 2 or raster.dtype == np.float32
    kind, path, band = "Float32" if small else "Float64", str(Path(raster.path).absolute()), warp.band + 1
    source, masked = _source(path, band), raster.masked[warp.band]
    if raster.alpha is not None and raster.alpha != warp.band:
        mask = f"<SimpleSource>{_source(path, raster.alpha + 1)}</SimpleSource>"
        band_of_mask = f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
        source = _source(_document(dataset, transform, kind, f"<SimpleSource>{source}</SimpleSource>", band_of_mask), 1)
        masked = True
    use_mask = "<UseMaskBand>true</UseMaskBand>" if masked else ""
    document = _document(dataset, transform, kind, f"<ComplexSource>{source}{use_mask}</ComplexSource>")
    if warp.nodata is not None:
        without = f"<NODATA>{warp.nodata!r}</NODATA>"
        document = _document(
            dataset, transform, kind, f"<ComplexSource>{_source(document, 1)}{without}</ComplexSource>"
        )
    return document


def _document(dataset: Any, transform: Affine, kind: str, source: str, mask: str = "") -> str:
    placed = ", ".join(map(repr, transform.to_gdal()))
    return (
        f'<VRTDataset rasterXSize="{dataset.width}" rasterYSize="{dataset.height}"><GeoTransform>{placed}'
        f'</GeoTransform><VRTRasterBand dataType="{kind}" band="1"><NoDataValue>nan</NoDataValue>{source}'
        f"</VRTRasterBand>{mask}</VRTDataset>"
    )


def _source(path: str, band: int) -> str:
    return (
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(path)}</SourceFilename><SourceBand>{band}</SourceBand>'
    )
