"""What is made of each scene."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segapp.configuration import Strict
from segapp.maps.layers import Layer
from segapp.scenes.rules import ImageRules
from segapp.windows import Window


class MapSettings(Strict):
    """What is made of each scene: `layers` beside the classes, the part of it, and the form of the files."""

    rules: ImageRules | None = None
    layers: tuple[Layer, ...] = ()
    polygons: Literal["gpkg", "geojson"] | None = None
    minimum_pixels: int = 1
    cog: bool = False
    window: Window | None = None
    aoi: Path | None = None
