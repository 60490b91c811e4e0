"""Cloud Optimized GeoTIFF, made by translating a finished file: GDAL's COG driver cannot write by window."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import rasterio
from rasterio import shutil

from segapp.maps.geotiff_file import require_complete

Resampling = Literal["nearest", "mode", "average"]


def translate_to_cog(source: Path, target: Path, resampling: Resampling) -> None:
    """Write the finished GeoTIFF `source` to `target` with the same pixels, metadata, colours and names.

    `resampling` makes the overviews: "nearest" or "mode" for classes, "average" for quantities. Raises OSError or
    rasterio's errors when that fails or is cut off.
    """
    with rasterio.Env():
        shutil.copy(
            source,
            target,
            driver="COG",
            COMPRESS="DEFLATE",
            PREDICTOR="YES" if resampling == "average" else "NO",
            BIGTIFF="IF_SAFER",
            OVERVIEW_RESAMPLING=resampling,
            NUM_THREADS="ALL_CPUS",
        )
        require_complete(target)
