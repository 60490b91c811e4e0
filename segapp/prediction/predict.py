"""`segapp predict`: from scenes to maps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from segapp import terminal
from segapp.client.endpoint import ServerSettings
from segapp.data.fingerprint import contents_sha256
from segapp.errors import InputError
from segapp.inference.engine import EngineLostError
from segapp.inference.settings import EngineName, RunSettings
from segapp.maps.layers import Layer
from segapp.maps.record import MapRecord
from segapp.model.bundle import read_spec
from segapp.prediction.inputs import find_scenes, group_by_bands
from segapp.prediction.job import Advance, Job
from segapp.prediction.outputs import finished_maps, outputs_of
from segapp.prediction.settings import MapSettings, reading_rules
from segapp.scenes.band_files import BandFiles, Source
from segapp.windows import Window

if TYPE_CHECKING:
    from segapp.client.client import ServedModel
    from segapp.model.model_spec import ModelSpec
    from segapp.nets.precision import Precision


@dataclass(frozen=True)
class Failure:
    """A scene that could not be mapped, and why."""

    scene: Source
    reason: str


@dataclass(frozen=True)
class Maps:
    """What `predict` made: the records of all maps, those of earlier runs included, and the scenes that failed."""

    records: tuple[MapRecord, ...]
    failures: tuple[Failure, ...] = ()


def predict(
    model: str | Path,
    scenes: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    data: Path | None = None,
    bands: Sequence[int | str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    nodata: float | None = None,
    also: Sequence[Layer] = (),
    polygons: Literal["gpkg", "geojson"] | None = None,
    minimum_pixels: int = 1,
    cog: bool = False,
    window: tuple[int, int, int, int] | None = None,
    aoi: Path | None = None,
    engine: EngineName = "tensorflow",
    precision: Precision = "auto",
    tile_size: int | None = None,
    blend: bool = False,
    test_time_augmentation: bool = False,
    deadline: float = 120,
    patience: float = 60,
    resume: bool = False,
    dask: str | None = None,
    quiet: bool = False,
) -> Maps:
    """Map `scenes` with the model directory `model`, or with the model on a server, as in "grpc://host:8500/unet6".

    Arguments are the options of `segapp predict`, and do what these do (`segapp predict --help`, docs/predict.md):
    `bands` are 1-based indexes or names in the model's order, `window` is (row, column, height, width) in pixels, and
    `also` names layers beside the classes. Scenes, output and errors are as in `map_scenes`.
    """
    settings = MapSettings(
        rules=reading_rules(data, bands, scale, offset, nodata),
        layers=tuple(dict.fromkeys(also)),
        polygons=polygons,
        minimum_pixels=minimum_pixels,
        cog=cog,
        window=None if window is None else Window(*window),
        aoi=aoi,
    )
    run = RunSettings(engine, precision, tile_size, blend, test_time_augmentation)
    server = ServerSettings(deadline, patience)
    return map_scenes(model, scenes, output, settings, run, server=server, resume=resume, dask=dask, quiet=quiet)


def map_scenes(
    model: str | Path,
    scenes: str | Path | Sequence[str | Path | BandFiles],
    output: str | Path,
    settings: MapSettings | None = None,
    run: RunSettings | None = None,
    *,
    server: ServerSettings | None = None,
    resume: bool = False,
    dask: str | None = None,
    quiet: bool = False,
) -> Maps:
    """Map `scenes` with the model directory `model`, or with the model on a server, as in "grpc://host:8500/unet6".

    `scenes` are files, globs, folders, or text files that list such; files of one band each are one scene. One scene is
    written to the file `output`, several into the folder `output`, each by the name of its scene and in its kind. With
    `resume`, maps that an earlier run finished are kept. `dask` is the address of a scheduler whose workers, which must
    see the same files, share the scenes. `server` says how long a server is waited for; a bearer token for it is taken
    from SEGAPP_TOKEN, and the certificate of a private authority from the file that SEGAPP_CA_CERTIFICATE names.

    Raises InputError where model, scenes or output are not fit to begin with; a single scene that fails raises too, one
    of several is a `Failure`. Where a server is lost, so are all scenes that are left.
    """
    output = Path(output)
    settings, run = settings or MapSettings(), run or RunSettings()
    if settings.aoi and dask:  # workers run elsewhere
        settings = settings.model_copy(update={"aoi": settings.aoi.resolve()})
    found = find_scenes([scenes] if isinstance(scenes, str | Path) else scenes)
    console = terminal.console(stderr=True, quiet=quiet)
    source, spec, run, made_with = _source(model, run, server or ServerSettings(), console)
    files, left_out = group_by_bands(found, spec)
    for beside in left_out:
        console.print(f"note: {beside}: is none of the model's bands, and is left out", markup=False, soft_wrap=True)
    maps = outputs_of(files, output)
    single = maps == [output]
    made_with |= settings.model_dump(mode="json")
    if settings.rules and settings.rules.nodata is not None:
        made_with["rules"]["nodata"] = str(settings.rules.nodata)  # JSON has no NaN
    if settings.aoi and settings.aoi.is_file():
        made_with["aoi"] = contents_sha256([settings.aoi])
    done = finished_maps(files, maps, settings, made_with, resume)
    for file in done:
        console.print(f"{file}: is mapped already", markup=False, soft_wrap=True)
    todo = [(file, target) for file, target in zip(files, maps, strict=True) if file not in done]
    if not single:
        _make_folder(output)
    job = Job(source, settings, run, made_with)
    with _display(console, len(todo)) as advance:
        results: Iterable[tuple[Source, MapRecord | Exception]]
        if dask:
            from segapp.prediction.dask_cluster import map_on_cluster

            results = map_on_cluster(dask, job, todo, lambda line: console.print(line, markup=False, soft_wrap=True))
        else:
            results = ((file, job.run(file, target, advance)) for file, target in todo)
        failures: list[Failure] = []
        hardware = _hardware_lines(run) if isinstance(source, Path) and not dask else iter(())
        try:
            for file, result in results:
                if isinstance(result, MapRecord):
                    for line in hardware:  # all before the second map, and not before a mistake that ends all
                        console.print(line, markup=False, soft_wrap=True)
                    done[file] = result
                    for note in result.notes:
                        console.print(f"note: {note}", markup=False, soft_wrap=True)
                    continue
                if single:
                    raise result
                failures.append(Failure(file, _reason(file, result)))
                console.print(f"failed: {failures[-1].reason}", markup=False, soft_wrap=True)
        except EngineLostError as lost:
            if single:
                raise
            ended = {*done, *(failure.scene for failure in failures)}
            failures += [Failure(file, f"{file}: {lost}") for file, _ in todo if file not in ended]
            console.print(f"failed, with all scenes that are left: {lost}", markup=False, soft_wrap=True)
    return Maps(tuple(done[file] for file in files if file in done), tuple(failures))


def _source(
    model: str | Path, run: RunSettings, server: ServerSettings, console: Console
) -> tuple[Path | ServedModel, ModelSpec, RunSettings, dict[str, Any]]:
    """The model, its description, how it runs, and what the records of its maps state of it."""
    from segapp.client.endpoint import is_endpoint, parse_endpoint

    if not is_endpoint(model):
        spec = read_spec(Path(model))
        from segapp.inference.loading import resolved

        run = resolved(run)  # here, so that all workers of a cluster compute in one precision
        return Path(model), spec, run, {**_identity(spec), **asdict(run)}
    endpoint = parse_endpoint(str(model))
    run.check_for_server()
    from segapp.client.client import find_served

    served = find_served(endpoint, server, lambda line: console.print(line, markup=False, soft_wrap=True))
    spec = served.description.model
    made_with = {**_identity(spec), **asdict(run), "engine": "server", "precision": None}
    return served, spec, run, {**made_with, "server": str(served.endpoint)}


def _hardware_lines(run: RunSettings) -> Iterator[str]:
    from segapp.nets.hardware import hardware_lines

    return hardware_lines(run.precision, on_cpu=run.engine == "openvino")


def _reason(scene: Source, error: Exception) -> str:
    if isinstance(error, InputError | OSError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return f"{scene}: cannot be mapped ({type(error).__name__}: {first[:100]})"


def _identity(spec: ModelSpec) -> dict[str, str]:
    """What identifies a model: its weights, and all else that model.json says."""
    return {
        "weights": spec.weights.sha256,
        "model": hashlib.sha256(spec.to_share().model_dump_json().encode()).hexdigest(),
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); several maps need a folder") from None


@contextmanager
def _display(console: Console, scenes: int) -> Iterator[Advance]:
    """A bar over the pixels of the scene being mapped."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        terminal.RateColumn("pixels"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_interactive, transient=True) as bar:
        task = bar.add_task("mapping", total=None)
        number = 0

        def advance(done: int, total: int) -> None:
            nonlocal number
            number += done == total
            bar.update(task, description=f"scene {min(number + 1, scenes)} of {scenes}", completed=done, total=total)

        yield advance
