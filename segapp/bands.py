"""Spectral bands: what they are called, where they lie in the spectrum, and how counts become reflectance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import isfinite

from pydantic import BaseModel, ConfigDict

# Centre wavelengths in nanometres, Landsat 8/9 OLI and TIRS (USGS) with Sentinel-2's red edge (ESA).
WAVELENGTHS_NM = {
    "coastal": 443.0,
    "blue": 482.0,
    "green": 561.0,
    "red": 655.0,
    "red_edge_1": 705.0,
    "red_edge_2": 740.0,
    "red_edge_3": 783.0,
    "nir": 865.0,
    "cirrus": 1373.0,
    "swir1": 1609.0,
    "swir2": 2201.0,
    "thermal": 10895.0,
}
WAVELENGTH_TOLERANCE = 0.05
"""Bands of two sensors are the same band if their centres differ by no more than this share of the wavelength."""
_NUMBERED = re.compile(r"(?:(?:band|b|channel|layer)_?)?\d+")


class Band(BaseModel):
    """One band of a scene as a network sees it.

    A stored count becomes a physical value as ``count * scale + offset``, in `unit`
    ("reflectance" runs from 0 to 1; "digital number" says that nothing is known of the scale).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    wavelength_nm: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "digital number"


def known_wavelength(name: str) -> float | None:
    """Centre wavelength in nm of a band with a customary name ("blue", "nir", ...), or None."""
    return WAVELENGTHS_NM.get(canonical_name(name))


def canonical_name(name: str) -> str:
    """A band name in one spelling, so that "NIR", "nir" and "Red Edge 1" are found: lower case, underscores."""
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def names_of(bands: Iterable[Band]) -> list[str]:
    """The bands' names, in order."""
    return [band.name for band in bands]


def require_usable(bands: Sequence[Band]) -> None:
    """Raise ValueError, saying what to do, where two bands have one name or one has a scale that makes no value."""
    names = [canonical_name(band.name) for band in bands]
    for band, name in zip(bands, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"'{band.name}' is there twice; give each band a name of its own")
        if not (isfinite(band.scale) and isfinite(band.offset)) or band.scale == 0:
            raise ValueError(
                f"'{band.name}' has the scale {band.scale:g} and the offset {band.offset:g}, which make no value; "
                "give the sensor's"
            )


def match_bands(base: Sequence[Band], new: Sequence[Band]) -> tuple[int | None, ...]:
    """For each of the `new` bands the index of the `base` band it corresponds to, or None; each is used once at most.

    Bands match by name, the rest by centre wavelength within `WAVELENGTH_TOLERANCE`, nearest pairs first. Names that
    merely count ("3", "band_3", "B3") say nothing across sensors; they match only where both lists of names are equal.
    """
    base_names = [canonical_name(band.name) for band in base]
    new_names = [canonical_name(band.name) for band in new]
    if base_names == new_names:
        return tuple(range(len(base)))
    matches: dict[int, int] = {}
    for position, name in enumerate(new_names):
        if name in base_names and not _NUMBERED.fullmatch(name) and base_names.index(name) not in matches.values():
            matches[position] = base_names.index(name)
    distances = sorted(
        (abs(ours - theirs) / ours, index, position)
        for index, ours in enumerate(map(_centre, base))
        for position, theirs in enumerate(map(_centre, new))
        if ours and theirs and abs(ours - theirs) <= WAVELENGTH_TOLERANCE * ours
    )
    for _, index, position in distances:
        if position not in matches and index not in matches.values():
            matches[position] = index
    return tuple(matches.get(position) for position in range(len(new)))


def _centre(band: Band) -> float | None:
    """A band's centre wavelength in nm, stated or customary."""
    return known_wavelength(band.name) if band.wavelength_nm is None else band.wavelength_nm
