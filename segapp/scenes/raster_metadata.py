"""What a raster file says of its pixels: where they lie, wavelengths, scales, alpha, nodata, lossy compression."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from rasterio import windows as rasterio_windows
from rasterio._err import CPLE_BaseError  # GDAL's errors where rasterio does not wrap them
from rasterio.enums import ColorInterp, MaskFlags

from segapp.bands import in_nanometres
from segapp.scenes.raster import Georeference, Scaling, known_unit

ALPHA_AS_DATA = "band 4 is alpha by its colour interpretation, but has many values: it is read as data"


def georeference_of(dataset: Any) -> Georeference | None:
    """CRS and transform; None where the file states neither."""
    if dataset.crs is None and dataset.transform.is_identity:
        return None
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(dataset.transform)[:6])


def wavelengths_of(dataset: Any) -> tuple[float | None, ...]:
    """The centre wavelength in nm that the file states of each band, as ENVI headers do; empty where it states none."""
    found = []
    for band in dataset.indexes:
        tags, imagery = dataset.tags(band), dataset.tags(band, ns="IMAGERY")
        stated = next((tags[key] for key in ("wavelength", "WAVELENGTH", "Wavelength") if key in tags), None)
        unit = tags.get("wavelength_units") or tags.get("WAVELENGTH_UNITS")
        if stated is None:
            stated, unit = imagery.get("CENTRAL_WAVELENGTH_UM"), "um"
        try:
            found.append(in_nanometres(float(stated), unit) if stated is not None else None)
        except ValueError:
            found.append(None)
    return tuple(found) if any(found) else ()


def scaling_of(dataset: Any) -> tuple[Scaling, ...]:
    """The scale, offset and unit that the file states of each band; empty where it states neither scale nor offset."""
    factor = dataset.tags(ns="ENVI").get("reflectance_scale_factor")
    try:
        scale = 1 / float(factor) if factor else 1.0
    except (ValueError, ZeroDivisionError):
        scale = 1.0
    stated = zip(dataset.scales, dataset.offsets, dataset.units, strict=True)
    found = tuple(Scaling(own if own != 1 else scale, offset, known_unit(unit)) for own, offset, unit in stated)
    return found if any((entry.scale, entry.offset) != (1, 0) for entry in found) else ()


def alpha_of(dataset: Any) -> int | None:
    """The band that is alpha by its colour interpretation.

    GDAL calls the fourth band of 8-bit files alpha unless its creator says otherwise, also where it is near infrared.
    There its values decide, in samples of the image.
    """
    colors = colors_of(dataset)
    if ColorInterp.alpha not in colors or dataset.count == 1:
        return None
    band = colors.index(ColorInterp.alpha)
    if dataset.count == 4 and dataset.dtypes[band] == "uint8":
        values = np.concatenate([dataset.read(band + 1, window=place).ravel() for place in _samples(dataset)])
        if not looks_like_alpha(values):
            return None
    return band


def colors_of(dataset: Any) -> tuple[ColorInterp, ...]:
    """The colour interpretation of each band."""
    with suppress(CPLE_BaseError):  # rasterio raises here an earlier error of GDAL, of whatever file, once
        return dataset.colorinterp
    return dataset.colorinterp


def looks_like_alpha(values: np.ndarray) -> bool:
    """Whether most of the uint8 values that are not 0 are one value, as 255: measurements are not."""
    counts = np.bincount(values.ravel(), minlength=256)[1:]
    return bool(2 * counts.max() >= counts.sum())


def _samples(dataset: Any) -> Iterator[rasterio_windows.Window]:
    """Five windows of an image: in its middle and in the middle of its quarters."""
    for row, col in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
        top, left = dataset.height * row // 4, dataset.width * col // 4
        yield rasterio_windows.Window(left, top, min(64, dataset.width - left), min(64, dataset.height - top))


def is_lossy(dataset: Any) -> bool:
    """Whether the file is compressed such that its numbers have changed."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    return (
        dataset.driver == "JPEG"
        or "JPEG" in structure.get("COMPRESSION", "")
        or structure.get("COMPRESSION_REVERSIBILITY") == "LOSSY"
        or float(structure.get("MAX_Z_ERROR", 0)) > 0
    )


def nodata_source_of(dataset: Any, alpha: int | None) -> str:
    """By what pixels have no data, in words, with the band `alpha`, counted from 0; "" where nothing says so."""
    values = dict.fromkeys(value for value in dataset.nodatavals if value is not None)
    sources = [f"nodata {', '.join(f'{value:g}' for value in values)}"] if values else []
    flags = {flag for flags in dataset.mask_flag_enums for flag in flags}
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        sources.append("mask")
    if alpha is not None:
        sources.append(f"alpha (band {alpha + 1})")
    return " and ".join(sources)
