"""A scene read from raster files by a dataset's reading rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segapp.bands import agreed_wavelengths
from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.errors import InputError
from segapp.scenes.band_files import band_of_file
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.labels import Labels, open_labels
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Raster
from segapp.scenes.remarks import fill_values, renamed_bands, replaced_scaling, sentinel2_offset
from segapp.scenes.rules import ImageRules, LabelRules, band_wavelengths, choose_bands, find_band
from segapp.scenes.stack import StackedRaster, open_stack, same_grid
from segapp.scenes.validity import Quality, Validity
from segapp.scenes.warped import WarpedRaster
from segapp.windows import Window

# Sentinel-2's SCL, Landsat's QA_PIXEL and QA_RADSAT, Earth Engine's QA60, Fmask, cloud masks
_FLAGS = re.compile(r"(?:^|[\W_])(?:scl|b?qa\d*|c?fmask|clm|cloud_?mask)(?:[\W_]|$)", re.IGNORECASE)


class RasterScene:
    """A `Scene` of one raster, its rules of validity and, if labelled, its labels.

    `files` are the image files, resolved, with the variable where there is one.
    """

    def __init__(
        self,
        name: str,
        raster: Raster,
        rules: ImageRules,
        files: tuple[str, ...],
        quality: Quality | None = None,
        labels: Labels | None = None,
        classes: ClassTable | None = None,
    ) -> None:
        self.name = name
        self.path = raster.path
        self.shape = raster.shape
        self.georeference = raster.georeference
        self.files = files
        self.raster = raster
        self.labels = labels
        self.labelled = labels is not None
        self.classes = classes
        self.notes: tuple[str, ...] = ()
        """What whoever opened the scene adds to `remarks`."""
        self.indexes, self.bands = choose_bands(raster, rules)
        mask_band = None if rules.mask_band is None else find_band(raster, rules.mask_band, "mask_band")
        self.validity = Validity(raster, self.indexes, rules.nodata, mask_band, quality)
        self._scale = _per_band([band.scale for band in self.bands])
        self._offset = _per_band([band.offset for band in self.bands])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the scene is read; fill values are found only as it is read."""
        stated = [self.raster.scaling[index] for index in self.indexes] if self.raster.scaling else []
        lengths = agreed_wavelengths(band_wavelengths(self.raster))
        own = [(self.raster.band_names[index], lengths[index]) for index in self.indexes]
        return (
            *self.raster.remarks,
            *self.notes,
            *renamed_bands(self.bands, *zip(*own, strict=True)),
            *(replaced_scaling(self.bands, stated) if stated else ()),
            *sentinel2_offset(self.bands, self.files),
            *fill_values(list(self.validity.fills)),
        )

    def read(self, window: Window) -> np.ndarray:
        counts = self.raster.read(window, self.indexes)
        valid = self.validity.of(window, counts)
        # one pass from counts to float32, which is all that training spends here
        with np.errstate(over="ignore"):  # fill values, which are no data
            pixels = np.multiply(counts, self._scale, dtype=np.float32, casting="unsafe")
        if np.any(self._offset):
            pixels += self._offset
        if not valid.all():
            pixels[~valid] = np.nan
        return pixels

    def partly_valid(self, window: Window) -> np.ndarray:
        """(h, w) bool: whether a pixel is invalid because some of its bands, not all, have no data."""
        return self.validity.partly(window, self.raster.read(window, self.indexes))

    def valid(self, window: Window) -> np.ndarray:
        return self.validity.of(window, self.raster.read(window, self.indexes))

    def read_labels(self, window: Window) -> np.ndarray:
        ids, labelled = self.read_label_ids(window)
        assert self.labels is not None and self.classes is not None
        if labelled.all():
            return self.classes.to_indexes(ids, self.labels.path)
        indexes = np.full(window.shape, IGNORED_INDEX, np.uint8)
        indexes[labelled] = self.classes.to_indexes(ids[labelled], self.labels.path)
        return indexes

    def read_label_ids(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        if self.labels is None or self.classes is None:
            raise ValueError(f"{self.path} has no labels")
        return self.labels.read(window)


def _per_band(values: list[float]) -> np.ndarray:
    """(C,) float32, or () where all bands share the value: NumPy is slow over a short last axis."""
    return np.array(values[0] if len(set(values)) == 1 else values, np.float32)


def open_scene(
    files: Sequence[Path],
    rules: ImageRules,
    *,
    name: str | None = None,
    quality_file: Path | None = None,
    label_file: Path | None = None,
    label_rules: LabelRules | None = None,
    classes: ClassTable | None = None,
) -> RasterScene:
    """A scene of one raster file, or of several that are brought to one grid; labelled if `label_file` is given.

    `quality_file` holds the quality band where the image does not. `name` is by default the first file's stem.
    Labels need `classes`. No pixel is read. Raises InputError where a file cannot be opened, a band that the rules
    name is missing, or labels and image do not fit.
    """
    raster = open_files(files, rules)
    sources = tuple(f"{file.resolve()}{f' ({rules.variable})' if rules.variable else ''}" for file in files)
    labels = None
    if label_file is not None and classes is not None:
        labels = open_labels(label_file, label_rules or LabelRules(), raster, classes)
    quality = _open_quality(rules, raster, quality_file)
    return RasterScene(name or files[0].stem, raster, rules, sources, quality, labels, classes)


def open_files(files: Sequence[Path], rules: ImageRules) -> Raster:
    """The raster of one file, or of several on the grid of one of them; bands without a name have their file's."""
    rasters = [open_raster(file, variable=rules.variable, layout=rules.layout) for file in files]
    if len(rasters) == 1:
        return rasters[0]
    for file, raster in zip(files, rasters, strict=True):
        if tuple(raster.band_names) == (None,):
            raster.band_names = (band_of_file(file),)
    stacked = StackedRaster(rasters)  # on no common grid yet: for the numbers of its bands
    given = ((rules.mask_band, "mask_band"), (rules.quality.band if rules.quality else None, "quality.band"))
    flags = {find_band(stacked, band, key) for band, key in given if band is not None}
    flags |= {band for band in range(len(stacked.band_names)) if _holds_flags(*stacked.part(band))}
    methods = ["nearest" if band in flags else rules.resampling for band in range(len(stacked.band_names))]
    owners = [number for number, raster in enumerate(rasters) for _ in raster.band_names]
    grid = owners[find_band(stacked, rules.grid, "grid")]
    return open_stack(rasters, grid=grid, resampling=methods, nodata=rules.nodata)


def _holds_flags(raster: Raster, band: int) -> bool:
    """Whether a band is one of flags or classes, which have no values between them, by its name or its file's."""
    names = [raster.band_names[band] or "", Path(raster.path).stem if len(raster.band_names) == 1 else ""]
    return any(_FLAGS.search(name) for name in names)


def _open_quality(rules: ImageRules, image: Raster, file: Path | None) -> Quality | None:
    if rules.quality is None:
        if file is not None:
            raise InputError(f"{file}: nothing says how to read it; add 'quality' to the reading rules of the image")
        return None
    if file is None:
        if rules.quality.band is None:
            raise InputError(f"{image.path}: 'quality' names no band; add 'band', or give the scene a 'quality' file")
        band = find_band(image, rules.quality.band, "quality.band")
        if isinstance(image, StackedRaster):  # of several files: that of the quality band may not cover the others
            bands, _ = choose_bands(image, rules)
            raster, _ = image.part(band)
            return Quality(image, band, rules.quality, all(image.part(b)[0] is not raster for b in bands))
        return Quality(image, band, rules.quality)
    raster = open_raster(file, indexed=True)
    band = find_band(raster, rules.quality.band or 1, "quality.band")
    if same_grid(raster, image):
        return Quality(raster, band, rules.quality, own_file=True)
    if image.georeference is None or raster.georeference is None or not isinstance(raster, RasterioRaster):
        raise InputError(
            f"{file}: the quality band is {raster.shape[0]}x{raster.shape[1]} pixels, but the image {image.path} is "
            f"{image.shape[0]}x{image.shape[1]}; give one of the image's size, or files that both have a CRS"
        )
    on_grid = WarpedRaster(raster, image.georeference, image.shape, ["nearest"] * len(raster.band_names))
    return Quality(on_grid, band, rules.quality, own_file=True)
