"""Match the bands of a scene to a model: choice, order, and the conversion of counts to the model's units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segapp.bands import WAVELENGTH_TOLERANCE, Band, canonical_name, known_wavelength, names_of
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Raster
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules, choose_bands

_MOST_NAMES = 8


def open_for_model(file: Path, spec: ModelSpec, rules: ImageRules | None = None) -> RasterScene:
    """Open the scene in `file` with the bands of the model, in its order and units. No pixel is read.

    The bands are those that `rules` choose, in that order; otherwise those with the model's band names (from the file
    or from `names` of the rules); otherwise all, if the number is the same. Counts are scaled by the rules if they
    set a scale, an offset or a unit, else as the file states, else like the model's own bands. The nodata value, the
    mask band and the quality band of training apply where the rules give none. Raises InputError when the file cannot
    be opened, or when its bands or their unit do not match the model.
    """
    rules = rules or ImageRules()
    raster = open_raster(file, variable=rules.variable, layout=rules.layout)
    rules, notes = _as_in_training(raster, rules, spec)
    indexes, found = choose_bands(raster, rules)
    names: tuple[str | None, ...] = rules.names or tuple(raster.band_names[index] for index in indexes)
    chosen = _match(spec.bands, names, str(file), explicit=rules.bands is not None and rules.names is None)
    bands = spec.bands
    if raster.scaling or (rules.scale, rules.offset, rules.unit) != (None, None, None):
        bands = tuple(
            band.model_copy(update={"scale": found[i].scale, "offset": found[i].offset})
            for band, i in zip(spec.bands, chosen, strict=True)
        )
        _require_units(spec.bands, [found[i] for i in chosen], raster, rules)
    elif spec.images.scalings_differ:
        scaling = f"scale {bands[0].scale:g} and offset {bands[0].offset:g}"
        notes.append(f"states no scale and offset, which differed in training; read with {scaling}")
    scene = open_scene(
        [file],
        rules.model_copy(
            update={
                "bands": tuple(indexes[i] + 1 for i in chosen),
                "names": None,
                "wavelengths_nm": None,
                "scale": tuple(band.scale for band in bands),
                "offset": tuple(band.offset for band in bands),
            }
        ),
    )
    scene.bands = bands
    scene.notes = tuple(notes)
    return scene


def _as_in_training(raster: Raster, rules: ImageRules, spec: ModelSpec) -> tuple[ImageRules, list[str]]:
    """`rules` with the nodata value, mask band and quality band of training where they give none, and what is missing.

    A band that training chose by number is used in files with as many bands only.
    """
    training, notes = spec.images, []
    update: dict[str, Any] = {"nodata": training.nodata} if rules.nodata is None else {}
    for key, band in (("mask_band", training.mask_band), ("quality", training.quality and training.quality.band)):
        if band is None or getattr(rules, key) is not None:
            continue
        by_number = isinstance(band, int) and len(raster.band_names) == training.bands_in_file
        if by_number or raster.band_names.count(str(band)) == 1:
            update[key] = getattr(training, key)
        else:
            notes.append(f"has no {key} {band}, by which training left out pixels: all pixels are mapped")
    if training.quality_file and rules.quality is None:
        notes.append("is mapped without a quality file, by which training left out pixels: clouds are mapped, too")
    rules = rules.model_copy(update=update)
    if rules.bands is None and raster.alpha is not None and len(raster.band_names) == len(spec.bands):
        rules = rules.model_copy(update={"bands": tuple(range(1, len(spec.bands) + 1))})  # alpha is a band of the model
    return rules, notes


def _match(model: tuple[Band, ...], names: tuple[str | None, ...], path: str, *, explicit: bool) -> list[int]:
    """The position of each of the model's bands among `names`; their own order when the user chose it `explicit`ly."""
    wanted = [canonical_name(name) for name in names_of(model)]
    found = [None if name is None else canonical_name(name) for name in names]
    if not explicit and all(found.count(name) == 1 for name in wanted):
        return [found.index(name) for name in wanted]
    takes = f"the model takes {len(wanted)} ({_listed(names_of(model))})"
    if len(found) != len(wanted):
        bands = f"{len(found)} band{'s' * (len(found) != 1)}"
        if explicit:
            raise InputError(f"{path}: {bands} are chosen, but {takes}; choose them with --bands, in that order")
        remedy = "choose them with --bands, in that order" if len(found) > len(wanted) else "give a file that has them"
        raise InputError(f"{path}: has {bands}, but {takes}; {remedy}")
    if not explicit and any(map(_contradicts, names, model)):
        listed = _listed([name or "?" for name in names])
        raise InputError(f"{path}: its bands are {listed}, but {takes}; choose them with --bands, in that order")
    return list(range(len(found)))


def _contradicts(name: str | None, band: Band) -> bool:
    """Whether `name` is a standard band name with another wavelength than `band`."""
    if name is None or canonical_name(name) == canonical_name(band.name):
        return False
    found, wanted = known_wavelength(name), band.wavelength_nm or known_wavelength(band.name)
    return found is not None and wanted is not None and abs(found - wanted) > WAVELENGTH_TOLERANCE * wanted


def _require_units(model: Sequence[Band], found: Sequence[Band], raster: Raster, rules: ImageRules) -> None:
    """Raise InputError where the bands as they are read are in another unit than the model's."""
    given = (rules.scale, rules.offset, rules.unit) != (None, None, None)
    for band, own in zip(model, found, strict=True):
        if band.unit == own.unit:
            continue
        if given:
            raise InputError(
                f"{raster.path}: is to be read as '{own.unit}', but the model takes '{band.unit}'; set 'scale' and "
                f"'offset' so that count * scale + offset is that, and 'unit' to it"
            )
        if band.unit == "digital number":
            raise InputError(
                f"{raster.path}: states a scale or offset, but the model takes digital numbers; give --scale 1 "
                "--offset 0 to read the file's numbers as they are"
            )
        if any(scaling.unit for scaling in raster.scaling):  # else its values may well be in the model's unit
            raise InputError(
                f"{raster.path}: is in '{own.unit}', but the model takes '{band.unit}'; give --data with the 'scale', "
                "'offset' and 'unit' that make it that"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
