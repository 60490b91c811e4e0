"""Which files a dataset.toml names: the scenes of its paths and globs, and the roles of its split file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from segapp.data.dataset_file import SceneFiles, SplitFile
from segapp.errors import InputError
from segapp.scenes.blocks import Role
from segapp.scenes.local import is_hidden, require_local


class Split:
    """The roles that a split file gives, and the groups if it has any, by scene name."""

    def __init__(self, toml: Path, split: SplitFile) -> None:
        self.path = toml.parent / split.file
        self.words = list(split.roles.values())
        self._name = split.name
        role_of_word = {word: role for role, word in split.roles.items()}
        self._found: list[str] = []
        self._without_row: list[str] = []
        self._entries: dict[str, tuple[Role | None, str | None]] = {}
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file, skipinitialspace=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: cannot be read as a split file ({error}); give a UTF-8 CSV file") from None
        columns = list(rows[0]) if rows else []
        for key, column in (("name", split.name), ("role", split.role), ("group", split.group)):
            if column is not None and column not in columns:
                raise InputError(
                    f"{self.path}: has no column '{column}' (its columns: {', '.join(map(str, columns)) or 'none'}); "
                    f"set '{key}' of the split in {toml}"
                )
        for row in rows:
            name, role = (row[split.name] or "").strip(), role_of_word.get((row[split.role] or "").strip())
            group = (row[split.group] or "").strip() or None if split.group else None
            if self._entries.setdefault(name, (role, group)) != (role, group):
                raise InputError(f"{self.path}: '{name}' has two lines that differ; keep one")

    def of(self, name: str, file_name: str) -> tuple[Role | None, str | None]:
        """Role and group of a scene."""
        row = name if name in self._entries else file_name
        (self._found if row in self._entries else self._without_row).append(row)
        return self._entries.get(row, (None, None))

    def notes(self) -> tuple[str, ...]:
        """The rows with a role that name no scene, and the scenes that no row names, once all scenes are looked up."""
        rows = [row for row, (role, _) in self._entries.items() if role is not None and row not in {*self._found}]
        notes = []
        if rows:
            notes.append(
                f"{self.path}: {len(rows)} of its rows name no scene: {_first(rows)}; check column '{self._name}'"
            )
        if self._without_row:
            notes.append(f"{self.path}: has no row for {_first(self._without_row)}, left out of the dataset")
        return tuple(notes)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def scenes_of(entry: SceneFiles, toml: Path) -> Iterator[tuple[str, list[Path]]]:
    """Name and image files of each scene that one [[scenes]] table stands for."""
    if isinstance(entry.image, tuple):
        files = [one_file(pattern, toml) for pattern in entry.image]
        yield entry.name or files[0].stem, files
        return
    found = matches(entry.image, toml)
    if not found:
        raise InputError(f"{toml}: image '{entry.image}' matches no file in {toml.parent.resolve()}; check the path")
    if entry.name is not None and len(found) > 1:
        raise InputError(f"{toml}: image '{entry.image}' matches {len(found)} files, so they cannot share one 'name'")
    for file in found:
        yield entry.name or file.stem, [file]


def one_file(pattern: str, toml: Path) -> Path:
    found = matches(pattern, toml)
    if len(found) != 1:
        matched = f"{len(found)} files ({', '.join(f.name for f in found[:3])}, ...)" if found else "no file"
        raise InputError(f"{toml}: '{pattern}' matches {matched}, but one is needed; check the path")
    return found[0]


def matches(pattern: str, toml: Path) -> list[Path]:
    """The files that a path or glob stands for, sorted; relative to the folder of `toml`."""
    require_local(pattern)
    path = toml.parent / pattern  # an absolute pattern stands by itself
    try:
        if path.exists():
            return [path]
        absolute = Path(pattern).is_absolute()
        root, relative = (Path(path.anchor), str(path.relative_to(path.anchor))) if absolute else (toml.parent, pattern)
        return sorted(file for file in root.glob(relative) if not is_hidden(file) or is_hidden(path))
    except (OSError, ValueError, RuntimeError, IndexError) as error:  # what pathlib has against a name or a glob
        raise InputError(f"{toml}: '{pattern}' is no path or glob ({error}); check it") from None
