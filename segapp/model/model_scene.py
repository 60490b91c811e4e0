"""Match the bands of a scene to a model: choice, order, and the conversion of counts to the model's units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segapp.bands import Band, canonical_name, centre_of, is_numbered, known_wavelength, match_bands, names_of, near
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.scenes.band_files import BandFiles, Source, files_of
from segapp.scenes.raster import Raster
from segapp.scenes.raster_scene import RasterScene, open_files, open_scene
from segapp.scenes.rules import ImageRules, band_wavelengths, choose_bands

_MOST_NAMES = 8


def open_for_model(source: Source, spec: ModelSpec, rules: ImageRules | None = None) -> RasterScene:
    """Open the scene in a file, or in one file a band, with the model's bands in its order and units. No pixel is read.

    The bands are those that `rules` choose, in that order; otherwise those with the model's band names (from the file
    or from `names` of the rules) or centre wavelengths; otherwise all, if the number is the same and no name or
    wavelength contradicts. Counts are scaled by the rules if they
    set a scale, an offset or a unit, else as the file states, else like the model's own bands. The nodata value, the
    mask band and the quality band of training apply where the rules give none. Raises InputError when the file cannot
    be opened, or when its bands or their unit do not match the model.
    """
    rules, files = rules or ImageRules(), files_of(source)
    quality = source.quality if isinstance(source, BandFiles) else None
    raster = open_files(files, rules)
    rules, notes = _as_in_training(raster, rules, spec, quality)
    indexes, found = choose_bands(raster, rules)
    chosen, order_notes = _match(spec, raster, indexes, rules)
    notes += order_notes
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
    taken = [indexes[i] for i in chosen]
    inside = rules.mask_band is not None or (rules.quality is not None and rules.quality.band is not None)
    if len(files) == len(raster.band_names) > 1 and not inside:  # only the bands' own files, on the first one's grid
        files, taken = [files[i] for i in taken], list(range(len(taken)))
        rules = rules.model_copy(update={"grid": 1})
    scene = open_scene(
        files,
        rules.model_copy(
            update={
                "bands": tuple(index + 1 for index in taken),
                "names": None,
                "wavelengths_nm": None,
                "scale": tuple(band.scale for band in bands),
                "offset": tuple(band.offset for band in bands),
            }
        ),
        name=source.stem,
        quality_file=quality if rules.quality else None,
    )
    scene.bands = bands
    scene.notes = tuple(notes)
    return scene


def _as_in_training(
    raster: Raster, rules: ImageRules, spec: ModelSpec, quality: Path | None
) -> tuple[ImageRules, list[str]]:
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
    in_own_file = training.quality_file if rules.quality is None else rules.quality.band is None
    if quality is not None and rules.quality is None:
        update["quality"] = training.quality
    elif quality is None and in_own_file:
        update["quality"] = None
        notes.append("is mapped without a quality file, by which training left out pixels: clouds are mapped, too")
    rules = rules.model_copy(update=update)
    if rules.bands is None and raster.alpha is not None and len(raster.band_names) == len(spec.bands):
        rules = rules.model_copy(update={"bands": tuple(range(1, len(spec.bands) + 1))})  # alpha is a band of the model
    return rules, notes


def _match(spec: ModelSpec, raster: Raster, indexes: Sequence[int], rules: ImageRules) -> tuple[list[int], list[str]]:
    """The position of each of the model's bands among the bands `indexes` of a file, and a note where one is needed.

    Bands that the rules choose without names keep the order of the rules. Others match by name, by centre wavelength,
    or are taken in file order where neither contradicts.
    """
    model, path = spec.bands, raster.path
    names = list(rules.names or (raster.band_names[index] for index in indexes))
    explicit = rules.bands is not None and rules.names is None
    takes = f"the model takes {len(model)} ({_listed(names_of(model))})"
    if explicit:
        if len(names) != len(model):
            raise InputError(f"{path}: {_counted(names)} chosen, but {takes}; choose them with --bands, in that order")
        return list(range(len(names))), []
    readings = [
        [known_wavelength(name or "") for name in names] if rules.names else [reading[index] for index in indexes]
        for reading in band_wavelengths(raster)
    ]
    found = [canonical_name(name or "") for name in names]
    by_name = [found.index(name) if found.count(name) == 1 else -1 for name in map(canonical_name, names_of(model))]
    if min(by_name) >= 0 and not all(_contradict(model, [reading[i] for i in by_name]) for reading in readings):
        return by_name, []
    listed = _listed([name or "?" for name in names])
    orders = {order for reading in readings if (order := _by_wavelength(model, names, reading))}
    if len(orders) == 1:
        (order,) = orders
        taken = _listed([names[i] or f"band {indexes[i] + 1}" for i in order])
        return list(order), [f"its bands {taken} are taken by wavelength as {_listed(names_of(model))}"]
    if len(names) != len(model):
        have = f"has {len(names)} band{'s' * (len(names) != 1)}"
        few = len(names) < len(model)
        remedy = "give a file that has them" if few else "choose them with --bands, in that order"
        raise InputError(f"{path}: {have}, but {takes}; {remedy}")
    place = {canonical_name(name): i for i, name in enumerate(names_of(model))}
    elsewhere = any(place.get(name, i) != i for i, name in enumerate(found))  # under another of the model's names
    if elsewhere or len(orders) > 1 or all(_contradict(model, reading) for reading in readings):
        raise InputError(f"{path}: its bands are {listed}, but {takes}; choose them with --bands, in that order")
    if any(names) or (spec.images.bands_named and not all(map(is_numbered, names_of(model)))):
        stated = f"bands {listed}" if any(names) else "bands, which have no names or wavelengths,"
        return list(range(len(names))), [f"its {stated} are taken in file order as {_listed(names_of(model))}"]
    return list(range(len(names))), []


def _by_wavelength(
    model: Sequence[Band], names: Sequence[str | None], lengths: Sequence[float | None]
) -> tuple[int, ...] | None:
    """The position of each of the model's bands in a file whose bands have these wavelengths.

    None where one is missing, or where two bands of the file fit equally well.
    """
    bands = [Band(name=name or "", wavelength_nm=nm) for name, nm in zip(names, lengths, strict=True)]
    matches = match_bands(model, bands)
    if not {*range(len(model))} <= {*matches}:
        return None
    order = tuple(map(matches.index, range(len(model))))
    left = {centre_of(band) for i, band in enumerate(bands) if i not in order} - {None}
    return None if left & {centre_of(bands[i]) for i in order} else order


def _contradict(model: Sequence[Band], lengths: Sequence[float | None]) -> bool:
    """Whether a wavelength is that of another band than the model's at its place."""
    centres = zip(map(centre_of, model), lengths, strict=True)
    return any(wanted and own and not near(wanted, own) for wanted, own in centres)


def _counted(names: Sequence[str | None]) -> str:
    return f"{len(names)} band{'s are' if len(names) != 1 else ' is'}"


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
