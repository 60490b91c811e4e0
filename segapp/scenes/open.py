"""Opening a raster file of any known format."""

from __future__ import annotations

from pathlib import Path

from segapp.errors import InputError
from segapp.scenes import arrays, hdf5, mat, picture
from segapp.scenes.arrays import Layout
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.local import require_local, require_own_contents
from segapp.scenes.raster import Raster
from segapp.scenes.stack import open_pages

_FORMATS = {
    ".mat": mat.open_mat,
    ".h5": hdf5.open_hdf5,
    ".hdf5": hdf5.open_hdf5,
    ".he5": hdf5.open_hdf5,
    ".npy": arrays.open_npy,
    ".npz": arrays.open_npz,
}
"""Formats that hold plain arrays. A new one is a line here: (path, variable, layout) -> Raster."""

LONGEST_SIDE = 1 << 24
"""Pixels: a map of the whole world has that many at 2.4 m. GDAL takes hours and all memory for what claims to be
longer, and so would whoever reads it to its end."""


def open_raster(
    path: Path, *, variable: str | None = None, layout: Layout | None = None, indexed: bool = False
) -> Raster:
    """Open `path` for reading by window; the suffix gives the format, and rasterio opens all that is not an array.

    `variable` names the array in a file that holds several (MAT, HDF5, NPZ), `layout` the order of its axes where its
    shape does not tell. `indexed` reads a palette image as the indexes, as masks want it, not as colours.

    Raises InputError when the file is missing, a folder, empty, truncated or of no known format, when it claims to be
    larger than any image, and when the variable or the layout has to be stated.
    """
    raster = _open(path, variable, layout, indexed)
    if max(raster.shape) > LONGEST_SIDE:
        height, width = raster.shape
        raise InputError(f"{path}: claims to be {height}x{width} pixels, which no image is; write or copy it again")
    return raster


def _open(path: Path, variable: str | None, layout: Layout | None, indexed: bool) -> Raster:
    require_local(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is not a file but a folder or device; name a raster file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; write or copy it again")
    require_own_contents(path)
    suffix = path.suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix](path, variable, layout)
    if variable is not None:
        raise InputError(f"{path}: holds no named variables; leave out the variable '{variable}'")
    if suffix in picture.SUFFIXES:
        if not indexed and not picture.loses_depth(path):
            return picture.open_picture(path)
        picture.require_complete(path)
    raster = RasterioRaster(path)
    return raster if raster.pages == 1 else open_pages(path, raster.pages)
