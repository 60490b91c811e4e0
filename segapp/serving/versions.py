"""Folders of versions as TensorFlow Serving watches them: serving/unet6/1, serving/unet6/2, ...

A version appears by rename when it is whole. Until then it lies in a hidden folder beside the others, which a server
passes over since its name is no number.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segapp.errors import InputError
from segapp.locks import locked

_LARGEST = 2**63 - 1
_HIDDEN = ".export-"


def check_version(output: Path, next: bool) -> None:
    """Raise InputError where no version can be made: its name is no number, it exists, or it cannot be written there.

    With `next`, `output` is the folder of versions, else the version itself.
    """
    if next:
        if _number(output) is not None:
            raise InputError(f"{output}: --next takes the folder of versions; give --output {output.parent}")
    elif _number(output) is None:
        raise InputError(
            f"{output}: a version is a whole number from 1; give --output {output / '1'}, or --next for the next number"
        )
    elif output.exists() or output.is_symlink():
        raise InputError(f"{output}: exists already; give another number, or the folder of versions and --next")
    versions = (output if next else output.parent).absolute()
    nearest = _nearest_existing(versions)
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError(f"{output}: cannot be made in {nearest}; give an --output in a folder you may write to")


@contextmanager
def new_version(output: Path, next: bool) -> Iterator[tuple[Path, Path]]:
    """A hidden folder to work in, and the version to make, as `check_version` takes them.

    One export at a time works in a folder of versions; others wait here. What killed ones left there is removed, and
    at the end what this one leaves. Raises InputError as `check_version` does.
    """
    versions = output if next else output.parent
    existed = versions.exists()
    try:
        versions.mkdir(parents=True, exist_ok=True)
        with locked(versions, wait=True):  # as long as other exports work there
            check_version(output, next)
            for left in versions.glob(f"{_HIDDEN}*"):
                shutil.rmtree(left, ignore_errors=True)
            hidden = versions / f"{_HIDDEN}{secrets.token_hex(4)}"
            hidden.mkdir()
            try:
                yield hidden, versions / str(_largest(versions) + 1) if next else output
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except PermissionError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); name a place you may write to") from None
    finally:
        if not existed:
            with suppress(OSError):
                versions.rmdir()  # nothing came into it


def deliver(made: Path, version: Path) -> None:
    """Give the folder `made` the name `version`; raises InputError where that has appeared meanwhile."""
    for file in made.rglob("*"):
        if file.is_file():
            with file.open("r+b") as stream:
                os.fsync(stream.fileno())  # or a power failure might leave the name without the content
    try:
        made.rename(version)
    except OSError as error:
        if not version.exists():
            raise
        raise InputError(f"{version}: another export made it meanwhile ({error.strerror}); export again") from None


def _nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _number(path: Path) -> int | None:
    """The version's number; None for what is none, or another spelling of one ("01")."""
    name = path.name
    known = name.isascii() and name.isdigit() and not name.startswith("0") and int(name) <= _LARGEST
    return int(name) if known else None


def _largest(versions: Path) -> int:
    return max((_number(path) or 0 for path in versions.iterdir()), default=0)
