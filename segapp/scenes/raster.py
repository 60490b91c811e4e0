"""What every file format offers: a raster read by window, in the file's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from segapp.scenes.control_points import ControlPoints
from segapp.windows import Window


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: `crs` as WKT, and `transform`, the six affine coefficients (a, b, c, d, e, f) that map
    (column, row) of a pixel's top left corner to (x, y) in the units of the CRS."""

    crs: str | None
    transform: tuple[float, float, float, float, float, float]


class Scaling(NamedTuple):
    """What a file states of a band's numbers: ``number * scale + offset`` is the value in `unit`, if it names one."""

    scale: float
    offset: float
    unit: str | None = None


def known_unit(unit: str | None) -> str | None:
    """`unit` as a file spells it, or None where it names none: values without a dimension have "1" by CF."""
    return None if not unit or unit.strip().lower() in ("1", "none", "unitless", "dimensionless", "-") else unit.strip()


class Raster(Protocol):
    """A raster file, open for reading by window. Opening reads no pixels unless the format leaves no choice.

    Reading is safe from several threads at once. Bands are counted from 0 here; users count from 1.
    """

    path: str
    """What messages call this raster: the file's path, with the variable where there is one."""
    shape: tuple[int, int]
    """(H, W) in pixels."""
    dtype: np.dtype
    band_names: tuple[str | None, ...]
    """One entry a band: the band's description in the file, or None."""
    wavelengths_nm: tuple[float | None, ...] = ()
    """One entry a band where the file states centre wavelengths, else empty."""
    georeference: Georeference | None = None
    control_points: ControlPoints | None = None
    """What places the raster where it has no georeference; the pixels are not warped."""
    scaling: tuple[Scaling, ...] = ()
    """One entry a band where the file states scales or offsets, else empty. `read` does not apply them."""
    alpha: int | None = None
    """The band that is a mask (0: no data) by its colour interpretation; it masks unless it is read as a band."""
    remarks: tuple[str, ...] = ()
    """What a user should know of how the file is read, as sentences about it."""
    nodata_values: frozenset[float] = frozenset()
    """The numbers that the file itself states to mean "no data"."""
    lossy: bool = False
    """Whether the file is compressed so that its numbers are not those that were written."""
    nodata_source: str = ""
    """How the file states which pixels have no data, as text for people."""

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """The pixels of `window`, which must lie inside the raster, as (h, w, len(bands)) in the file's dtype."""
        ...

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """(h, w) bool: False where the file itself says "no data" in any of `bands` (nodata value, mask, alpha)."""
        ...
