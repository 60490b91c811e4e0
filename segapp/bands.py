"""Spectral bands: what they are called, where they lie in the spectrum, and how counts become reflectance."""

from __future__ import annotations

from collections.abc import Iterable

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
