"""The plan of a transfer: what will happen to bands, classes and blocks, before anything does."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.configuration import Strict


class BandPlan(Strict):
    """One new band: the base band whose filters it takes, and where its mean and standard deviation come from."""

    name: str
    unit: str
    base: str | None
    statistics: str


class ClassPlan(Strict):
    """One new class: the base classes that it continues, and how many labelled training pixels show it."""

    id: int
    name: str
    base: tuple[str, ...]
    pixels: int


class BlockPlan(Strict):
    """One block in one phase."""

    block: str
    setting: str
    parameters: int
    trainable: int


class PhasePlan(Strict):
    """One phase and what it does to each block."""

    name: str
    steps: int
    rate: float
    blocks: tuple[BlockPlan, ...]


class Plan(Strict):
    """What `segapp finetune` is going to do."""

    base: str
    strategy: str
    description: str
    bands: tuple[BandPlan, ...]
    dropped_bands: tuple[str, ...]
    classes: tuple[ClassPlan, ...]
    dropped_classes: tuple[str, ...]
    head: str
    context: int
    training_scenes: int
    validation_scenes: int
    folds: int
    """Splits of the training scenes for cross-validation; 0 where there are validation scenes."""
    guarded: bool
    base_is_candidate: bool
    distilled: tuple[str, ...]
    phases: tuple[PhasePlan, ...]
    notes: tuple[str, ...]


def print_plan(plan: Plan, console: Console) -> None:
    """Print the plan as tables: bands, classes, and blocks by phases."""
    console.print(f"{plan.base} -> {plan.strategy}: {plan.description.strip()}", markup=False)
    bands = Table("band", "unit", "filters", "mean and deviation", title="Bands", title_justify="left")
    for band in plan.bands:
        bands.add_row(*map(escape, (band.name, band.unit, band.base or "new", band.statistics)))
    console.print(bands)
    if plan.dropped_bands:
        console.print(f"Not in the new data, their filters are removed: {', '.join(plan.dropped_bands)}", markup=False)
    classes = Table("id", "class", "continues", title="Classes", title_justify="left")
    classes.add_column("training pixels", justify="right")
    for entry in plan.classes:
        classes.add_row(str(entry.id), escape(entry.name), escape(", ".join(entry.base)) or "new", f"{entry.pixels:,}")
    console.print(classes)
    if plan.dropped_classes:
        console.print(f"Classes of the base that end here: {', '.join(plan.dropped_classes)}", markup=False)
    if plan.distilled:
        console.print(
            f"No label shows them, so the base's predictions are kept: {', '.join(plan.distilled)}", markup=False
        )
    console.print(plan.head, markup=False)
    if plan.context:
        console.print(f"A context branch of {plan.context} units is fitted beside the network and joined with it.")
    if plan.phases:
        console.print(_phase_table(plan))
    validated = f"{plan.validation_scenes} to validate on"
    if plan.folds:
        validated = f"validated in {plan.folds} folds of them with a third of the steps each"
    console.print(f"{plan.training_scenes} scenes to train on, {validated}; {_guard(plan)}.", markup=False)
    for note in plan.notes:
        console.print(f"Note: {note}", markup=False)


def _guard(plan: Plan) -> str:
    """What is written in the end."""
    if not plan.guarded:
        return "nothing guards the result"
    if plan.base_is_candidate:
        return "the base competes"
    own = all(entry.base for entry in plan.classes)
    return "the base does not compete" if own else "the base cannot compete: not all classes are its own"


def _phase_table(plan: Plan) -> Table:
    """Blocks in rows, phases in columns: the factor of the learning rate, or frozen."""
    table = Table("block", title="Phases", title_justify="left")
    table.add_column("parameters", justify="right")
    for phase in plan.phases:
        table.add_column(f"{phase.name}\n{phase.steps} steps at {phase.rate:g}")
    for row, block in enumerate(plan.phases[0].blocks):
        settings = [phase.blocks[row].setting for phase in plan.phases]
        table.add_row(escape(block.block), f"{block.parameters:,}", *settings)
    table.add_section()
    trainable = [f"{sum(block.trainable for block in phase.blocks):,} trainable" for phase in plan.phases]
    table.add_row("all", f"{sum(block.parameters for block in plan.phases[0].blocks):,}", *trainable)
    return table
