"""A model, and another to compare it with, on labelled scenes: everything of a report that takes a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segapp.data.dataset import Dataset
from segapp.errors import InputError
from segapp.evaluation.evaluate import check_fits
from segapp.model.model_spec import ModelSpec
from segapp.reporting.comparison import as_other_sees, match_classes
from segapp.reporting.gallery import Network, Shown, choose, show
from segapp.reporting.measure import Measured, measure
from segapp.reporting.palette import Palette
from segapp.scenes.blocks import Role


@dataclass(frozen=True, eq=False)
class Study:
    """What was measured, the patches that are shown, and what another model measured on the same scenes."""

    measured: Measured
    gallery: Mapping[str, Sequence[Shown]]
    before: Measured | None = None


def study(
    model: tuple[Path, ModelSpec],
    dataset: Dataset,
    role: Role,
    palette: Palette,
    other: tuple[Path, ModelSpec] | None,
    console: Console,
) -> Study:
    """Measure a model directory, and another if given, on the scenes of `dataset` that have `role`.

    The other one's bands and classes are matched by name. Raises InputError as `segapp evaluate` does, and where the
    other model takes a band that the dataset does not have; all that can be told without a network first.
    """
    folder, spec = model
    scenes = dataset.scenes(role)
    if not scenes:
        raise InputError(f"{dataset.path}: no scene has the role {role}; choose --role {' or '.join(dataset.roles)}")
    check_fits(spec, dataset, str(folder))
    its_scenes = as_other_sees(scenes, other[1], str(other[0])) if other else []
    matched = match_classes(other[1].classes, spec.classes) if other else None

    from segapp.inference.loading import open_predictor
    from segapp.inference.settings import RunSettings

    network = Network(open_predictor(folder, RunSettings())[0], scenes)
    its_network: tuple[str, Network] | None = None
    if other and matched:
        its_predictor, _ = open_predictor(other[0], RunSettings())
        its_network = (other[1].name, Network(its_predictor, its_scenes, matched.renumbered, all(matched.known)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive, transient=True) as bar:
        task = bar.add_task("scenes", total=len(scenes) * (2 if other else 1))
        measured = measure(network.predictor, scenes, spec.classes, advance=lambda: bar.advance(task))
        before = None
        if its_network and matched:
            its = its_network[1]
            before = measure(its.predictor, its.scenes, matched.classes, its.renumbered, lambda: bar.advance(task))
    gallery = {
        title: [show(patch, network, palette, its_network) for patch in patches]
        for title, patches in choose(measured.patches).items()
    }
    return Study(measured, gallery, before)
