"""A scene's labels: class ids on the scene's own grid, whatever grid or form the label file has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.label_ids import Decoder, find_ids
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Georeference, Raster
from segapp.scenes.rules import LabelRules
from segapp.scenes.stack import same_grid
from segapp.scenes.vectors import VECTOR_SUFFIXES, VectorLabels
from segapp.scenes.warped import WarpedRaster, pixels_to_a_pixel
from segapp.windows import Window, grid

_FINE_PIXELS = 1 << 24  # of finer labels that are read at once


class Labels(Protocol):
    """Class ids on the grid of a scene, read by window."""

    path: str
    """What messages call these labels."""
    remarks: tuple[str, ...]
    """What a user should know of how they are read, as sentences about the file."""

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) file ids of any real type, and (h, w) bool: where the file has a label at all."""
        ...


class RasterLabels:
    """Labels of a raster on the scene's grid."""

    remarks: tuple[str, ...] = ()

    def __init__(self, raster: Raster, ids: Decoder) -> None:
        self.path = raster.path
        self._raster = raster
        self._ids = ids

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        pixels = self._raster.read(window, self._ids.bands)
        return self._ids.decode(pixels, self.path), self._raster.valid(window, self._ids.bands)


class FinerLabels:
    """Labels with `factor` rows and columns to a pixel of the scene: the commonest id, or the one at the centre.

    Of ids that are equally common the smallest counts. Where most of a pixel is unlabelled, so is the pixel.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, raster: Raster, ids: Decoder, factor: int, majority: bool) -> None:
        self.path = raster.path
        self._fine = RasterLabels(raster, ids)
        self._factor = factor
        self._majority = majority

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        strips = list(grid(window, max(1, _FINE_PIXELS // (self._factor**2 * window.width)), window.width))
        ids, labelled = zip(*map(self._read_strip, strips), strict=True)
        return np.concatenate(ids), np.concatenate(labelled)

    def _read_strip(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        n = self._factor
        ids, labelled = self._fine.read(Window(*(n * value for value in (window.row, window.col, *window.shape))))
        if not self._majority:
            return ids[n // 2 :: n, n // 2 :: n], labelled[n // 2 :: n, n // 2 :: n]
        labelled = labelled & (ids == ids)  # NaN, which no other id equals, means unlabelled
        most, commonest = self._per_pixel(~labelled), np.zeros(window.shape, ids.dtype)
        decided = np.zeros(window.shape, bool)
        for value in np.unique(ids[labelled]):
            count = self._per_pixel(labelled & (ids == value))
            more = (count > most) | ((count == most) & (count > 0) & ~decided)
            commonest[more], most[more], decided[more] = value, count[more], True
        return commonest, decided

    def _per_pixel(self, chosen: np.ndarray) -> np.ndarray:
        n = self._factor
        return chosen.reshape(chosen.shape[0] // n, n, chosen.shape[1] // n, n).sum(axis=(1, 3))


class CoarserLabels:
    """Labels of which one covers `factor` rows and columns of the scene."""

    remarks: tuple[str, ...] = ()

    def __init__(self, raster: Raster, ids: Decoder, factor: int) -> None:
        self.path = raster.path
        self._coarse = RasterLabels(raster, ids)
        self._factor = factor

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        n = self._factor
        row, col = window.row // n, window.col // n
        ids, labelled = self._coarse.read(
            Window(row, col, -(-window.row_stop // n) - row, -(-window.col_stop // n) - col)
        )
        rows = np.arange(window.row, window.row_stop) // n - row
        cols = np.arange(window.col, window.col_stop) // n - col
        return ids[np.ix_(rows, cols)], labelled[np.ix_(rows, cols)]


def open_labels(path: Path, rules: LabelRules, image: Raster, classes: ClassTable) -> Labels:
    """The labels in `path`, raster or vectors, on the grid of `image`.

    Vectors are burned. A raster of another georeferenced grid is resampled as it is read. Raises InputError where the
    grids cannot be brought together, naming both files and shapes, or a variable, band or field is missing.
    """
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return VectorLabels(path, rules, image.path, image.shape, image.georeference, classes)
    same_file = isinstance(image, RasterioRaster) and image.path == str(path) and rules.variable is None
    raster = image if same_file else open_raster(path, variable=rules.variable, indexed=True)
    ids, notes = find_ids(raster, rules, classes, of_image=raster is image)
    labels = _on_grid(raster, ids, rules, image)
    labels.remarks = tuple(notes)
    return labels


def _on_grid(
    raster: Raster, ids: Decoder, rules: LabelRules, image: Raster
) -> RasterLabels | FinerLabels | CoarserLabels:
    """The labels of `raster` on the grid of `image`; raises InputError where they cannot be placed on it."""
    if raster is image or same_grid(raster, image):
        return RasterLabels(raster, ids)
    if image.georeference is None or raster.georeference is None or not isinstance(raster, RasterioRaster):
        return _without_georeference(raster, ids, rules, image)
    factor = 1
    if rules.resample == "majority":  # counted as labels without a CRS are: by the nearest label of each part
        factor = max(1, math.ceil(max(pixels_to_a_pixel(raster, image)) - 0.01))
    a, b, c, d, e, f = image.georeference.transform
    finer = Georeference(image.georeference.crs, (a / factor, b / factor, c, d / factor, e / factor, f))
    height, width = image.shape
    fine = WarpedRaster(raster, finer, (height * factor, width * factor), ["nearest"] * len(raster.band_names))
    return FinerLabels(fine, ids, factor, majority=True) if factor > 1 else RasterLabels(fine, ids)


def _without_georeference(
    raster: Raster, ids: Decoder, rules: LabelRules, image: Raster
) -> RasterLabels | FinerLabels | CoarserLabels:
    (height, width), (label_height, label_width) = image.shape, raster.shape
    if raster.shape == image.shape:
        return RasterLabels(raster, ids)
    shapes = (
        f"{raster.path}: the labels are {label_height}x{label_width} pixels, "
        f"but the image {image.path} is {height}x{width}"
    )
    factor = max(label_height // height, height // label_height)
    finer = raster.shape == (height * factor, width * factor)
    if not finer and (label_height * factor, label_width * factor) != image.shape:
        raise InputError(f"{shapes}; give labels of the image's size, or files that both have a CRS")
    if rules.resample is None:
        raise InputError(
            f"{shapes}: {factor} times {'finer' if finer else 'coarser'}, without a CRS in common; "
            f"if they show the same area, set 'resample' of the labels to 'majority' or 'nearest'"
        )
    if finer:
        return FinerLabels(raster, ids, factor, rules.resample == "majority")
    return CoarserLabels(raster, ids, factor)
