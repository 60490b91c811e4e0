"""What an inspection finds of bands, classes, scenes, roles, datasets and images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from segapp.scenes.blocks import Role


@dataclass(frozen=True)
class BandSummary:
    """The range of a band's valid pixels, in `unit`; None where no pixel is valid."""

    name: str
    unit: str
    minimum: float | None
    mean: float | None
    maximum: float | None
    std: float | None
    scale: float
    offset: float
    """Counts times scale plus offset are the values."""


@dataclass(frozen=True)
class ClassSummary:
    """How many pixels of a role carry a class."""

    id: int
    name: str
    pixels: int


@dataclass(frozen=True)
class SceneSummary:
    """One scene of a dataset: its size in pixels and the share of pixels without data, 0 to 1."""

    name: str
    path: str
    role: Role
    height: int
    width: int
    invalid_share: float
    unknown_ids: dict[int | float, int]
    """Ids in the label file that are neither class nor ignored, with their pixel counts."""
    nodata: str
    """By what pixels have no data."""
    partly_share: float
    """The share of pixels, 0 to 1, that are invalid because some of their bands, not all, have no data."""
    bands: tuple[BandSummary, ...]


@dataclass(frozen=True)
class RoleSummary:
    """All scenes of a role together."""

    role: Role
    bands: tuple[BandSummary, ...]
    classes: tuple[ClassSummary, ...]
    unlabelled_pixels: int
    """Pixels that are ignored or carry no label."""


@dataclass(frozen=True)
class DatasetSummary:
    """What `inspect_dataset` found."""

    name: str
    path: str
    roles: tuple[RoleSummary, ...]
    scenes: tuple[SceneSummary, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The summary in types that JSON knows."""
        data = asdict(self)
        for scene in data["scenes"]:
            scene["unknown_ids"] = [{"id": key, "pixels": n} for key, n in scene["unknown_ids"].items()]
        return data


@dataclass(frozen=True)
class ImageSummary:
    """What `inspect_scene` found; `crs` is None where the image has none."""

    path: str
    height: int
    width: int
    dtype: str
    crs: str | None
    bands: tuple[BandSummary, ...]
    invalid_share: float
    nodata: str
    """By what pixels have no data."""
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The summary in types that JSON knows."""
        return asdict(self)
