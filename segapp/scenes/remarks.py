"""What a user should know of how a scene is read: sentences for inspect, train and predict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from segapp.bands import Band, centre_of, near
from segapp.scenes.raster import Scaling

# a Sentinel-2 product's name; from processing baseline 04.00 its counts are 1000 higher
_PRODUCT = re.compile(r"S2[A-D]_MSIL[12][AC]_\d{8}T\d{6}_N(\d{4})_")
_BASELINE_WITH_OFFSET = 400


def replaced_scaling(bands: Sequence[Band], stated: Sequence[Scaling]) -> list[str]:
    """The first band that is read with another scale or offset than the file states."""
    for band, own in zip(bands, stated, strict=True):
        if (own.scale, own.offset) != (band.scale, band.offset):
            return [
                f"states scale {own.scale:g} and offset {own.offset:g} for {band.name}, but is read with scale "
                f"{band.scale:g} and offset {band.offset:g}, which were given"
            ]
    return []


def renamed_bands(bands: Sequence[Band], names: Sequence[str | None], lengths: Sequence[float | None]) -> list[str]:
    """The bands that are read under names of other wavelengths than the file's own names or wavelengths."""
    other = [
        f"{name or f'a band at {nm:g} nm'} as {band.name}"
        for band, name, nm in zip(bands, names, lengths, strict=True)
        if nm and centre_of(band) and not near(nm, centre_of(band))
    ]
    return [f"is read with other band names than its own: {', '.join(other[:6])}"] if other else []


def sentinel2_offset(bands: Sequence[Band], files: Sequence[str]) -> list[str]:
    """Whether reflectances of Sentinel-2 lack the offset that their product's name implies, or have one it does not."""
    baselines = [int(found[1]) for found in map(_PRODUCT.search, files) if found]
    if not baselines or {band.unit for band in bands} != {"reflectance"}:
        return []
    implied = min(baselines) >= _BASELINE_WITH_OFFSET
    if implied == any(band.offset for band in bands):
        return []
    offset = "-0.1 (1000 counts)" if implied else "0"
    return [f"is of Sentinel-2's processing baseline {min(baselines):04d} by its name, so its offset is {offset}"]


def fill_values(values: Sequence[float]) -> list[str]:
    """That numbers too large for measurements were found."""
    if not values:
        return []
    listed = ", ".join(f"{value:.6g}" for value in sorted(values))
    return [f"has numbers such as {listed}, which are no measurements and are taken as no data"]
