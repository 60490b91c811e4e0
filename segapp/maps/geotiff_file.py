"""Telling whole GeoTIFF files from those a full disk cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError

from segapp.scenes.geotiff import open_quietly


def require_complete(file: Path) -> None:
    """Raises OSError unless every block of a GeoTIFF lies inside the file.

    GDAL closes a file on a full disk without a word.
    """
    size = file.stat().st_size
    try:
        with open_quietly(file) as dataset:
            height, width = dataset.block_shapes[0]
            rows, columns = -(-dataset.height // height), -(-dataset.width // width)
            blocks = (
                (band, row, column) for band in dataset.indexes for row in range(rows) for column in range(columns)
            )
            if all(_stop_of_block(dataset, *block) <= size for block in blocks):
                return
    except RasterioError:
        pass
    raise OSError("it is cut off")


def _stop_of_block(dataset: Any, band: int, row: int, column: int) -> float:
    """The first byte behind a block in the file; infinite for a block that is not there."""
    offset, length = (dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", band) for what in ("OFFSET", "SIZE"))
    return int(offset) + int(length) if offset and length else float("inf")
