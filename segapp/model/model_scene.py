"""A scene's bands as a model takes them: which of a file's bands, in which order, and how counts become values."""

from __future__ import annotations

from pathlib import Path

from segapp.bands import WAVELENGTH_TOLERANCE, Band, canonical_name, known_wavelength, names_of
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec
from segapp.scenes.open import open_raster
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules, choose_bands

_LISTED = 8


def open_for_model(file: Path, spec: ModelSpec, rules: ImageRules | None = None) -> RasterScene:
    """The scene in `file` as the model takes it: `bands` are the model's, by name, order and unit. No pixel is read.

    Bands are those that `rules` choose, in that order; else those that the file (or `names` of the rules) calls as the
    model does; else all, if there are as many. Counts are scaled as the rules say, or as the model's own bands are.
    Raises InputError where the file cannot be opened, its bands do not fit or their unit is another.
    """
    rules = rules or ImageRules()
    raster = open_raster(file, variable=rules.variable, layout=rules.layout)
    indexes, found = choose_bands(raster, rules)
    names: tuple[str | None, ...] = rules.names or tuple(raster.band_names[index] for index in indexes)
    chosen = _in_order_of(spec.bands, names, str(file), stated=rules.bands is not None and rules.names is None)
    bands = spec.bands
    default = ImageRules()
    if (rules.scale, rules.offset, rules.unit) != (default.scale, default.offset, default.unit):
        bands = tuple(
            band.model_copy(update={"scale": found[i].scale, "offset": found[i].offset})
            for band, i in zip(spec.bands, chosen, strict=True)
        )
        _require_units(spec.bands, [found[i] for i in chosen], str(file))
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
    return scene


def _in_order_of(model: tuple[Band, ...], names: tuple[str | None, ...], path: str, *, stated: bool) -> list[int]:
    """The position among `names` of each of the model's bands; `stated` says that their order was chosen for it."""
    wanted = [canonical_name(name) for name in names_of(model)]
    found = [None if name is None else canonical_name(name) for name in names]
    if not stated and all(found.count(name) == 1 for name in wanted):
        return [found.index(name) for name in wanted]
    takes = f"the model takes {len(wanted)} ({_listed(names_of(model))})"
    if len(found) != len(wanted):
        bands = f"{len(found)} band{'s' * (len(found) != 1)}"
        if stated:
            raise InputError(f"{path}: {bands} are chosen, but {takes}; choose them with --bands, in that order")
        remedy = "choose them with --bands, in that order" if len(found) > len(wanted) else "give a file that has them"
        raise InputError(f"{path}: has {bands}, but {takes}; {remedy}")
    if not stated and any(map(_contradicts, names, model)):
        its = _listed([name or "?" for name in names])
        raise InputError(f"{path}: its bands are {its}, but {takes}; choose them with --bands, in that order")
    return list(range(len(found)))


def _contradicts(name: str | None, band: Band) -> bool:
    """Whether a customary `name` says that a band is another than `band`."""
    if name is None or canonical_name(name) == canonical_name(band.name):
        return False
    theirs, ours = known_wavelength(name), band.wavelength_nm or known_wavelength(band.name)
    return theirs is not None and ours is not None and abs(theirs - ours) > WAVELENGTH_TOLERANCE * ours


def _require_units(model: tuple[Band, ...], found: list[Band], path: str) -> None:
    for band, given in zip(model, found, strict=True):
        if band.unit != given.unit:
            raise InputError(
                f"{path}: is to be read as '{given.unit}', but the model takes '{band.unit}'; set 'scale' and 'offset' "
                f"so that count * scale + offset is that, and 'unit' to it"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
