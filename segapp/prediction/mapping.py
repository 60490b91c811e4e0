"""One scene to one map: read, run and write at the same time, and nothing under the final name until it is whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.data.comparison import unlike
from segapp.errors import InputError
from segapp.inference.predictor import Predictor, most_probable
from segapp.locks import only_maker
from segapp.maps.layers import Layer, layer_file, values_of
from segapp.maps.pixel_area import hectares_by_row
from segapp.maps.polygons import write_polygons
from segapp.maps.record import ClassArea, MapRecord, record_file, write_record
from segapp.maps.writers import MapWriter, open_writer
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec
from segapp.prediction.area import Area, area_of
from segapp.prediction.outputs import files_made, finished_map, polygons_file, scene_sha256
from segapp.prediction.settings import MapSettings
from segapp.scenes.band_files import Source, files_of
from segapp.scenes.blocks import Block
from segapp.scenes.geotiff import close_idle
from segapp.scenes.retile import quick_to_read
from segapp.scenes.scene import Scene
from segapp.windows import Window


def map_scene(
    predictor: Predictor,
    spec: ModelSpec,
    file: Source,
    output: Path,
    settings: MapSettings,
    made_with: Mapping[str, Any],
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> MapRecord:
    """Map the scene in a file, or in one file a band, to `output`, whose suffix is the format, with a record beside it.

    `advance` is called after each piece with the pixels done and their total. Files get their names when all are whole;
    an error on the way leaves nothing. Raises InputError where scene, area or output are not fit, or no pixel is valid.
    """
    if {"probabilities", "probabilities-float32"} <= set(settings.layers):
        raise InputError(f"{output}: probabilities go to one file; ask for them as uint8 or as float32, not both")
    if settings.polygons and output.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{output}: polygons are made of GeoTIFF maps; give a --output that ends in .tif")
    with only_maker(output):
        if output.exists():  # another run has finished it meanwhile, or a worker that then died
            return finished_map(file, output, made_with)
        try:
            return _map(predictor, spec, file, output, settings, made_with, advance)
        finally:
            for part in files_of(file):
                close_idle(part)  # of hundreds of scenes, none stays open


def _map(
    predictor: Predictor,
    spec: ModelSpec,
    file: Source,
    output: Path,
    settings: MapSettings,
    made_with: Mapping[str, Any],
    advance: Callable[[int, int], None],
) -> MapRecord:
    content, states = scene_sha256(file), _states(file)
    opened = open_for_model(file, spec, settings.rules)
    area = area_of(opened, settings.window, settings.aoi)
    usual = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    note = unlike([Block(opened, area.window)], spec.bands, *usual)
    notes = [f"{note}; check --scale, --offset and --bands"] if note else []
    copied = quick_to_read(file, predictor.tile, output.parent) if isinstance(file, Path) else nullcontext(file)
    with copied as source:
        scene = opened if source == file else open_for_model(source, spec, settings.rules)
        tags = {
            "TIFFTAG_SOFTWARE": "segapp",
            "SEGAPP_SCENE": files_of(file)[0].name,
            "SEGAPP_MODEL": spec.name,
            "SEGAPP_WEIGHTS": spec.weights.sha256,
        }
        with ExitStack() as stack:
            writers: dict[Layer, MapWriter] = {}
            layers: tuple[Layer, ...] = (*settings.layers, "classes")
            for layer in layers:
                writers[layer] = open_writer(
                    layer_file(output, layer),
                    layer,
                    area.window.shape,
                    Block(scene, area.window).georeference,
                    spec.classes,
                    tags,
                    cog=settings.cog,
                    control_points=opened.raster.control_points and opened.raster.control_points.of_window(area.window),
                )
                stack.callback(writers[layer].abandon)
            counts, hectares = _write(predictor, scene, area, writers, spec, advance)
            if not counts[: len(spec.classes)].any():
                raise InputError(f"{file}: holds no valid pixel to map; check nodata, the bands and the area")
            for writer in writers.values():
                writer.close()
            if _states(file) != states:
                raise InputError(f"{file}: has changed while it was read; map it again when it is complete")
            notes += [f"{file}: {remark}" for remark in scene.remarks]
            record = _record_of(file, output, spec, counts, hectares, made_with, notes)
            sizes = {path.name: 0 for path in files_made(output, settings) if path != record_file(output)}
            sizes |= {writer.file.name: writer.temporary.stat().st_size for writer in writers.values()}
            record = record.model_copy(update={"scene_sha256": content, "files": sizes})
            write_record(output, record)  # before any file has its name: one without a record is somebody else's
            stack.callback(record_file(output).unlink, missing_ok=True)
            if settings.polygons:
                target = polygons_file(output, settings)
                write_polygons(writers["classes"].temporary, target, spec.classes, settings.minimum_pixels)
                stack.callback(target.unlink, missing_ok=True)
                write_record(output, record.model_copy(update={"files": sizes | {target.name: target.stat().st_size}}))
            for writer in writers.values():
                writer.deliver()
            stack.pop_all()
    return record


def _states(file: Source) -> list[tuple[int, int, int]]:
    """By which it is noticed that a scene is written to while they are read."""
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in map(Path.stat, files_of(file))]


def _record_of(
    file: Source,
    output: Path,
    spec: ModelSpec,
    counts: np.ndarray,
    hectares: np.ndarray | None,
    made_with: Mapping[str, Any],
    notes: Sequence[str],
) -> MapRecord:
    """The record of a map with so many pixels, and hectares where they are known, of each network index, (256,)."""
    return MapRecord(
        scene=str(file),
        map=str(output),
        classes=tuple(
            ClassArea(id=c.id, name=c.name, pixels=int(n), hectares=None if hectares is None else float(hectares[i]))
            for i, (c, n) in enumerate(zip(spec.classes.classes, counts, strict=False))
        ),
        nodata_pixels=int(counts[IGNORED_INDEX]),
        made_with=dict(made_with),
        notes=tuple(notes),
    )


def _write(
    predictor: Predictor,
    scene: Scene,
    area: Area,
    writers: Mapping[Layer, MapWriter],
    spec: ModelSpec,
    advance: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Map the area into the writers; returns pixels and, where they are known, hectares by network index, (256,)."""
    counts, hectares = np.zeros(256, np.int64), np.zeros(256)
    of_a_pixel = hectares_by_row(scene.georeference, scene.shape)
    total = area.window.height * area.window.width
    only_classes = set(writers) == {"classes"}

    def write(window: Window, indexes: np.ndarray | None, probabilities: np.ndarray | None) -> None:
        if indexes is None:
            assert probabilities is not None
            indexes = most_probable(probabilities)
        counts[:] += np.bincount(indexes.ravel(), minlength=256)
        if of_a_pixel is not None:
            weights = np.repeat(of_a_pixel[window.row : window.row_stop], window.width)
            hectares[:] += np.bincount(indexes.ravel(), weights, minlength=256)
        place = window.relative_to(area.window)
        for layer, writer in writers.items():
            writer.write(place, values_of(layer, indexes, probabilities, spec.classes))
        advance(int(counts.sum()), total)

    pieces = (predictor.indexes if only_classes else predictor.probabilities)(scene, area.window)
    with _writing_behind() as submit:
        for window, found in pieces:
            outside = area.inside(window)
            if outside is not None:
                found[~outside] = IGNORED_INDEX if only_classes else np.nan
            submit(write, window, *((found, None) if only_classes else (None, found)))
    if of_a_pixel is not None and np.ptp(of_a_pixel) == 0:  # without the rounding of sums
        hectares = counts * of_a_pixel[0]
    return counts, None if of_a_pixel is None else hectares


@contextmanager
def _writing_behind(most: int = 2) -> Iterator[Callable[..., None]]:
    """A function that has a thread call another, in order; it waits while `most` calls are open, and raises theirs."""
    with ThreadPoolExecutor(1, "writer") as writer:
        waiting: deque[Future[None]] = deque()

        def submit(function: Callable[..., None], *arguments: Any) -> None:
            waiting.append(writer.submit(function, *arguments))
            if len(waiting) > most:
                waiting.popleft().result()

        try:
            yield submit
            while waiting:
                waiting.popleft().result()
        finally:
            writer.shutdown(cancel_futures=True)
