"""What is to be mapped: from paths, globs, folders and lists to files."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segapp.errors import InputError
from segapp.scenes.band_files import BandFiles, Source, group_by_scene
from segapp.scenes.local import is_hidden, require_local
from segapp.scenes.picture import SUFFIXES as PICTURE_SUFFIXES

if TYPE_CHECKING:
    from segapp.model.model_spec import ModelSpec

_ARRAY_SUFFIXES = frozenset({".mat", ".h5", ".hdf5", ".he5", ".npy", ".npz"})
_RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".img", ".vrt", ".dat", ".bil", ".bip", ".bsq"})
IMAGE_SUFFIXES = _RASTER_SUFFIXES | _ARRAY_SUFFIXES | PICTURE_SUFFIXES
"""By these a folder's images are distinguished from other files; a file that is named may have any suffix."""


def find_scenes(sources: Sequence[str | Path | BandFiles]) -> list[Source]:
    """The files, or the scenes of one file a band, that `sources` stand for, in order, each once.

    A source is a file, a glob, a folder (its images, sorted, not those in folders below), or a .txt list of files,
    globs and folders, one a line, relative to the list; lines that begin with # are comments. Raises InputError where
    one of them stands for no file.
    """
    if not sources:
        raise InputError("no scene is given; name files, globs, folders or .txt lists")
    files: dict[Path, Source] = {}
    for source in sources:
        if isinstance(source, BandFiles):
            files[source.files[0].resolve()] = source
            continue
        for file in _of_source(Path(source)):
            files.setdefault(file.parent.resolve() / file.name, file)
    return list(files.values())


def group_by_bands(sources: Sequence[Source], spec: ModelSpec) -> tuple[list[Source], list[Path]]:
    """`sources` with files of one band each put together to the scenes of a model of several bands; and files that are
    left out, as they are beside such files but hold none of the bands."""
    files = [source for source in sources if isinstance(source, Path)]
    if len(spec.bands) == 1 or len(files) < len(sources):
        return list(sources), []
    return group_by_scene(files, spec.images.band_files, spec.images.quality_part)


def _of_source(source: Path) -> Iterator[Path]:
    try:
        if source.suffix.lower() == ".txt" and source.is_file():
            yield from _of_list(source)
        else:
            yield from _matches(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error}); check the path") from None


def _of_list(path: Path) -> Iterator[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as a list of files ({error}); give UTF-8 text") from None
    empty = True
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        empty = False
        try:
            yield from _matches(Path(line), path.parent)
        except InputError as error:
            raise InputError(f"{path}: line {number}: {error}") from None
    if empty:
        raise InputError(f"{path}: lists no files; write one path or glob a line")


def _matches(pattern: Path, folder: Path = Path()) -> list[Path]:
    """The files that a path, glob or folder, relative to `folder`, stands for."""
    require_local(pattern)
    path = folder / pattern
    require_local(path)
    if path.is_dir():
        files = _images(path.iterdir())
        if not files:
            raise InputError(f"{path}: holds no images; give a folder with files such as .tif, .jp2, .mat or .png")
        return files
    if path.exists():
        return [path]
    if not glob.has_magic(str(pattern)):
        raise InputError(f"{path}: no such file; check the path")
    root = Path(pattern.anchor) if pattern.is_absolute() else folder
    try:
        found = list(root.glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError as error:
        raise InputError(f"{path}: cannot be used as a glob ({error}); check it") from None
    seen = [file for file in found if file.is_file() and not is_hidden(file)]
    files = _images(seen) or sorted(seen)  # the suffix is the user's choice
    if not files:
        raise InputError(f"{path}: matches no file; check the path")
    return files


def _images(paths: Iterable[Path]) -> list[Path]:
    """The images among `paths`, sorted; hidden files are what programs keep for themselves."""
    return sorted(
        path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path) and path.is_file()
    )
