"""What a dataset or an image holds, read once from end to end: sizes, ranges, class pixels, and what looks wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.data.dataset import Dataset
from segapp.data.leakage import leaks
from segapp.data.statistics import RunningStatistics
from segapp.scenes.blocks import Role
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules
from segapp.scenes.scene import Scene
from segapp.windows import Window, grid, whole

_READ = 1024  # rows and columns at a time: 25 MB of six bands, whatever the size of the scene
_NEAR_CONSTANT = 1e-3  # standard deviation over range
_SAMPLE, _MOST_SCENES = 512, 16  # pixels a side, and scenes, that are read to find what is unlike training
_FAR, _FACTOR = 3.0, 20.0  # standard deviations from training, or times less than its mean: far from it
_OFF = 1.0
"""Standard deviations of training, a band, from which on another order of bands is looked for. Of 156 places in Landsat
and Sentinel-2 scenes 3 then seem swapped that are not, and of those with near infrared for blue 137 are found."""


@dataclass(frozen=True)
class BandSummary:
    """The range of a band's valid pixels, in `unit`; None where no pixel is valid."""

    name: str
    unit: str
    minimum: float | None
    mean: float | None
    maximum: float | None
    std: float | None


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

    def as_dict(self) -> dict[str, Any]:
        """The summary in types that JSON knows."""
        return asdict(self)


def _band_summaries(bands: tuple[Band, ...], running: RunningStatistics) -> tuple[BandSummary, ...]:
    """One entry a band."""
    if not running.pixels:
        return tuple(BandSummary(band.name, band.unit, None, None, None, None) for band in bands)
    columns = (values.tolist() for values in (running.minimum, running.mean, running.maximum, running.std))
    return tuple(BandSummary(band.name, band.unit, *values) for band, *values in zip(bands, *columns, strict=True))


def inspect_dataset(dataset: Dataset) -> DatasetSummary:
    """Read every pixel and label of `dataset` once, window by window.

    Ids outside the class table are reported, not raised. Raises InputError where a file cannot be read.
    """
    roles, scenes = [], []
    for role in dataset.roles:
        ranges, counts = RunningStatistics(len(dataset.bands)), Counter[int | float]()
        unlabelled = 0
        for scene in dataset.scenes(role):
            invalid, found, without = _read_through(scene, ranges)
            known, unknown, ignored = _sort_ids(found, dataset.classes)
            counts.update(known)
            unlabelled += without + ignored
            share = invalid / (scene.shape[0] * scene.shape[1])
            scenes.append(SceneSummary(scene.name, scene.path, role, *scene.shape, share, unknown))
        classes = tuple(ClassSummary(c.id, c.name, counts[c.id]) for c in dataset.classes.classes)
        roles.append(RoleSummary(role, _band_summaries(dataset.bands, ranges), classes, unlabelled))
    warnings = (*leaks(dataset), *_scene_warnings(scenes), *_role_warnings(roles))
    return DatasetSummary(dataset.name, dataset.path, tuple(roles), tuple(scenes), warnings)


def inspect_scene(path: Path, rules: ImageRules | None = None) -> ImageSummary:
    """Read an image once, window by window. Raises InputError where it cannot be read."""
    scene = open_scene([path], rules or ImageRules())
    ranges = RunningStatistics(len(scene.bands))
    invalid, _, _ = _read_through(scene, ranges)
    crs = scene.georeference.crs if scene.georeference else None
    return ImageSummary(
        scene.path,
        *scene.shape,
        str(scene.raster.dtype),
        CRS.from_wkt(crs).to_string() if crs else None,
        _band_summaries(scene.bands, ranges),
        invalid / (scene.shape[0] * scene.shape[1]),
    )


def print_summary(summary: DatasetSummary | ImageSummary, console: Console) -> None:
    """Print a summary as tables, warnings last."""
    if isinstance(summary, ImageSummary):
        size = f"{summary.height}x{summary.width} pixels, {summary.dtype}, {summary.crs or 'no CRS'}"
        console.print(f"[bold]{escape(summary.path)}[/bold]: {size}, {summary.invalid_share:.1%} without data")
        console.print(_band_table([("", summary.bands)]))
        return
    console.print(f"[bold]{escape(summary.name)}[/bold] ({escape(summary.path)})")
    console.print(_scene_table(summary))
    console.print(_band_table([(role.role, role.bands) for role in summary.roles]))
    console.print(_class_table(summary.roles))
    for warning in summary.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)


def _read_through(scene: Scene, ranges: RunningStatistics) -> tuple[int, Counter[int | float], int]:
    """The numbers of invalid pixels, of pixels of each id, and of pixels without any id."""
    invalid, unlabelled = 0, 0
    counts: Counter[int | float] = Counter()
    for window in grid(whole(scene.shape), _READ, _READ):
        pixels = scene.read(window)
        ranges.add(pixels)
        invalid += int(np.isnan(pixels[..., 0]).sum())
        if scene.labelled:
            ids, labelled = scene.read_label_ids(window)
            labelled = labelled & (ids == ids)  # NaN means unlabelled
            values, numbers = np.unique(ids[labelled], return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            unlabelled += int(labelled.size - labelled.sum())
    return invalid, counts, unlabelled


def _sort_ids(
    found: Counter[int | float], classes: ClassTable
) -> tuple[dict[int | float, int], dict[int | float, int], int]:
    """Pixel counts of the class ids, those of unknown ids, and the number of ignored pixels."""
    ids, ignored = set(classes.ids.tolist()), {*classes.ignore, classes.nodata}
    known = {value: n for value, n in found.items() if value in ids}
    unknown = {value: n for value, n in found.items() if value not in ids and value not in ignored}
    return known, unknown, sum(found.values()) - sum(known.values()) - sum(unknown.values())


def unlike(scenes: Sequence[Scene], bands: Sequence[Band], mean: np.ndarray, std: np.ndarray) -> str | None:
    """What is unlike training in `scenes` together, of which a few are read in the middle; None where all is usual.

    `mean` and `std`, (C,) in the bands' units, are those of the training pixels. Where most bands are far from them,
    most often the unit is another; where the bands fit far better in another order, that is.
    """
    chosen = [scenes[i] for i in np.linspace(0, len(scenes) - 1, min(_MOST_SCENES, len(scenes))).astype(int)]
    means = [(scene, found) for scene in chosen if (found := _mean_in_the_middle(scene)) is not None]
    if not means:
        return None
    if (std == 1).all():  # the network only centres its bands, and nothing tells their spread
        std = np.maximum(np.abs(mean), 1e-6)
    found = np.mean([values for _, values in means], axis=0)
    far = (np.abs(found - mean) > _FAR * std) | ((mean > 0) & (found < mean / _FACTOR))
    furthest, _ = max(means, key=lambda entry: float(np.abs((entry[1] - mean) / std).sum()))
    if far.sum() > len(far) / 2:
        band = int(np.argmax(np.abs(found - mean) / std))
        return (
            f"{furthest.path}: values are unlike those of training, {bands[band].name} about {found[band]:.4g} where "
            f"training saw {mean[band]:.4g} +- {std[band]:.4g}"
        )
    distances = ((found[:, np.newaxis] - mean) / std) ** 2
    here = np.sqrt(distances.diagonal().mean())
    if here <= _OFF:
        return None
    from scipy.optimize import linear_sum_assignment

    order = linear_sum_assignment(distances)[1]
    if np.sqrt(distances[np.arange(len(order)), order].mean()) >= here / 2:
        return None
    moved = [f"{bands[i].name} has the values of {bands[j].name}" for i, j in enumerate(order) if i != j]
    return f"{furthest.path}: bands look swapped: by what training saw, {', '.join(moved)}"


def _mean_in_the_middle(scene: Scene) -> np.ndarray | None:
    """(C,) mean of the valid pixels in the middle of a scene; None where there are none."""
    height, width = (min(size, _SAMPLE) for size in scene.shape)
    middle = Window((scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2, height, width)
    pixels = scene.read(middle).reshape(-1, len(scene.bands))
    pixels = pixels[~np.isnan(pixels[:, 0])]
    return pixels.mean(axis=0, dtype=np.float64) if len(pixels) else None


def _scene_warnings(scenes: Iterable[SceneSummary]) -> list[str]:
    warnings = []
    for scene in scenes:
        if scene.unknown_ids:
            listed = ", ".join(f"{value:g} ({n} px)" for value, n in sorted(scene.unknown_ids.items())[:8])
            warnings.append(f"{scene.name} ({scene.role}) has ids that are no class and would stop a run: {listed}")
        if scene.invalid_share == 1:
            warnings.append(f"{scene.name} ({scene.role}) has no valid pixel")
    return warnings


def _role_warnings(roles: Iterable[RoleSummary]) -> list[str]:
    warnings = []
    by_role = {summary.role: summary for summary in roles}
    if "val" not in by_role:
        warnings.append("no scene has the role val: nothing tells when to stop training")
    for role, summary in by_role.items():
        empty = [c.name for c in summary.classes if c.pixels == 0]
        if empty:
            warnings.append(f"{role} has no pixel of {', '.join(empty)}")
    for band in by_role["train"].bands if "train" in by_role else ():
        if band.std is None or band.maximum is None or band.minimum is None:
            continue
        if band.std <= _NEAR_CONSTANT * (band.maximum - band.minimum):
            warnings.append(
                f"band {band.name} is nearly constant in train: standard deviation {band.std:.3g} "
                f"in a range of {band.minimum:.4g} to {band.maximum:.4g}"
            )
    return warnings


def _scene_table(summary: DatasetSummary) -> Table:
    """One line a scene, or one a role and size where there are many scenes."""
    table = Table("role", "scene", "height", "width", "invalid")
    groups: dict[tuple[str, int, int], list[SceneSummary]] = defaultdict(list)
    for scene in summary.scenes:
        groups[scene.role, scene.height, scene.width].append(scene)
    for (role, height, width), scenes in groups.items():
        if len(scenes) > 8:
            mean = sum(scene.invalid_share for scene in scenes) / len(scenes)
            table.add_row(role, f"{len(scenes)} scenes", str(height), str(width), f"{mean:.1%}")
            continue
        for scene in scenes:
            table.add_row(role, escape(scene.name), str(height), str(width), f"{scene.invalid_share:.1%}")
    return table


def _band_table(roles: list[tuple[str, tuple[BandSummary, ...]]]) -> Table:
    table = Table(*("role" for role, _ in roles[:1] if role), "band", "unit", "minimum", "mean", "maximum", "std")
    for role, bands in roles:
        for band in bands:
            values = (band.minimum, band.mean, band.maximum, band.std)
            table.add_row(
                *([role] if role else []),
                escape(band.name),
                escape(band.unit),
                *("-" if v is None else f"{v:.4g}" for v in values),
            )
    return table


def _class_table(roles: tuple[RoleSummary, ...]) -> Table:
    table = Table("id", "class", *(f"{summary.role} pixels" for summary in roles))
    for classes in zip(*(summary.classes for summary in roles), strict=True):
        table.add_row(str(classes[0].id), escape(classes[0].name), *(f"{c.pixels:,}" for c in classes))
    table.add_row("", "ignored or unlabelled", *(f"{summary.unlabelled_pixels:,}" for summary in roles))
    return table
