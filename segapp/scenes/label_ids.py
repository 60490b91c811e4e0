"""Where a label raster holds its class ids: in one band, or as the colours of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.scenes.raster import Raster
from segapp.scenes.rules import LabelRules, find_band
from segapp.windows import Window

_SAMPLE = 128  # rows and columns of each window that is read to find out what bands hold
_COLOUR_BANDS = 3


class BandOfIds:
    """The ids are the numbers of one band."""

    def __init__(self, band: int) -> None:
        self.bands = [band]

    def decode(self, pixels: np.ndarray, path: str) -> np.ndarray:
        """(h, w) ids of (h, w, 1) numbers."""
        return pixels[..., 0]


class EqualBands:
    """The ids are the numbers of three bands that are equal, as in a grey picture that was saved in colour."""

    bands = (0, 1, 2)

    def decode(self, pixels: np.ndarray, path: str) -> np.ndarray:
        """(h, w) ids of (h, w, 3) numbers; raises InputError where the bands differ."""
        if (pixels != pixels[..., :1]).any():
            raise InputError(f"{path}: is grey in parts and coloured in others; write one band of class ids")
        return pixels[..., 0]


class ColoursOfClasses:
    """The ids are those of the classes with the pixel's colour; black, unless a class has it, is unlabelled."""

    bands = (0, 1, 2)

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = {int(colour[1:], 16): class_id for colour, class_id in ids.items()}
        self._ids.setdefault(0, 0)

    def decode(self, pixels: np.ndarray, path: str) -> np.ndarray:
        """(h, w) int32 ids of (h, w, 3) uint8 colours; raises InputError for a colour of no class."""
        values, inverse = np.unique(_packed(pixels), return_inverse=True)
        unknown = [i for i, value in enumerate(values.tolist()) if value not in self._ids]
        if unknown:
            counts = np.bincount(inverse.ravel())
            listed = ", ".join(f"{_hexadecimal(values[i])} ({counts[i]} px)" for i in unknown[:4])
            more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
            raise InputError(f"{path}: has colours of no class: {listed}{more}; set each class's 'color' to its own")
        ids = np.array([self._ids[value] for value in values.tolist()], np.int32)
        return ids[inverse].reshape(pixels.shape[:2])


Decoder = BandOfIds | EqualBands | ColoursOfClasses


def find_ids(
    raster: Raster, rules: LabelRules, classes: ClassTable, *, of_image: bool = False
) -> tuple[Decoder, list[str]]:
    """How the class ids of a label raster are read, and notes for the user; `of_image`: it is that of the image, too.

    Raises InputError where the file is compressed with losses, where its bands are one-hot, and where several bands
    leave open which one holds the ids or which class has which colour.
    """
    if raster.lossy or Path(raster.path).suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(
            f"{raster.path}: is compressed with losses (as JPEG is), which changes ids into others; give the original "
            "labels, as PNG or GeoTIFF"
        )
    bands = [band for band in range(len(raster.band_names)) if band != raster.alpha]
    if rules.band is None and len(bands) == 1:
        return BandOfIds(bands[0]), _nodata_note(raster, classes)
    if rules.band is not None and (of_image or len(bands) == 1):
        return BandOfIds(find_band(raster, rules.band, "labels.band")), _nodata_note(raster, classes)
    sample = _sample(raster, bands)
    if _one_hot(sample):
        raise InputError(
            f"{raster.path}: its {len(bands)} bands are one-hot, one for each class; write one band of class ids "
            "(numpy.argmax over the bands, then the ids)"
        )
    if rules.band is not None:
        return BandOfIds(find_band(raster, rules.band, "labels.band")), _nodata_note(raster, classes)
    if len(bands) != _COLOUR_BANDS or raster.dtype != np.uint8:
        raise InputError(f"{raster.path}: has {len(bands)} bands; set 'band' of the labels to the one with class ids")
    return _colours(raster, sample, classes)


def _colours(raster: Raster, sample: np.ndarray, classes: ClassTable) -> tuple[Decoder, list[str]]:
    given = {c.color: c.id for c in classes.classes if c.color is not None}
    values, counts = np.unique(_packed(sample), return_counts=True)
    colours = [_hexadecimal(value) for value in values[np.argsort(-counts)]]
    if len(given) == len(classes) and {*colours} <= {*given, "#000000"}:
        return ColoursOfClasses(given), ["its class ids are read from the colours of the classes"]
    if (sample == sample[..., :1]).all():
        return EqualBands(), ["its three bands are equal, and the first is read as class ids"]
    missing = [c.name for c in classes.classes if c.color is None]
    if missing or len(given) < len(classes):
        which = f"class {missing[0]} has no 'color'" if missing else "two classes have one 'color'"
        listed = ", ".join(colours[:5])
        raise InputError(
            f"{raster.path}: is a colour image ({listed}{', ...' if colours[5:] else ''}), and {which}; set that of "
            "each class, or write one band of class ids"
        )
    return ColoursOfClasses(given), []


def _nodata_note(raster: Raster, classes: ClassTable) -> list[str]:
    """A warning where the file's own nodata value is the id of a class."""
    notes = []
    for one in classes.classes:
        if one.id in raster.nodata_values:
            suffix = Path(raster.path).suffix.lower()
            remedy = (
                "save it without a transparent colour"
                if suffix == ".png"
                else "remove the tag (rio edit-info --unset-nodata)"
            )
            notes.append(
                f"its nodata value {one.id} is the id of class {one.name}, whose pixels are read as unlabelled; if "
                f"they are labels, {remedy}"
            )
    return notes


def _one_hot(sample: np.ndarray) -> bool:
    """Whether at most one band of each pixel is set, always to one value, and several bands are."""
    if sample.dtype.kind == "f" and not np.isfinite(sample).all():
        return False
    set_bands = sample != 0
    values = np.unique(sample[set_bands])
    return bool(len(values) == 1 and set_bands.sum(axis=-1).max() == 1 and set_bands.any(axis=0).sum() > 1)


def _sample(raster: Raster, bands: list[int]) -> np.ndarray:
    """(n, C) pixels of windows in the middle of a raster and of its quarters."""
    height, width = raster.shape
    found = []
    for row, col in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
        top, left = max(0, height * row // 4 - _SAMPLE // 2), max(0, width * col // 4 - _SAMPLE // 2)
        window = Window(top, left, min(_SAMPLE, height - top), min(_SAMPLE, width - left))
        found.append(raster.read(window, bands).reshape(-1, len(bands)))
    return np.concatenate(found)


def _packed(pixels: np.ndarray) -> np.ndarray:
    """One number for each colour of (..., 3) uint8."""
    return pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])


def _hexadecimal(value: int) -> str:
    return f"#{int(value):06x}"
