"""GeoTIFFs whose blocks make reading by window slow, copied to tiles for as long as they are read."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio import windows as rasterio_windows
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from segapp.errors import InputError
from segapp.locks import locked
from segapp.scenes.geotiff import CACHE_BYTES, RasterioRaster, close_idle, open_quietly
from segapp.scenes.raster_metadata import colors_of
from segapp.windows import grid, round_up, whole

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Half of GDAL's cache: the other half is for what is written meanwhile.
_HELD_BYTES = CACHE_BYTES // 2
# Measured on 2000x12000x6 uint16: fetching a pixel of an uncompressed strip takes a tenth of inflating one, and a copy
# is made and read in the time of inflating two.
_COST_UNCOMPRESSED = 0.1
_COST_OF_COPY = 2.0
_CHUNK_BYTES = 32 << 20


def slow_to_read(file: Path, tile: int) -> bool:
    """Whether a copy in tiles is worth its time where windows of `tile` x `tile` pixels are read, row by row.

    It is where a row of windows touches more strips than GDAL's cache holds, so that every window decodes them anew,
    and decodes more than twice the pixels it asks for (uncompressed: twenty times). False for what is no TIFF, and
    for tiled files. Raises InputError when a TIFF cannot be opened.
    """
    if not _is_tiff(file):
        return False
    raster = RasterioRaster(file)
    with raster.dataset() as dataset:
        block_height, block_width = dataset.block_shapes[0]
        count, compressed = dataset.count, dataset.compression is not None
    height, width = raster.shape
    if raster.pages > 1 or block_width < width or height * width * count * raster.dtype.itemsize <= CACHE_BYTES:
        return False
    rows = min(height, round_up(tile + block_height - 1, block_height))  # of the strips that a window touches
    if rows * width * count * raster.dtype.itemsize <= _HELD_BYTES:
        return False
    decoded_per_pixel = rows * width / (min(tile, height) * min(tile, width))
    return decoded_per_pixel * (1.0 if compressed else _COST_UNCOMPRESSED) > _COST_OF_COPY


@contextmanager
def quick_to_read(file: Path, tile: int, folder: Path) -> Iterator[Path]:
    """`file` itself, or where it is `slow_to_read` a temporary copy in tiles, uncompressed, of the same name.

    The copy lies in a folder of its own in `folder` and is gone at the end, whatever happens; what a process that was
    killed left there of the same file goes too. It has the pixels, band names, nodata, mask and georeference of `file`.
    Raises InputError naming `folder` where it does not fit there.
    """
    if not slow_to_read(file, tile):
        yield file
        return
    prefix = f".{file.name}.tiles-"
    with _naming(folder, file):
        for left in folder.glob(f"{glob.escape(prefix)}*"):
            with locked(left) as ours:
                if ours:  # whose process was killed
                    shutil.rmtree(left, ignore_errors=True)
        temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=folder)
    with temporary, locked(Path(temporary.name)):
        copy = Path(temporary.name) / file.name
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_TIFF_INTERNAL_MASK=True), _naming(folder, file):
                _copy(RasterioRaster(file), copy)
            yield copy
        finally:
            close_idle(copy)


def _copy(source: RasterioRaster, copy: Path) -> None:
    """Raises RasterioError or OSError where `copy` cannot be written, InputError where `source` cannot be read."""
    with source.dataset() as dataset:
        profile = {"crs": dataset.crs, "transform": dataset.transform, "nodata": dataset.nodata}
        colors, names, flags = colors_of(dataset), dataset.descriptions, dataset.mask_flag_enums[0]
        block_height = dataset.block_shapes[0][0]
    (height, width), count = source.shape, len(source.band_names)
    line = width * source.dtype.itemsize
    size = height * line * count
    if shutil.disk_usage(copy.parent).free < size:
        raise OSError(f"{size >> 20} MiB are needed")
    with copy.open("wb") as probe:  # a limit on the size of files is reported here in one line, by GDAL in many
        probe.truncate(size)
    side = next(side for side in (256, 128, 64) if side * line <= _CHUNK_BYTES or side == 64)
    # Taller strips are too large to stay in the cache from one chunk to the next: a chunk is a strip.
    rows = side if block_height * line * count <= _HELD_BYTES else max(side, block_height)
    profile |= {"height": height, "width": width, "count": count, "dtype": source.dtype, "bigtiff": "if_safer"}
    profile |= {"tiled": True, "blockxsize": side, "blockysize": side, "interleave": "band"}
    profile |= {"photometric": "minisblack"}  # left to itself GDAL takes the last of four uint8 bands for alpha
    with open_quietly(copy, "w", driver="GTiff", **profile) as target:
        if ColorInterp.alpha in colors:
            target.colorinterp = colors
        target.descriptions = names
        for window in grid(whole(source.shape), rows, width):
            place = rasterio_windows.Window(window.col, window.row, window.width, window.height)
            for band in range(count):
                target.write(source.read(window, [band])[..., 0], band + 1, window=place)
            if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
                target.write_mask(source.valid(window, range(count)), window=place)  # without alpha, a band of its own
    if copy.stat().st_size < size:  # not every failed write is reported
        raise OSError("no space left")


@contextmanager
def _naming(folder: Path, file: Path) -> Iterator[None]:
    """Turns what goes wrong while a copy of `file` is written to `folder` into InputError."""
    try:
        yield
    except (RasterioError, OSError) as error:
        reason: Any = getattr(error, "strerror", None) or error.__cause__ or error
        raise InputError(
            f"{folder}: cannot hold a temporary copy of {file}, which is slow to read as it is ({reason}); free some "
            f"space, or tile the file yourself (gdal_translate -co TILED=YES)"
        ) from None


def _is_tiff(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(4) in _TIFF_SIGNATURES
    except OSError:  # who opens it as a scene says what is wrong
        return False
