"""Where the map of each scene goes, and what may not be written over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segapp.data.fingerprint import contents_sha256
from segapp.errors import InputError
from segapp.maps.layers import layer_file
from segapp.maps.record import MapRecord, read_unfinished_record, record_file
from segapp.prediction.settings import MapSettings
from segapp.scenes.band_files import BandFiles, Source, files_of

_IN_KIND = {".mat": ".mat", ".npy": ".npy", ".npz": ".npy", ".png": ".png", ".jpg": ".png", ".jpeg": ".png"}


def outputs_of(scenes: Sequence[Source], output: Path) -> list[Path]:
    """The map of each scene: `output` itself for one scene and a file name, else a file in the folder `output`.

    Maps are written in kind: MAT, NPY and PNG scenes give such files, all others GeoTIFF. A name that ends in digits,
    as in "maps_2026.11", is a folder's. Raises InputError where two scenes would have one map.
    """
    if len(scenes) == 1 and any(map(str.isalpha, output.suffix)) and not output.is_dir():
        return [output]
    scene_of: dict[Path, Source] = {}
    for scene in scenes:
        file = output / f"{scene.stem}{_IN_KIND.get(scene.suffix.lower(), '.tif')}"
        if file in scene_of:
            raise InputError(f"{scene}: its map would be {file}, as that of {scene_of[file]}; map them apart")
        scene_of[file] = scene
    return list(scene_of)


def files_made(target: Path, settings: MapSettings) -> list[Path]:
    """All files that are made with the map `target`: its layers, its polygons, its record, and itself, last."""
    polygons = [polygons_file(target, settings)] if settings.polygons else []
    layers = dict.fromkeys(layer_file(target, layer) for layer in settings.layers)
    return [*layers, *polygons, record_file(target), target]


def polygons_file(target: Path, settings: MapSettings) -> Path:
    """Where the polygons of the map `target` go."""
    return target.with_suffix(f".{settings.polygons}")


def finished_maps(
    scenes: Sequence[Source], maps: Sequence[Path], settings: MapSettings, made_with: Mapping[str, Any], resume: bool
) -> dict[Source, MapRecord]:
    """The records of maps that an earlier run finished with the same scenes and settings.

    Raises InputError, before anything is made, where a file would be written over that is none of an interrupted run's.
    """
    own = {file.resolve() for scene in scenes for file in files_of(scene)}
    map_of: dict[Path, Path] = {}
    done = {}
    for scene, target in zip(scenes, maps, strict=True):
        if target.exists() and target.resolve() in own:
            raise InputError(f"{target}: is a scene itself, and a map would replace it; give another --output")
        for file in files_made(target, settings):
            if file in map_of:
                raise InputError(
                    f"{file}: would be made for both {target.name} and {map_of[file].name}; map them apart"
                )
            map_of[file] = target
        record = read_unfinished_record(target)
        if target.exists():
            if not resume:
                raise InputError(f"{target}: exists already; remove it, give another --output, or go on with --resume")
            done[scene] = finished_map(scene, target, made_with)
            continue
        left = set(record.files) | {record_file(target).name} if record else set()
        for file in files_made(target, settings):
            if file.exists() and file.name not in left:
                raise InputError(f"{file}: exists already and would be replaced; move it, or give another --output")
    return done


def finished_map(scene: Source, target: Path, made_with: Mapping[str, Any]) -> MapRecord:
    """The record of a map that another run finished; raises InputError where it is not what this run would make."""
    record = read_unfinished_record(target)
    if record is None:
        raise InputError(f"{target}: is no map that segapp finished; remove it, or give another --output")
    # Which server did the work does not change the map.
    before, now = ({**made, "server": None} for made in (record.made_with, made_with))
    changed = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    if changed:
        raise InputError(f"{target}: was made with another {', '.join(changed)}; remove it, or give another --output")
    if record.scene_sha256 != scene_sha256(scene):
        raise InputError(f"{target}: was made of another {scene.name}; remove it, or give another --output")
    for name, size in record.files.items():
        file = target.with_name(name)
        if not file.exists() or file.stat().st_size != size:
            state = "has changed" if file.exists() else "is missing"
            raise InputError(f"{file}: {state} since {target.name} was made; remove that to make both again")
    return record


def scene_sha256(scene: Source) -> str:
    """Hash of the contents of all files of a scene; raises InputError where one cannot be read."""
    quality = scene.quality if isinstance(scene, BandFiles) else None
    return contents_sha256([*files_of(scene), *([quality] if quality else [])])
