"""Which pixels of a scene have data: by the file itself, nodata, a mask band, a quality band, NaN and fill values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from segapp.scenes.raster import Raster
from segapp.scenes.rules import QualityRule
from segapp.windows import Window

LARGEST = 1e15
"""No band has larger numbers, and software fills pixels without data with such: 1e20, 9.97e36, the lowest float."""


@dataclass(frozen=True)
class Quality:
    """A quality band, bound to the raster that holds it: `band` of `raster`, counted from 0."""

    raster: Raster
    band: int
    rule: QualityRule
    own_file: bool = False
    """Whether it is in another file than the image's bands: that may not cover the image."""

    def valid(self, window: Window) -> np.ndarray:
        """(h, w) bool: False where the rule calls the pixel invalid."""
        values = self.raster.read(window, [self.band])[..., 0]
        if self.rule.classes:
            return ~np.isin(values, self.rule.classes)
        if values.dtype.kind == "f":  # flags that were stacked with reflectances; NaN counts as every flag
            values = np.where(np.isfinite(values), values, -1)
        return (values.astype(np.int64) & sum(1 << bit for bit in set(self.rule.bits))) == 0


@dataclass(frozen=True)
class Validity:
    """A scene's rules of validity. A pixel is valid if no rule speaks against it in any of `bands`."""

    raster: Raster
    bands: tuple[int, ...]
    nodata: float | None = None
    mask_band: int | None = None
    quality: Quality | None = None
    fills: set[float] = field(default_factory=set, compare=False)
    """Numbers that were found and are no measurements: those from `LARGEST` on, taken as no data."""

    def describe(self) -> str:
        """All by which pixels have no data, as text for people."""
        quality = self.quality and (f"bits {list(self.quality.rule.bits)}" if self.quality.rule.bits else "classes")
        sources = [
            f"{self.raster.nodata_source} (file)" if self.raster.nodata_source else "",
            "" if self.nodata is None else f"nodata {self.nodata:g} (given)",
            "" if self.mask_band is None else f"mask band {self.mask_band + 1}",
            f"quality {quality}" if quality else "",
            "NaN" if self.raster.dtype.kind == "f" else "",
        ]
        return ", ".join(filter(None, sources)) or "nothing"

    def partly(self, window: Window, counts: np.ndarray) -> np.ndarray:
        """(h, w) bool: whether some bands of `counts` (h, w, C), but not all, have data by the file, nodata or NaN."""
        by_band = np.stack([self.raster.valid(window, [band]) for band in self.bands], axis=-1)
        by_band &= counts == counts
        if self.nodata is not None:
            by_band &= counts != self.nodata
        return by_band.any(axis=-1) & ~by_band.all(axis=-1) & ~self.of(window, counts)

    def of(self, window: Window, counts: np.ndarray) -> np.ndarray:
        """(h, w) bool for the pixels `counts` (h, w, C) that were read from `window` in `bands`."""
        bands = self.bands if self.mask_band is None else (*self.bands, self.mask_band)
        valid = self.raster.valid(window, bands)
        # Asking once of all pixels is much cheaper than once a pixel, and most windows are whole.
        if self.nodata is not None and (missing := counts == self.nodata).any():
            together = counts.dtype.itemsize == 1 and counts.shape[-1] > 1  # as in RasterioRaster.valid
            valid = valid & ~(missing.all(axis=-1) if together else missing.any(axis=-1))
        if counts.dtype.kind == "f" and not (usable := np.abs(counts) < LARGEST).all():
            valid = valid & usable.all(axis=-1)
            if not self.fills:
                self.fills.update(np.unique(counts[np.abs(counts) >= LARGEST])[:3].tolist())
        if self.mask_band is not None:
            mask = self.raster.read(window, [self.mask_band])[..., 0]
            valid = valid & (mask != 0) & (mask == mask)
        if self.quality is not None:
            valid = valid & self.quality.valid(window)
            if self.quality.own_file:
                valid = valid & self.quality.raster.valid(window, [self.quality.band])
        return valid
