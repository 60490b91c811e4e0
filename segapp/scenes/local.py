"""Which paths can be read: files on this machine that are not packed."""

from __future__ import annotations

from pathlib import Path

from segapp.errors import InputError
from segapp.remote import address_of

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
FOLDERS_OF_DATA = {
    ".safe": "is a product folder; name its band files, as in GRANULE/*/IMG_DATA/R20m/*.jp2",
    ".zarr": "is a Zarr store, which is not supported; save it as GeoTIFF or HDF5",
}
"""Folders that other programs open like files, and what to do with them."""


def require_local(path: str | Path) -> None:
    """Raises InputError where `path` is remote, is packed, is a path of GDAL's virtual file systems, or a folder of
    data that would have to be opened as one file."""
    text, suffix = str(path), Path(path).suffix.lower()
    if text.startswith("/vsi"):
        raise InputError(f"{text}: is a virtual path of GDAL; download or unpack the file, and give its local path")
    if address := address_of(text):
        archive = address.partition(":")[0] in ("zip", "tar", "gzip")
        raise InputError(
            f"{address}: is {'packed' if archive else 'remote'}, and images and labels must be local files; "
            f"{'unpack' if archive else 'download'} it first"
        )
    if suffix in _ARCHIVES:
        raise InputError(f"{text}: is an archive; unpack it, and name the files in it")
    if suffix in FOLDERS_OF_DATA and Path(path).is_dir():
        raise InputError(f"{text}: {FOLDERS_OF_DATA[suffix]}")


def is_hidden(path: Path) -> bool:
    """Whether a file is one that programs keep for themselves, as the "._" files of macOS."""
    return path.name.startswith(".")
