"""What is made of each scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from segapp.configuration import Strict, read_toml, validate
from segapp.data.dataset_file import DatasetFile
from segapp.errors import InputError
from segapp.maps.layers import Layer
from segapp.scenes.rules import ImageRules
from segapp.windows import Window


def reading_rules(
    data: Path | None,
    bands: Sequence[int | str] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
) -> ImageRules | None:
    """How scenes are read: as the images of the dataset.toml `data`, or as the rest says; None where nothing does.

    Raises InputError where both do, and for bands that cannot be.
    """
    given: dict[str, Any] = {"scale": scale, "offset": offset, "nodata": nodata}
    given["bands"] = tuple(bands) if bands else None
    given = {key: value for key, value in given.items() if value is not None}
    if data is None:
        return validate(ImageRules, given, "reading scenes") if given else None
    if given:
        raise InputError(f"--data and --{next(iter(given))} exclude each other; say it in {data}, or leave --data out")
    return validate(DatasetFile, read_toml(data), str(data)).image


class MapSettings(Strict):
    """What is made of each scene: `layers` beside the classes, the part of it, and the form of the files."""

    rules: ImageRules | None = None
    layers: tuple[Layer, ...] = ()
    polygons: Literal["gpkg", "geojson"] | None = None
    minimum_pixels: int = 1
    cog: bool = False
    window: Window | None = None
    aoi: Path | None = None
