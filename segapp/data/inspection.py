"""Datasets and images read once from end to end: sizes, ranges, class pixels, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rasterio.crs import CRS

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.data.comparison import differences
from segapp.data.dataset import Dataset
from segapp.data.leakage import leaks
from segapp.data.statistics import RunningStatistics
from segapp.data.summaries import BandSummary, ClassSummary, DatasetSummary, ImageSummary, RoleSummary, SceneSummary
from segapp.scenes.blocks import Block
from segapp.scenes.raster_scene import RasterScene
from segapp.scenes.scene import Scene
from segapp.windows import grid, whole

_READ = 1024  # rows and columns at a time: 25 MB of six bands, whatever the size of the scene
_PARTLY = 0.1  # of the pixels
_FILLS = (-9999, -99999, -999, -32768, -32767, -3000, -28672, -2147483648)  # the last but one and two: MODIS
_NEAR_CONSTANT = 1e-3  # standard deviation over range


def _band_summaries(bands: tuple[Band, ...], running: RunningStatistics) -> tuple[BandSummary, ...]:
    """One entry a band."""
    if not running.pixels:
        return tuple(BandSummary(b.name, b.unit, None, None, None, None, b.scale, b.offset) for b in bands)
    rows = np.stack([running.minimum, running.mean, running.maximum, running.std], axis=-1).tolist()
    return tuple(
        BandSummary(band.name, band.unit, lowest, mean, highest, std, band.scale, band.offset)
        for band, (lowest, mean, highest, std) in zip(bands, rows, strict=True)
    )


def inspect_dataset(dataset: Dataset) -> DatasetSummary:
    """Read every pixel and label of `dataset` once, window by window.

    Ids outside the class table are reported, not raised. Raises InputError where a file cannot be read.
    """
    roles, scenes = [], []
    for role in dataset.roles:
        ranges, counts = RunningStatistics(len(dataset.bands)), Counter[int | float]()
        unlabelled = 0
        for scene in dataset.scenes(role):
            own = RunningStatistics(len(dataset.bands))
            pixels = _read_through(scene, own)
            ranges.merge(own)
            known, unknown, ignored = _sort_ids(pixels.ids, dataset.classes)
            counts.update(known)
            unlabelled += pixels.unlabelled + ignored
            size = scene.shape[0] * scene.shape[1]
            scenes.append(
                SceneSummary(
                    scene.name,
                    scene.path,
                    role,
                    *scene.shape,
                    pixels.invalid / size,
                    unknown,
                    _whole(scene).validity.describe(),
                    pixels.partly / size,
                    _band_summaries(scene.bands, own),
                )
            )
        classes = tuple(ClassSummary(c.id, c.name, counts[c.id]) for c in dataset.classes.classes)
        roles.append(RoleSummary(role, _band_summaries(dataset.bands, ranges), classes, unlabelled))
    warnings = (
        *leaks(dataset),
        *dataset.remarks(),
        *_scene_warnings(scenes),
        *_role_warnings(roles),
        *_value_warnings(scenes, dataset.bands),
    )
    return DatasetSummary(dataset.name, dataset.path, tuple(roles), tuple(scenes), warnings)


def inspect_scene(scene: RasterScene, usual: np.ndarray | None = None) -> ImageSummary:
    """Read an image once, window by window; `usual` are the (C,) means of the images of a model that it is meant for.

    Raises InputError where it cannot be read.
    """
    ranges = RunningStatistics(len(scene.bands))
    pixels = _read_through(scene, ranges)
    size = scene.shape[0] * scene.shape[1]
    crs = scene.georeference.crs if scene.georeference else None
    bands = _band_summaries(scene.bands, ranges)
    warnings = [f"{scene.path}: {remark}" for remark in scene.remarks]
    warnings += _partly_warning(scene.path, pixels.partly / size) + _fill_warnings(scene.path, bands)
    if usual is not None and ranges.pixels:
        paths, lowest = (scene.path, "training"), np.zeros((2, len(bands)))
        warnings += differences(paths, np.array([ranges.mean, usual]), lowest, scene.bands)
    return ImageSummary(
        scene.path,
        *scene.shape,
        str(scene.raster.dtype),
        CRS.from_wkt(crs).to_string() if crs else None,
        bands,
        pixels.invalid / size,
        scene.validity.describe(),
        tuple(warnings),
    )


@dataclass
class _Pixels:
    """How many pixels of a scene are invalid, are so in some bands only, have each id, and have none."""

    invalid: int = 0
    partly: int = 0
    ids: Counter[int | float] = field(default_factory=Counter)
    unlabelled: int = 0


def _read_through(scene: Scene, ranges: RunningStatistics) -> _Pixels:
    """Read all of `scene`; `ranges` takes in its valid pixels."""
    found = _Pixels()
    for window in grid(whole(scene.shape), _READ, _READ):
        pixels = scene.read(window)
        ranges.add(pixels)
        invalid = int(np.isnan(pixels[..., 0]).sum())
        found.invalid += invalid
        if invalid and len(scene.bands) > 1:
            shift = (scene.window.row, scene.window.col) if isinstance(scene, Block) else (0, 0)
            found.partly += int(_whole(scene).partly_valid(window.shift(*shift)).sum())
        if scene.labelled:
            ids, labelled = scene.read_label_ids(window)
            labelled = labelled & (ids == ids)  # NaN means unlabelled
            values, numbers = np.unique(ids[labelled], return_counts=True)
            found.ids.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            found.unlabelled += int(labelled.size - labelled.sum())
    return found


def _whole(scene: Scene) -> RasterScene:
    """The scene of files that `scene` is, or is a block of."""
    found = scene.scene if isinstance(scene, Block) else scene
    assert isinstance(found, RasterScene)
    return found


def _sort_ids(
    found: Counter[int | float], classes: ClassTable
) -> tuple[dict[int | float, int], dict[int | float, int], int]:
    """Pixel counts of the class ids, those of unknown ids, and the number of ignored pixels."""
    ids, ignored = set(classes.ids.tolist()), classes.ignored_ids
    known = {value: n for value, n in found.items() if value in ids}
    unknown = {value: n for value, n in found.items() if value not in ids and value not in ignored}
    return known, unknown, sum(found.values()) - sum(known.values()) - sum(unknown.values())


def _scene_warnings(scenes: Iterable[SceneSummary]) -> list[str]:
    warnings = []
    for scene in scenes:
        if scene.unknown_ids:
            listed = ", ".join(f"{value:g} ({n} px)" for value, n in sorted(scene.unknown_ids.items())[:8])
            warnings.append(f"{scene.name} ({scene.role}) has ids that are no class and would stop a run: {listed}")
        if scene.invalid_share == 1:
            warnings.append(f"{scene.name} ({scene.role}) has no valid pixel")
    return warnings


def _value_warnings(scenes: Sequence[SceneSummary], bands: Sequence[Band]) -> list[str]:
    """What looks wrong in the values of scenes, by themselves and next to each other."""
    warnings = []
    for scene in scenes:
        warnings += _partly_warning(scene.path, scene.partly_share) + _fill_warnings(scene.path, scene.bands)
    filled = [scene for scene in scenes if scene.invalid_share < 1]
    means, minima = (np.array([[getattr(b, key) for b in s.bands] for s in filled]) for key in ("mean", "minimum"))
    return warnings + differences([scene.path for scene in filled], means, minima, bands)


def _partly_warning(path: str, share: float) -> list[str]:
    if share <= _PARTLY:
        return []
    return [f"{path}: {share:.1%} of its pixels have no data in some bands but not in all, and are left out"]


def _fill_warnings(path: str, bands: Iterable[BandSummary]) -> list[str]:
    """A warning where the lowest count is a number by which files often mean "no data"."""
    for band in bands:
        lowest = None if band.minimum is None else round((band.minimum - band.offset) / band.scale, 2)
        if lowest in _FILLS:
            return [f"{path}: the lowest number of {band.name} is {lowest:g}, which often means no data; set 'nodata'"]
    return []


def _role_warnings(roles: Iterable[RoleSummary]) -> list[str]:
    warnings = []
    by_role = {summary.role: summary for summary in roles}
    if "val" not in by_role:
        warnings.append("no scene has the role val: nothing shows when to stop training")
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
