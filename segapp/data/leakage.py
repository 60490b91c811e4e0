"""Leakage: what a network is trained on and judged by at once, as far as the headers of files tell."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import shapely
from rasterio import Affine
from rasterio.errors import RasterioError
from rasterio.warp import transform

from segapp.data.dataset import Dataset
from segapp.scenes.raster_scene import RasterScene

_NEIGHBOURS = 0.01  # of the smaller scene: what scenes side by side share, by a row of pixels or by how a CRS bends
_LISTED = 5
_DEGREES = "EPSG:4326"


def leaks(dataset: Dataset) -> list[str]:
    """Warnings about image files that stand in two roles, and about ground that does; reads no pixel."""
    return [*_shared_files(dataset), *_shared_ground(dataset)]


def _shared_files(dataset: Dataset) -> list[str]:
    roles_of: dict[str, set[str]] = defaultdict(set)
    for role, scene in dataset.members:
        for file in scene.files:
            if role is not None:
                roles_of[file].add(role)
    return _first_of(
        [
            f"leakage: {file} is in the roles {' and '.join(sorted(roles))}, so scores will flatter the model; "
            "keep it in one"
            for file, roles in roles_of.items()
            if len(roles) > 1
        ],
        "files",
    )


def _shared_ground(dataset: Dataset) -> list[str]:
    """Warnings about scenes of different roles, or that are divided into all, whose footprints overlap."""
    placed = [(role, scene, outline) for role, scene in dataset.members if (outline := _footprint(scene)) is not None]
    outlines = np.array([outline for *_, outline in placed], dtype=object)  # a type that no outline at all has, too
    found = []
    for one, other in shapely.STRtree(outlines).query(outlines, predicate="intersects").T.tolist():
        (role, scene, outline), (role2, scene2, outline2) = placed[one], placed[other]
        if one >= other or (role == role2 and role is not None) or set(scene.files) & set(scene2.files):
            continue
        share = outline.intersection(outline2).area / min(outline.area, outline2.area)
        if share > _NEIGHBOURS:
            found.append(
                f"leakage: {scene.path} ({role or 'blocks'}) and {scene2.path} ({role2 or 'blocks'}) show the same "
                f"ground, {share:.0%} of the smaller, so scores will flatter the model; give both one role"
            )
    return _first_of(found, "pairs of scenes")


def _footprint(scene: RasterScene) -> shapely.Polygon | None:
    """The outline of a scene in degrees of longitude and latitude; None where it is unknown."""
    place = scene.georeference
    if place is None or place.crs is None:
        return None
    height, width = scene.shape
    corners = [Affine(*place.transform) * corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]
    try:
        lon, lat = transform(place.crs, _DEGREES, *zip(*corners, strict=True))
    except RasterioError:  # a CRS of its own, as of a drawing
        return None
    outline = shapely.Polygon(zip(lon, lat, strict=True))
    across_the_date_line = max(lon) - min(lon) > 180
    return outline if outline.is_valid and outline.area > 0 and not across_the_date_line else None


def _first_of(warnings: list[str], what: str) -> list[str]:
    more = [f"leakage: and {len(warnings) - _LISTED} more {what}"] if len(warnings) > _LISTED else []
    return warnings[:_LISTED] + more
