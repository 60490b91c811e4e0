"""PNG and JPEG pictures through scikit-image; a palette is turned into its colours."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
from imageio.v3 import improps
from PIL.Image import DecompressionBombError, DecompressionBombWarning
from skimage import io

from segapp.errors import InputError
from segapp.scenes.geotiff import RasterioRaster, without_warnings
from segapp.scenes.memory import DecodedRaster
from segapp.scenes.raster_metadata import ALPHA_AS_DATA, looks_like_alpha
from segapp.windows import whole

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# what Pillow, which does the decoding, raises for damaged files: SyntaxError is its word for a broken PNG chunk
_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error)


def open_picture(path: Path) -> DecodedRaster:
    """A grey or colour picture, decoded as a whole at the first read; alpha that is no fourth band is a mask.

    Raises InputError when it is no picture or truncated.
    """
    try:
        with without_warnings(DecompressionBombWarning):
            properties = improps(path, plugin="pillow")
    except _ERRORS as error:
        if isinstance(error.__cause__, DecompressionBombError):
            raise InputError(f"{path}: has too many pixels for a picture; save it as a tiled GeoTIFF") from None
        raise InputError(f"{path}: cannot be read as a picture ({error}); write or copy it again") from None
    shape = properties.shape
    alpha = _is_png(path) and len(shape) == 3 and shape[2] in (2, 4)
    raster = DecodedRaster(str(path), shape, properties.dtype, lambda: _decode(path), alpha=alpha)
    with suppress(InputError):  # a world file beside it, or an .aux.xml
        raster.georeference = RasterioRaster(path).georeference
    if raster.alpha is not None:
        if looks_like_alpha(raster.read(whole(raster.shape), [raster.alpha])):
            raster.nodata_source = f"alpha (band {raster.alpha + 1})"
        else:  # near infrared beside red, green and blue
            raster.alpha, raster.remarks = None, (ALPHA_AS_DATA,)
    return raster


def loses_depth(path: Path) -> bool:
    """Whether `path` is a PNG of 16-bit colours, which Pillow would cut down to 8 bits."""
    with path.open("rb") as file:
        header = file.read(26)
    # the bit depth and the colour type stand at bytes 24 and 25 (PNG specification, IHDR); type 0 is grey
    return header.startswith(_PNG_SIGNATURE) and len(header) == 26 and header[24] == 16 and header[25] != 0


def require_complete(path: Path) -> None:
    """Raises InputError when `path` is a PNG whose chunks stop before the last, IEND: GDAL would make up the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        kind = b"" if file.read(8) == _PNG_SIGNATURE else b"IEND"
        while kind != b"IEND":
            length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
            if file.seek(length + 4, 1) > size:  # behind the chunk and its checksum
                raise InputError(f"{path}: cannot be read as a picture (it is cut off); write or copy it again")


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == _PNG_SIGNATURE


def _decode(path: Path) -> np.ndarray:
    try:
        with without_warnings(DecompressionBombWarning):
            return np.asarray(io.imread(path))
    except _ERRORS as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}); write or copy it again") from None
