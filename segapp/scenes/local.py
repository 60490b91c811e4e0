"""Which paths can be read: files on this machine that are not packed."""

from __future__ import annotations

import re
from pathlib import Path

from segapp.errors import InputError
from segapp.remote import address_of

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_XML = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml\s|!--|[A-Za-z_]{5,})")
_XML_SUFFIXES = frozenset({".vrt", ".xml", ".gml", ".kml", ".gpx", ".dim"})
_SOURCE = re.compile(
    rb"<(?:SourceFilename|SourceDataset|SrcDataSource|ServerUrl|GetCapabilitiesUrl)\b[^>]*>([^<]+)<", re.I
)
_LARGEST_XML = 16 << 20
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


def require_own_contents(path: Path) -> None:
    """Raises InputError where a file names other sources under the suffix of an image or of vectors, or addresses.

    GDAL goes by contents: what is called ``.tif`` may be a web service or a VRT, whose sources it would fetch.
    """
    with path.open("rb") as file:
        text = file.read(256)
        if not _XML.match(text):
            return
        if path.suffix.lower() not in _XML_SUFFIXES:
            raise InputError(f"{path}: is an XML text that may name other sources; give the file with the data itself")
        text += file.read(_LARGEST_XML)
    for source in _SOURCE.findall(text):
        name = source.decode("utf-8", "replace").strip()
        if name.startswith("/vsi") or "://" in name:
            raise InputError(f"{path}: reads from {name[:60]}, which is no local file; download it, and name that")


def is_hidden(path: Path) -> bool:
    """Whether a file is one that programs keep for themselves, as the "._" files of macOS."""
    return path.name.startswith(".")
