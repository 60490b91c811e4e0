"""Scenes of one file a band: which files belong together, by the part of their names that is the band's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from segapp.scenes.open import open_raster

_BETWEEN = "[_. -]"
_BAND = (
    r"(?:SR_|ST_|TOA_)?B\d{1,2}A?(?:_\d{2}m)?|sur_refl_b\d{2}|V[VH]|H[HV]|coastal|blue|green|red_?edge_?\d?|red|nir(?:08)?|"
    r"swir_?(?:\d|16|22)|thermal|lwir\d*|pan"
)
_RESOLUTION = re.compile(r"_\d{2}m$", re.IGNORECASE)


@dataclass(frozen=True)
class BandFiles:
    """The files of one scene, one a band, in the order of its bands; `quality` is the file of its quality band."""

    files: tuple[Path, ...]
    name: str
    """The part of the files' names that is the scene's."""
    quality: Path | None = None
    begin: str = ""
    """What all their names begin with, before the part of the band."""

    @property
    def stem(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        return self.files[0].suffix

    def resolve(self) -> BandFiles:
        """The same with absolute paths."""
        files = tuple(file.resolve() for file in self.files)
        return replace(self, files=files, quality=self.quality and self.quality.resolve())

    def __str__(self) -> str:
        return f"{self.files[0]} and {len(self.files) - 1} more"


Source = Path | BandFiles
"""A scene that is to be read: one file, or one file a band."""


def files_of(source: Source) -> list[Path]:
    """The files of a scene, without that of the quality band."""
    return list(source.files) if isinstance(source, BandFiles) else [source]


def band_of_file(file: Path) -> str | None:
    """The band that a file holds by its name, as "B4" of "LC08_..._B4.TIF"; None where the name has none."""
    found = _split(file, [])
    return _RESOLUTION.sub("", found[1]) if found else None


def differing_parts(files: Sequence[Path]) -> tuple[str, ...]:
    """The part of each file's name that differs from the others', in whole words; empty where they have none."""
    words = [re.split(f"({_BETWEEN})", file.stem) for file in files]
    first = 0
    while all(len(each) > first + 2 and each[first : first + 2] == words[0][first : first + 2] for each in words):
        first += 2
    last = 0
    while all(len(each) > first + last + 2 and _ends(each, last) == _ends(words[0], last) for each in words):
        last += 2
    parts = tuple("".join(each[first : len(each) - last]) for each in words)
    return parts if len(set(parts)) == len(parts) > 1 and all(parts) else ()


def _ends(words: list[str], skipped: int) -> list[str]:
    """The last separator and word before those that are skipped."""
    return words[len(words) - skipped - 2 : len(words) - skipped]


def same_scene(file: Path, parts: Sequence[str] = (), quality: str = "") -> BandFiles | None:
    """The band files of the scene to which `file` belongs, with those beside it; None where it has no others.

    `parts` are what names of band files contain in order, as those of training did, and `quality` what that of the
    quality band does; by default they are the usual names of bands, in alphabetical order.
    """
    own = _split(file, [*parts, *([quality] if quality else [])])
    if own is None:
        return None
    key = own[0]
    beside: dict[str, Path] = {}
    for other in sorted(file.parent.glob(f"*{file.suffix}")):
        found = _split(other, [*parts, *([quality] if quality else [])])
        if found and found[0] == key and not other.name.startswith("."):
            beside.setdefault(found[1], other)
    wanted = [*parts] if parts else [part for part in sorted(beside) if part != quality]
    if len(wanted) < 2 or any(part not in beside for part in wanted):
        return None
    if any(len(open_raster(beside[part]).band_names) > 1 for part in wanted):  # their names have another meaning
        return None
    name = re.sub(f"{_BETWEEN}*\\*{_BETWEEN}*", "_", key).strip("_. -")
    bands = tuple(beside[part] for part in wanted)
    return BandFiles(bands, name or file.parent.resolve().name, beside.get(quality), key.partition("*")[0])


def group_by_scene(
    files: Iterable[Path], parts: Sequence[str] = (), quality: str = ""
) -> tuple[list[Source], list[Path]]:
    """The scenes that `files` are, one file or one file a band, in order; and files that are left out.

    Those are beside band files and have the beginning of their names, but are no band.
    """
    sources: dict[Source, None] = {}
    scene_of: dict[Path, BandFiles] = {}
    for file in files:
        source = scene_of.get(file) or same_scene(file, parts, quality) or file
        sources[source] = None
        if isinstance(source, BandFiles):
            scene_of |= dict.fromkeys([*source.files, *([source.quality] if source.quality else [])], source)
    scenes = [*dict.fromkeys(scene_of.values())]
    beside = [source for source in sources if isinstance(source, Path) and any(_is_of(source, s) for s in scenes)]
    return [source for source in sources if source not in beside], beside


def _is_of(file: Path, scene: BandFiles) -> bool:
    """Whether a file is beside a scene's band files and its name begins as theirs do before the band."""
    return bool(scene.begin) and file.parent == scene.files[0].parent and file.name.startswith(scene.begin)


def _split(file: Path, parts: Sequence[str]) -> tuple[str, str] | None:
    """A file's name with "*" for the part that is the band's, and that part; None where there is none."""
    names = "|".join(map(re.escape, sorted(parts, key=len, reverse=True))) if parts else _BAND
    pattern = re.compile(rf"(?:^|(?<={_BETWEEN}))(?:{names})(?=$|{_BETWEEN})", 0 if parts else re.IGNORECASE)
    found = list(pattern.finditer(file.stem))
    if not found:
        return None
    start, stop = found[-1].span()
    return f"{file.stem[:start]}*{file.stem[stop:]}", file.stem[start:stop]


def scenes_of_one_band(files: Sequence[Path]) -> list[list[Path]]:
    """Those of `files`, one scene each, that are the bands of one scene by their names."""
    named = [(str(file.parent), found[0], file) for file in files if (found := _split(file, []))]
    groups = [[entry[2] for entry in group] for _, group in groupby(sorted(named), key=lambda entry: entry[:2])]
    return [group for group in groups if len(group) > 1]
