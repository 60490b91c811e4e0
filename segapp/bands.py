"""Spectral bands: their names, their centre wavelengths, and how counts become reflectance."""

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
_WAVELENGTHS_BY_NAME = {name.replace("_", ""): length for name, length in WAVELENGTHS_NM.items()}
_WAVELENGTHS_BY_NAME |= {
    alias: WAVELENGTHS_NM[name]
    for name, aliases in {
        "coastal": "coastalaerosol coastalblue ultrablue",
        "nir": "nearinfrared nir08",
        "swir1": "swir16 shortwaveinfrared1",
        "swir2": "swir22 shortwaveinfrared2",
        "thermal": "tir lwir",
    }.items()
    for alias in aliases.split()
}
# Centre wavelengths by band number: ESA (Sentinel-2), USGS (Landsat), NASA (MODIS)
_SENSORS = {
    "Sentinel-2": {
        "1": 443, "2": 490, "3": 560, "4": 665, "5": 705, "6": 740, "7": 783, "8": 842, "8a": 865, "9": 945,
        "10": 1375, "11": 1610, "12": 2190,
    },
    "Landsat 8/9": {
        "1": 443, "2": 482, "3": 561, "4": 655, "5": 865, "6": 1609, "7": 2201, "8": 590, "9": 1373, "10": 10895,
        "11": 12005,
    },
    "Landsat 4-7": {"1": 485, "2": 560, "3": 660, "4": 835, "5": 1650, "6": 11450, "7": 2220, "8": 710},
}  # fmt: skip
_MODIS = {"1": 645, "2": 858, "3": 469, "4": 555, "5": 1240, "6": 1640, "7": 2130}
_PRODUCTS = {
    "Sentinel-2": re.compile(r"(?:^|[^A-Z])(?:S2[A-D]_|T\d{2}[A-Z]{3}_\d{8}|HLS\.S30|SENTINEL-?2)", re.IGNORECASE),
    "Landsat 8/9": re.compile(r"(?:^|[^A-Z])(?:L[COT]0[89]_|HLS\.L30|LANDSAT_?[89])", re.IGNORECASE),
    "Landsat 4-7": re.compile(r"(?:^|[^A-Z])(?:L[TEM]0[4-7]_|LANDSAT_?[4-7])", re.IGNORECASE),
}
"""The sensor by the name of a product's files."""
_SENSOR_BAND = re.compile(r"(?:(?:sr|st|toa)_)?b0*(\d{1,2}a?)(?:_\d{2}m)?")
_MODIS_BAND = re.compile(r"sur_refl_b0?(\d)")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(nanomet\w+|nm|micromet\w+|microns?|um|\N{MICRO SIGN}m)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:(?:band|b|channel|layer)_?)?\d+")


class Band(BaseModel):
    """One band of a scene as a network sees it.

    A stored count becomes a physical value as ``count * scale + offset``, in `unit`
    ("reflectance" is 0 to 1; "digital number" means that the scale is unknown).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    wavelength_nm: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "digital number"


def known_wavelength(name: str) -> float | None:
    """Centre wavelength in nm of a band with a customary name ("blue", "nir", "swir16", ...), or None."""
    return _WAVELENGTHS_BY_NAME.get(canonical_name(name).replace("_", ""))


def in_nanometres(length: float, unit: str | None = None) -> float | None:
    """A wavelength in nm. Without a known unit, values below 100 are micrometres. None where it is no wavelength."""
    unit = (unit or "").strip().lower()
    micrometres = unit.startswith(("micro", "um", "\N{MICRO SIGN}")) or (not unit.startswith("n") and length < 100)
    length = length * 1000 if micrometres else length
    return round(length, 3) if 100 <= length <= 20_000 else None


def name_wavelengths(names: Sequence[str | None], file: str = "") -> list[tuple[float | None, ...]]:
    """Centre wavelengths in nm by the bands' names, None where a name has none: one list for each possible sensor.

    "B4" is a different band of Sentinel-2, of Landsat 8 and of Landsat 7. All names together, and the name of the
    `file` where it is that of a product, leave out sensors.
    """
    lowered = [canonical_name(name or "") for name in names]
    codes = [code[1] if (code := _SENSOR_BAND.fullmatch(name)) else None for name in lowered]
    fixed = [_fixed_wavelength(name or "", low) for name, low in zip(names, lowered, strict=True)]
    product = [sensor for sensor, pattern in _PRODUCTS.items() if pattern.search(file)]
    tables = [table for sensor, table in _SENSORS.items() if sensor in (product or _SENSORS)]
    fitting = [table for table in tables if all(code is None or code in table for code in codes)]
    if not any(codes) or not fitting:
        return [_lengths_as_names(lowered) or tuple(fixed)]
    return [
        tuple(float(table[code]) if code else known for code, known in zip(codes, fixed, strict=True))
        for table in fitting
    ]


def agreed_wavelengths(readings: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """The centre wavelength of each band where all `readings` agree within `WAVELENGTH_TOLERANCE`, else None."""
    return tuple(
        each[0] if all(near(each[0], other) for other in each) else None for each in zip(*readings, strict=True)
    )


def near(one: float | None, other: float | None) -> bool:
    """Whether two centre wavelengths are known and those of one band."""
    return one is not None and other is not None and abs(one - other) <= WAVELENGTH_TOLERANCE * max(one, other)


def _fixed_wavelength(name: str, canonical: str) -> float | None:
    """The wavelength that a name has for every sensor: a customary name, a length with its unit, a MODIS band."""
    if modis := _MODIS_BAND.fullmatch(canonical):
        return _MODIS.get(modis[1])
    if length := _LENGTH.search(name):
        return in_nanometres(float(length[1]), length[2])
    return known_wavelength(name)


def _lengths_as_names(names: Sequence[str]) -> tuple[float | None, ...] | None:
    """The wavelengths where all names are plain numbers in the range of optical sensors, in nm or in micrometres."""
    try:
        lengths = [float(name) for name in names]
    except ValueError:
        return None
    if len(lengths) < 2 or not all(350 <= (x * 1000 if x < 100 else x) <= 2600 for x in lengths):
        return None
    return tuple(in_nanometres(length) for length in lengths)


def canonical_name(name: str) -> str:
    """A band name in one spelling, so that "NIR", "nir" and "Red Edge 1" are found: lower case, underscores."""
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def names_of(bands: Iterable[Band]) -> list[str]:
    """The bands' names, in order."""
    return [band.name for band in bands]


def require_usable(bands: Sequence[Band]) -> None:
    """Raise ValueError with a remedy where two bands have one name, or a scale makes no value."""
    names = [canonical_name(band.name) for band in bands]
    for band, name in zip(bands, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"two bands are named '{band.name}'; give each band its own name")
        if not (isfinite(band.scale) and isfinite(band.offset)) or band.scale == 0:
            raise ValueError(
                f"'{band.name}' has the scale {band.scale:g} and the offset {band.offset:g}; give those of the sensor"
            )


def match_bands(base: Sequence[Band], new: Sequence[Band]) -> tuple[int | None, ...]:
    """For each of the `new` bands the index of the `base` band it corresponds to, or None; each is used once at most.

    Bands match by name, the rest by centre wavelength within `WAVELENGTH_TOLERANCE`, nearest pairs first. Numbers as
    names ("3", "band_3", "B3") mean nothing across sensors; they match only where both lists of names are equal and no
    wavelength contradicts.
    """
    base_names = [canonical_name(band.name) for band in base]
    new_names = [canonical_name(band.name) for band in new]
    centres = [(centre_of(ours), centre_of(theirs)) for ours, theirs in zip(base, new, strict=False)]
    if base_names == new_names and not any(one and other and not near(one, other) for one, other in centres):
        return tuple(range(len(base)))
    matches: dict[int, int] = {}
    for position, name in enumerate(new_names):
        counts = _NUMBERED.fullmatch(name) or _SENSOR_BAND.fullmatch(name)
        if name in base_names and not counts and base_names.index(name) not in matches.values():
            matches[position] = base_names.index(name)
    distances = sorted(
        (abs(ours - theirs) / ours, index, position)
        for index, ours in enumerate(map(centre_of, base))
        for position, theirs in enumerate(map(centre_of, new))
        if ours and theirs and abs(ours - theirs) <= WAVELENGTH_TOLERANCE * ours
    )
    for _, index, position in distances:
        if position not in matches and index not in matches.values():
            matches[position] = index
    return tuple(matches.get(position) for position in range(len(new)))


def is_numbered(name: str) -> bool:
    """Whether a name is a number, as those that segapp gives to bands without one."""
    return _NUMBERED.fullmatch(canonical_name(name)) is not None


def centre_of(band: Band) -> float | None:
    """A band's centre wavelength in nm, stated or customary."""
    return known_wavelength(band.name) if band.wavelength_nm is None else band.wavelength_nm
