"""A fingerprint of the files that a training reads, by which a later run sees what has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segapp.configuration import read_toml, validate
from segapp.data.dataset import Dataset
from segapp.data.dataset_file import DatasetFile, SplitFile
from segapp.errors import InputError
from segapp.scenes.geotiff import RasterioRaster
from segapp.scenes.raster_scene import RasterScene

_ARRAYS = frozenset({".mat", ".h5", ".hdf5", ".he5", ".npy", ".npz"})  # all else is opened by GDAL
_WRITTEN_BY_VIEWERS = (".aux.xml", ".ovr")  # statistics and overviews appear beside an image when QGIS shows it
_SETTINGS, _DIVIDED, _UNLABELLED = "settings", "divided", "unlabelled"
_DIGITS = 16  # of each file's hash: enough to tell which one has changed


@dataclass(frozen=True)
class Fingerprint:
    """What a training read: `files` holds, by role, each file's path from the dataset's folder and its hash's start.

    `sha256` is over roles, paths and whole hashes; `dataset_sha256` is that of the dataset.toml, if there is one.
    """

    sha256: str
    dataset_sha256: str | None = None
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_provenance(self) -> dict[str, Any]:
        """What `model.json` keeps of it."""
        settings = {"dataset sha256": self.dataset_sha256} if self.dataset_sha256 else {}
        return {**settings, "data sha256": self.sha256, "files": {role: dict(f) for role, f in self.files.items()}}

    @classmethod
    def of_provenance(cls, provenance: Mapping[str, Any]) -> Fingerprint | None:
        """The fingerprint in the provenance of a model; None where it was made without."""
        if not isinstance(provenance.get("data sha256"), str):
            return None
        return cls(provenance["data sha256"], provenance.get("dataset sha256"), provenance.get("files", {}))

    def first_difference(self, now: Fingerprint) -> str | None:
        """The first file that is not what it was, and in which way; None where all are."""
        if now.sha256 == self.sha256:
            return None
        for role in dict.fromkeys([*self.files, *now.files]):
            before, after = self.files.get(role, {}), now.files.get(role, {})
            for file in dict.fromkeys([*before, *after]):
                if before.get(file) != after.get(file):
                    change = "has changed" if file in before and file in after else "is new"
                    return f"{file} ({role}) {change if file in after else 'is no longer there'}"
        return "the order of the files has changed"


def fingerprint(dataset: Dataset, unlabelled: Sequence[Path] = ()) -> Fingerprint:
    """Hash all files of `dataset` in the order of its scenes, and the images `unlabelled`.

    Files are hashed whole, however large: at about a gigabyte a second that is nothing beside a training on them.
    Raises InputError where one cannot be read.
    """
    toml = Path(dataset.path) if Path(dataset.path).suffix.lower() == ".toml" else None
    found: dict[str, list[Path]] = {_SETTINGS: _settings_files(toml) if toml else []}
    for role, scene in dataset.members:
        found.setdefault(role or _DIVIDED, []).extend(_files_of(scene))
    found[_UNLABELLED] = [part for file in unlabelled for part in _with_companions(file)]
    files = {file.resolve(): "" for of_role in found.values() for file in of_role}
    with ThreadPoolExecutor() as pool:
        files = dict(zip(files, pool.map(_sha256, files), strict=True))
    home = Path(dataset.path).resolve().parent
    total = hashlib.sha256()
    kept: dict[str, dict[str, str]] = {}
    for group, of_role in found.items():
        kept[group] = {Path(os.path.relpath(f, home)).as_posix(): files[f] for f in map(Path.resolve, of_role)}
        for path, digest in kept[group].items():
            total.update(f"{group}\0{path}\0{digest}\n".encode())
    short = {group: {path: digest[:_DIGITS] for path, digest in of.items()} for group, of in kept.items() if of}
    return Fingerprint(total.hexdigest(), files[toml.resolve()] if toml else None, short)


def contents_sha256(files: Sequence[Path]) -> str:
    """Hash of the contents of `files` and of others that hold a part of them, whatever their names.

    Raises InputError where one cannot be read.
    """
    parts = dict.fromkeys(part for file in files for part in _with_companions(file))
    return hashlib.sha256("\n".join(map(_sha256, parts)).encode()).hexdigest()


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _settings_files(toml: Path) -> list[Path]:
    """The dataset.toml, and the tables of classes and of roles that it names."""
    file = validate(DatasetFile, read_toml(toml), str(toml))
    tables = [file.classes.file, file.split.file if isinstance(file.split, SplitFile) else None]
    return [toml, *(toml.parent / table for table in tables if table is not None)]


def _files_of(scene: RasterScene) -> list[Path]:
    """The files of image, labels and quality band, each with those that it is read with."""
    quality = scene.validity.quality
    named = [*scene.files, *([scene.labels.path] if scene.labels else []), *([quality.raster.path] if quality else [])]
    files = dict.fromkeys(file for name in named if (file := _file_in(name)) is not None)
    return list(dict.fromkeys(part for file in files for part in _with_companions(file)))


def _file_in(name: str) -> Path | None:
    """The file in what messages call a raster: "file", "file:variable" or "file (variable)"."""
    while not Path(name).is_file():
        name = name[: max(name.rfind(":"), name.rfind(" ("), 0)]
        if not name:
            return None
    return Path(name)


def _with_companions(file: Path) -> list[Path]:
    """`file` and the others that hold a part of it: a GeoTIFF's masks, the rasters of a VRT, the table of a .shp."""
    if file.suffix.lower() == ".shp":
        return [file, *sorted(other for other in file.parent.glob(f"{file.stem}.*") if other != file)]
    if file.suffix.lower() in _ARRAYS:
        return [file]
    try:
        with RasterioRaster(file).dataset() as dataset:
            others = [Path(name) for name in dataset.files if not name.endswith(_WRITTEN_BY_VIEWERS)]
    except InputError:  # vectors
        return [file]
    return [file, *sorted(other for other in others if other.is_file() and other.resolve() != file.resolve())]
