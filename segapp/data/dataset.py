"""Datasets: scenes with labels in the roles train, val and test, from a dataset.toml or from bare files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segapp.bands import Band, names_of, require_usable
from segapp.classes import ClassTable, read_class_csv
from segapp.configuration import read_toml, validate
from segapp.data.dataset_file import DatasetFile, SceneFiles, SplitFile
from segapp.data.scene_files import Split, one_file, scenes_of
from segapp.errors import InputError
from segapp.scenes.band_files import band_of_file, differing_parts, scenes_of_one_band
from segapp.scenes.blocks import ROLES, Role, divide
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import BandChoice, ImageReading, ImageRules, LabelRules
from segapp.scenes.scene import Scene

_SAME_WAVELENGTH = 0.03  # of it: the same band of Sentinel-2A and 2B, or of two flights of a spectrometer


@dataclass(frozen=True)
class Dataset:
    """Labelled scenes that share bands and classes. Scenes of the role None are divided into blocks."""

    name: str
    path: str
    """What messages call this dataset."""
    classes: ClassTable
    bands: tuple[Band, ...]
    members: tuple[tuple[Role | None, RasterScene], ...]
    image: ImageRules = field(default_factory=ImageRules)
    """How its images are read."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The groups of scenes of one place that the split file gives, by scene name."""
    notes: tuple[str, ...] = ()
    """What a user should know of the dataset's own file and its split file."""

    def unlabelled(self, files: Sequence[Path]) -> list[Scene]:
        """Images without labels, read as the dataset's own; raises InputError where one has other bands."""
        scenes: list[Scene] = []
        for file in files:
            scene = open_scene([file], self.image, name=file.stem)
            _require_comparable(scene, self.path, self.bands, "give images like the dataset's")
            scenes.append(scene)
        return scenes

    def scenes(self, role: Role, patch: int = 0) -> list[Scene]:
        """The scenes of one role; empty if the dataset has none.

        Where scenes are divided into blocks, training blocks keep `patch` pixels away from those of the other roles,
        which do not depend on it. Raises InputError where that leaves no training pixel.
        """
        scenes: list[Scene] = []
        for given, scene in self.members:
            if given == role:
                scenes.append(scene)
            elif given is None:
                scenes.extend(divide(scene, role, patch))
        return scenes

    @property
    def reading(self) -> ImageReading:
        """What prediction has to know of how the images are read."""
        scenes = [scene for _, scene in self.members]
        quality = scenes[0].validity.quality
        files = [Path(re.sub(r" \([^)]*\)$", "", file)) for file in scenes[0].files]
        beside = [Path(quality.raster.path)] if quality and quality.own_file and len(files) > 1 else []
        parts = differing_parts([*files, *beside]) if len(files) > 1 else ()
        nodata = self.image.nodata if self.image.nodata == self.image.nodata else None
        return ImageReading(
            nodata=nodata,
            mask_band=self.image.mask_band,
            quality=self.image.quality,
            quality_file=any(s.validity.quality and s.validity.quality.raster is not s.raster for s in scenes),
            band_files=parts[: len(files)],
            quality_part=parts[-1] if parts and beside else "",
            bands_in_file=len(scenes[0].raster.band_names),
            bands_named=any(scenes[0].raster.band_names) or any(scenes[0].raster.wavelengths_nm),
            scalings_differ=any(scene.bands != self.bands for scene in scenes),
        )

    def remarks(self) -> list[str]:
        """What a user should know of how the scenes are read, each with the scene, or the first, that it is true of."""
        found: dict[str, list[str]] = {}
        for _, scene in self.members:
            for file in (scene, scene.labels) if scene.labels else (scene,):
                for text in file.remarks:
                    found.setdefault(text, []).append(file.path)
        others = {1: "", 2: " and another"}
        of_files = [f"{p[0]}{others.get(len(p), f' and {len(p) - 1} others')}: {text}" for text, p in found.items()]
        return [*self.notes, *of_files]

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that have scenes."""
        given = {role for role, _ in self.members}
        return ROLES if None in given else tuple(role for role in ROLES if role in given)


def read_dataset(path: Path) -> Dataset:
    """Read a dataset.toml and open its scenes; no pixel is read.

    Raises InputError naming the file and key for every mistake that headers can tell: unknown keys, missing files,
    bands or variables, labels that do not fit their image, scenes with different bands.
    """
    file = validate(DatasetFile, read_toml(path), str(path))
    classes = file.classes.table(path)
    members: list[tuple[Role | None, RasterScene]] = []
    groups: dict[str, str] = {}
    split = Split(path, file.split) if isinstance(file.split, SplitFile) else None
    for entry in file.scenes:
        for name, images in scenes_of(entry, path):
            role, group = split.of(name, images[0].name) if split else (entry.role, None)
            if split and role is None:
                continue
            if group:
                groups[name] = group
            scene = open_scene(
                images,
                file.image.model_copy(update=_own_rules(entry)),
                name=name,
                quality_file=one_file(entry.quality.replace("{name}", name), path) if entry.quality else None,
                label_file=one_file(entry.labels.replace("{name}", name), path),
                label_rules=file.labels.model_copy(update={"variable": entry.label_variable or file.labels.variable}),
                classes=classes,
            )
            members.append((role, scene))
    if split and not members:
        words = ", ".join(f"'{word}'" for word in split.words)
        raise InputError(f"{split.path}: no scene of {path} has one of the roles {words}; check 'name' and 'roles'")
    dataset = _dataset(file.name or path.stem, str(path), classes, members, file.image)
    notes = (*(split.notes() if split else ()), *_bands_as_scenes(path, [scene for _, scene in members]))
    return replace(dataset, groups=groups, notes=notes)


def _bands_as_scenes(toml: Path, scenes: Sequence[RasterScene]) -> list[str]:
    """A note where scenes of one band each are files of one scene, as a glob over band files makes them."""
    single = [Path(scene.path) for scene in scenes if len(scene.files) == len(scene.raster.band_names) == 1]
    for group in scenes_of_one_band(single):
        bands = ", ".join(str(band_of_file(file)) for file in group)
        listed = ", ".join(f'"{os.path.relpath(file, toml.parent)}"' for file in group[:2])
        return [
            f"{toml}: {len(group)} scenes of one band each, as {group[0].name}, look like the bands of one scene "
            f"({bands}); to read them together, list them: image = [{listed}, ...]"
        ]
    return []


def dataset_from_files(
    image: Path,
    labels: Path,
    val_image: Path | None,
    val_labels: Path | None,
    classes: Path,
    *,
    bands: Sequence[BandChoice] | None = None,
    mask_band: BandChoice | None = None,
) -> Dataset:
    """The dataset of one training image, and one for validation or else blocks of the same; `classes` is a CSV file.

    `mask_band` is a band whose non-zero pixels are valid. Raises InputError as `read_dataset` does.
    """
    if (val_image is None) != (val_labels is None):
        missing, given = ("labels", val_image) if val_labels is None else ("image", val_labels)
        raise InputError(f"{given}: is for validation, but its {missing} file is not given; give both or neither")
    table = read_class_csv(classes)
    rules = ImageRules(bands=None if bands is None else tuple(bands), mask_band=mask_band)
    pairs: list[tuple[Role | None, Path, Path]] = [(None, image, labels)]
    if val_image is not None and val_labels is not None:
        pairs = [("train", image, labels), ("val", val_image, val_labels)]
    members = [
        (role, open_scene([pixels], rules, label_file=ids, label_rules=LabelRules(), classes=table))
        for role, pixels, ids in pairs
    ]
    return _dataset(image.stem, str(image), table, members, rules)


def _dataset(
    name: str, path: str, classes: ClassTable, members: list[tuple[Role | None, RasterScene]], image: ImageRules
) -> Dataset:
    first = members[0][1]
    for _, scene in members:
        _require_comparable(scene, first.path, first.bands, "choose 'bands' and 'names' that fit all scenes")
    try:
        require_usable(first.bands)
    except ValueError as error:
        raise InputError(f"{path}: bands: {error} under [image]") from None
    return Dataset(name, path, classes, first.bands, tuple(members), image)


def _require_comparable(scene: RasterScene, path: str, bands: Sequence[Band], remedy: str) -> None:
    """Raises InputError where the values of `scene` are not those of `bands`, which `path` has.

    Scales and offsets may differ: they make counts into values of the same unit.
    """
    if names_of(scene.bands) != names_of(bands):
        raise InputError(
            f"{scene.path}: its bands are {', '.join(names_of(scene.bands))}, but those of {path} are "
            f"{', '.join(names_of(bands))}; {remedy}"
        )
    for own, band in zip(scene.bands, bands, strict=True):
        one, other = own.wavelength_nm, band.wavelength_nm
        if one and other and abs(one - other) > _SAME_WAVELENGTH * other:
            raise InputError(
                f"{scene.path}: its band {own.name} is at {one:g} nm, but that of {path} at {other:g} nm; {remedy}"
            )
    for own, band in zip(scene.bands, bands, strict=True):
        if own.unit != band.unit:
            raise InputError(
                f"{scene.path}: {own.name} is in {own.unit}, but in {band.unit} in {path}; "
                "give 'scale' and 'offset' (of the scene, or under [image]), or the same 'unit'"
            )


def _own_rules(entry: SceneFiles) -> dict[str, Any]:
    """The reading rules that a scene has of its own."""
    given = {key: getattr(entry, key) for key in ("variable", "scale", "offset")}
    return {key: value for key, value in given.items() if value is not None}
