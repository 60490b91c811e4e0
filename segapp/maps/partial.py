"""Files that get their names when they are whole."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rasterio.errors import RasterioError

from segapp.errors import InputError

# what belongs to a raster or a GeoPackage and would tell of a former one if it stayed
_SIDE_FILES = (".aux.xml", ".ovr", ".msk", "-wal", "-shm", "-journal")
# GDAL's directory of blocks, its buffers, and what DEFLATE adds to noise
_MARGIN = 1 << 18


class PartialFile:
    """A temporary file in the folder of `file`, and beside it whatever else has a name that begins with its name.

    What an earlier attempt that was killed left of the same file is removed. Raises InputError when `file` is a folder
    or the folder it goes to is missing or cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        hidden = f"{'' if file.name.startswith('.') else '.'}{file.name}"
        # The name is another each time: a writer that was given up for dead must not write into its successor's file.
        self.temporary = file.with_name(f"{hidden}.{secrets.token_hex(4)}.partial{file.suffix}")
        try:
            if file.is_dir():
                raise InputError(f"{file}: is a folder; name a file")
            if not file.parent.is_dir():
                raise InputError(f"{file}: its folder does not exist; make it first")
            _remove(file.parent, f"{glob.escape(hidden)}.{'[0-9a-f]' * 8}.partial*")
            self.temporary.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"{file}: cannot be made ({error.strerror}); name a place you may write to") from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Errors of the system and of GDAL become an OSError of one line that names the file."""
        try:
            yield
        except (RasterioError, OSError) as error:
            raise OSError(
                f"{self.file}: cannot be written ({_reason(error)}); free some space or write elsewhere"
            ) from None

    def require_room(self, size: int) -> None:
        """Raises OSError if the temporary file cannot grow by `size` bytes, compressed badly.

        A full disk would be noticed anyway, but libtiff then prints lines of its own to stderr.
        """
        disk = shutil.disk_usage(self.file.parent)
        room = disk.free if disk.total else size + _MARGIN  # some network file systems do not tell
        limited = errno.ENOSPC
        if sys.platform != "win32":
            import resource

            most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
            if most != resource.RLIM_INFINITY and most - self.temporary.stat().st_size < room:
                room, limited = most - self.temporary.stat().st_size, errno.EFBIG
        if room < size + _MARGIN:
            raise OSError(limited, os.strerror(limited))

    def sync(self) -> None:
        """Wait until the temporary file is on disk: some file systems find out only then that they are full."""
        with self.temporary.open("r+b") as stream:
            os.fsync(stream.fileno())

    def deliver(self) -> None:
        """Give the temporary file and its side files their names, the file itself last."""
        with self.writing():
            for suffix in _SIDE_FILES:
                side, named = (Path(f"{path}{suffix}") for path in (self.temporary, self.file))
                if side.exists():
                    side.replace(named)
                else:
                    named.unlink(missing_ok=True)
            self.temporary.replace(self.file)

    def abandon(self) -> None:
        """Remove what was written; what was delivered stays."""
        _remove(self.file.parent, f"{glob.escape(self.temporary.name)}*")


def _remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        with suppress(OSError):
            path.unlink()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error.__cause__ or error).removesuffix(".")
