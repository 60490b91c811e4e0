"""Reading rules: how a dataset's image and label files become physical values, validity and class ids."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from segapp.bands import Band, agreed_wavelengths, canonical_name, known_wavelength, name_wavelengths
from segapp.configuration import Strict
from segapp.errors import InputError
from segapp.scenes.raster import Raster, Scaling

BandChoice = int | str
"""A band by its 1-based index or by its name."""
CubeReader = Literal["h5py", "tensorflow-io"]
"""What reads HDF5 and MAT v7.3 files while `segapp train` cuts patches."""


class QualityRule(Strict):
    """Which values of a quality band make a pixel invalid.

    `bits` (0 is the lowest): invalid where any of them is set, as in Landsat's QA_PIXEL. `classes`: invalid where the
    value is one of them, as in Sentinel-2's SCL. `band` is a band of the image, or of the scene's own `quality` file
    (then the first, if left out).
    """

    band: BandChoice | None = None
    bits: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> QualityRule:
        if bool(self.bits) == bool(self.classes):
            raise ValueError("give either 'bits' or 'classes' of the quality band that mean invalid")
        if any(not 0 <= bit < 63 for bit in self.bits):
            raise ValueError(f"bits count from 0, the lowest; found {min(self.bits)} to {max(self.bits)}")
        return self


class ImageRules(Strict):
    """How image files are read. Left empty: all bands, as the file's own numbers.

    A count becomes ``count * scale + offset`` in `unit`; `scale` and `offset` are one number or one per chosen band.
    Left out, they are those that the file states of the band, else 1 and 0.
    """

    bands: tuple[BandChoice, ...] | None = Field(default=None, min_length=1)
    names: tuple[str, ...] | None = None
    """What the chosen bands are called; by default what the file calls them, or band_1, band_2, ..."""
    wavelengths_nm: tuple[float, ...] | None = None
    """Centre wavelengths; by default those of customary names ("blue", "nir", ...)."""
    scale: float | tuple[float, ...] | None = None
    offset: float | tuple[float, ...] | None = None
    unit: str | None = None
    """By default the file's, or "reflectance" where a scale or offset is given or stated, else "digital number"."""
    variable: str | None = None
    """The variable of a MAT, HDF5 or NPZ file."""
    reader: CubeReader = "h5py"
    """With "tensorflow-io" the scenes that a training cuts patches from stay in their HDF5 or MAT v7.3 files and are
    read within TensorFlow's graph, the same to the bit: for large cubes that are stored uncompressed."""
    layout: Literal["CHW", "HWC", "HCW"] | None = None
    """The order of an array file's axes, rows (H), columns (W) and bands (C), where shapes leave it open."""
    nodata: float | None = None
    """A value that means "no data", in addition to the file's own; in 8-bit images where all bands have it."""
    mask_band: BandChoice | None = None
    """A band whose non-zero pixels are valid."""
    quality: QualityRule | None = None
    grid: BandChoice = 1
    """Several files: the band whose grid the others are brought to."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How bands on another grid are brought to it."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> ImageRules:
        lists = {
            key: value
            for key in ("names", "wavelengths_nm", "scale", "offset")
            if isinstance(value := getattr(self, key), tuple)
        }
        if self.bands is not None:
            lists = {"bands": self.bands, **lists}
        lengths = {key: len(value) for key, value in lists.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{length} {key}" for key, length in lengths.items())
            raise ValueError(f"one entry a band is needed, found {found}")
        for key in ("bands", "names"):
            twice = [v for v in lists.get(key, ()) if lists[key].count(v) > 1]
            if twice:
                raise ValueError(f"{key}: {twice[0]!r} is given twice")
        return self


class ImageReading(Strict):
    """What training knew of its images beyond their bands, and prediction applies to others of the kind."""

    nodata: float | None = None
    mask_band: BandChoice | None = None
    quality: QualityRule | None = None
    quality_file: bool = False
    """Whether the quality band was in a file of its own."""
    band_files: tuple[str, ...] = ()
    """For scenes of one file a band: the part of each file's name that is the band's, in order."""
    quality_part: str = ""
    """The part of the name of the quality band's file that is its own."""
    bands_in_file: int = 0
    """How many bands the images had in all: bands that are chosen by number are the same in such files only."""
    bands_named: bool = True
    """Whether the images' own files name their bands or state wavelengths; others without are taken in file order."""
    scalings_differ: bool = False
    """Whether the images had different scales or offsets, so that those of `Band` are those of the first."""


class LabelRules(Strict):
    """How label files are read: rasters by `variable` or `band`, vectors by `layer`, `attribute` and `crs`."""

    variable: str | None = None
    """The variable of a MAT, HDF5 or NPZ file."""
    band: BandChoice | None = None
    """The band with the ids, where the file has several; a colour image needs none if every class has its colour."""
    layer: str | None = None
    """The layer of a vector file; by default its first."""
    attribute: str | None = None
    """The field of a vector file that holds the class id or the class name; may be left out if it has one field."""
    crs: str | None = None
    """The CRS of a vector file that states none or a wrong one, as "EPSG:32633" or WKT."""
    resample: Literal["nearest", "majority"] | None = None
    """How labels on another grid are brought to the image's: the id at a pixel's centre, or the commonest id in it.

    Labels with a georeference take "nearest" by default; labels without one that are a whole factor finer or coarser
    than the image need this choice.
    """


def find_band(raster: Raster, choice: BandChoice, key: str) -> int:
    """The 0-based index of a band that `key` of the reading rules chooses by 1-based index or by name.

    Raises InputError that lists the bands there are.
    """
    names = raster.band_names
    if isinstance(choice, int):
        if 1 <= choice <= len(names):
            return choice - 1
        raise InputError(
            f"{raster.path}: {key} asks for band {choice}, but there are {len(names)}, counted from 1; change '{key}'"
        )
    for spelling in (str, canonical_name):
        found = [i for i, name in enumerate(names) if name is not None and spelling(name) == spelling(choice)]
        if len(found) == 1:
            return found[0]
    named = [name for name in names if name is not None]
    listed = f"the bands are {', '.join(named)}" if named else f"its {len(names)} bands have no names"
    raise InputError(f"{raster.path}: {key} asks for band '{choice}', but {listed}; change '{key}' or use an index")


def choose_bands(raster: Raster, rules: ImageRules) -> tuple[tuple[int, ...], tuple[Band, ...]]:
    """The 0-based indexes of the chosen bands in `raster`, and what a network sees of each.

    Raises InputError where a band is missing or the lists do not have one entry a band.
    """
    if rules.bands is None:
        mask = None if rules.mask_band is None else find_band(raster, rules.mask_band, "mask_band")
        indexes = tuple(i for i in range(len(raster.band_names)) if i not in (mask, raster.alpha))
    else:
        indexes = tuple(find_band(raster, choice, "bands") for choice in rules.bands)
    for key in ("names", "wavelengths_nm", "scale", "offset"):
        value = getattr(rules, key)
        if isinstance(value, tuple) and len(value) != len(indexes):
            raise InputError(
                f"{raster.path}: '{key}' has {len(value)} entries for {len(indexes)} bands; give one a band"
            )
    bands, lengths = [], agreed_wavelengths(band_wavelengths(raster))
    for position, index in enumerate(indexes):
        name = rules.names[position] if rules.names else raster.band_names[index] or f"band_{index + 1}"
        own = known_wavelength(name) if rules.names else lengths[index]
        bands.append(
            Band(
                name=name,
                wavelength_nm=rules.wavelengths_nm[position] if rules.wavelengths_nm else own,
                **_value_of(raster, rules, position, index),
            )
        )
    return indexes, tuple(bands)


def band_wavelengths(raster: Raster) -> list[tuple[float | None, ...]]:
    """The centre wavelength in nm of each band of a file, as stated or else by its names, as `name_wavelengths`."""
    stated = raster.wavelengths_nm or (None,) * len(raster.band_names)
    readings = name_wavelengths(raster.band_names, raster.path)
    return [tuple(own or named for own, named in zip(stated, reading, strict=True)) for reading in readings]


def _value_of(raster: Raster, rules: ImageRules, position: int, index: int) -> dict[str, Any]:
    """The scale, offset and unit of a band, number `index` in `raster`: those of the rules, or those of the file.

    Raises InputError where the rules give only a scale or only an offset, and the file states the other.
    """
    own = raster.scaling[index] if raster.scaling else Scaling(1.0, 0.0)
    given = [value[position] if isinstance(value, tuple) else value for value in (rules.scale, rules.offset)]
    scale, offset = own[:2] if given == [None, None] else (_or(given[0], 1.0), _or(given[1], 0.0))
    for key, value, other, stated, neutral in (
        ("offset", given[1], given[0], own.offset, 0.0),
        ("scale", given[0], given[1], own.scale, 1.0),
    ):
        if value is None and other is not None and stated != neutral:
            raise InputError(
                f"{raster.path}: states a scale of {own.scale:g} and an offset of {own.offset:g}, of which one is "
                f"replaced; give '{key}' too, or neither"
            )
    unit = own.unit if given == [None, None] else None
    return {
        "scale": scale,
        "offset": offset,
        "unit": rules.unit or unit or ("reflectance" if (scale, offset) != (1, 0) else "digital number"),
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
