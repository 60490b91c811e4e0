"""Run a model, and another one for comparison, on labelled scenes: the part of a report that needs a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segapp.data.dataset import Dataset
from segapp.errors import InputError
from segapp.evaluation.evaluate import check_fits
from segapp.model.model_spec import ModelSpec
from segapp.reporting.comparison import match_classes, select_bands
from segapp.reporting.gallery import GalleryPatch, Network, make_pictures, select_patches
from segapp.reporting.measure import Measurement, measure
from segapp.reporting.palette import Palette
from segapp.scenes.blocks import Role

if TYPE_CHECKING:
    from segapp.nets.precision import Precision


@dataclass(frozen=True, eq=False)
class Results:
    """The measurement of the model, its gallery, and the measurement of another model on the same scenes."""

    measured: Measurement
    gallery: Mapping[str, Sequence[GalleryPatch]]
    before: Measurement | None = None


def compute_results(
    model: tuple[Path, ModelSpec],
    dataset: Dataset,
    role: Role,
    palette: Palette,
    other: tuple[Path, ModelSpec] | None,
    precision: Precision,
    console: Console,
) -> Results:
    """Measure a model directory, and another if given, on the scenes of `dataset` with `role`, in `precision`.

    The bands and classes of the other model are matched by name. Raises InputError as `segapp evaluate` does, and when
    the dataset lacks a band of the other model; everything is checked before a network is loaded.
    """
    folder, spec = model
    scenes = dataset.scenes(role)
    if not scenes:
        raise InputError(f"{dataset.path}: no scene has the role {role}; choose --role {' or '.join(dataset.roles)}")
    check_fits(spec, dataset, str(folder))
    other_scenes = select_bands(scenes, other[1], str(other[0])) if other else []
    match = match_classes(other[1].classes, spec.classes) if other else None

    from segapp.inference.loading import open_predictor
    from segapp.inference.settings import RunSettings

    settings = RunSettings(precision=precision)
    network = Network(open_predictor(folder, settings)[0], scenes)
    other_network: tuple[str, Network] | None = None
    if other and match:
        predictor, _ = open_predictor(other[0], settings)
        other_network = (other[1].name, Network(predictor, other_scenes, match.remap, all(match.matched)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive, transient=True) as bar:
        task = bar.add_task("scenes", total=len(scenes) * (2 if other else 1))
        measured = measure(network.predictor, scenes, spec.classes, advance=lambda: bar.advance(task))
        before = None
        if other_network and match:
            predictor = other_network[1].predictor
            before = measure(predictor, other_scenes, match.classes, match.remap, lambda: bar.advance(task))
    gallery = {
        title: [make_pictures(patch, network, palette, other_network) for patch in patches]
        for title, patches in select_patches(measured.patches).items()
    }
    return Results(measured, gallery, before)
