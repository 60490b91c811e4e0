"""Makes the plan of a transfer from what was matched."""

from __future__ import annotations

import keras

from segapp.data.dataset import Dataset
from segapp.model.base import Base
from segapp.training.freezing import AssignedSetting, assign_layer_settings
from segapp.transfer.bands import BandMatch
from segapp.transfer.classes import ClassMatch
from segapp.transfer.plan import BandPlan, BlockPlan, ClassPlan, PhasePlan, Plan
from segapp.transfer.scenes import TransferScenes
from segapp.transfer.strategy import Phase, Strategy

_HEADS = {
    "fitted": "The head '{}' is fitted to the frozen network's features.",
    "copied": "The head '{}' starts as the base's.",
    "random": "The head '{}' starts at random.",
}


def make_plan(
    base: Base,
    dataset: Dataset,
    strategy: Strategy,
    bands: BandMatch,
    classes: ClassMatch,
    scenes: TransferScenes,
    network: keras.Model,
    head: str,
    base_is_candidate: bool,
) -> Plan:
    """The plan; raises InputError where a pattern of the strategy's layers matches no layer of `network`."""
    new = dataset.classes
    kept_without_labels = strategy.distillation > 0 and classes.shared.sum() > 1
    return Plan(
        base=base.source,
        strategy=strategy.name,
        description=strategy.description,
        bands=tuple(
            BandPlan(
                name=band.name,
                unit=band.unit,
                base=None if source is None else base.spec.bands[source].name,
                statistics="the base's" if kept else "of the new training pixels",
            )
            for band, source, kept in zip(dataset.bands, bands.sources, bands.kept, strict=True)
        ),
        dropped_bands=tuple(b.name for i, b in enumerate(base.spec.bands) if i not in bands.sources),
        classes=tuple(
            ClassPlan(id=c.id, name=c.name, base=tuple(base.spec.classes.names[s] for s in sources), pixels=int(count))
            for c, sources, count in zip(new.classes, classes.sources, classes.pixels, strict=True)
        ),
        dropped_classes=tuple(
            name
            for index, name in enumerate(base.spec.classes.names)
            if base.known_classes and not any(index in sources for sources in classes.sources)
        ),
        head=_HEADS[strategy.head].format(head),
        context=strategy.context if _may_join_context(classes, scenes, base_is_candidate) else 0,
        training_scenes=len(scenes.train),
        validation_scenes=len(scenes.val),
        folds=len(scenes.splits) if scenes.folded else 0,
        guarded=strategy.guard,
        base_is_candidate=base_is_candidate,
        distilled=tuple(
            name
            for name, shared, present in zip(new.names, classes.shared, classes.present, strict=True)
            if kept_without_labels and shared and not present
        ),
        phases=tuple(_phase_plan(strategy, phase, network, len(scenes.train)) for phase in strategy.phases),
        notes=bands.notes,
    )


def _may_join_context(classes: ClassMatch, scenes: TransferScenes, base_is_candidate: bool) -> bool:
    """Whether labels show every class that is to be kept, and, where the base can be made worse, places apart judge."""
    return bool(classes.present[classes.shared].all()) and (scenes.places_apart or not base_is_candidate)


def _phase_plan(strategy: Strategy, phase: Phase, network: keras.Model, images: int) -> PhasePlan:
    assigned = assign_layer_settings(network, phase.layers, f"strategy {strategy.name}: phase '{phase.name}'")
    blocks: dict[str, list[AssignedSetting]] = {}
    for entry in assigned:
        blocks.setdefault(entry.block, []).append(entry)
    return PhasePlan(
        name=phase.name,
        steps=strategy.recipe_of(phase, images).total_steps(images),
        rate=phase.rate,
        blocks=tuple(
            BlockPlan(
                block=block,
                setting=" / ".join(dict.fromkeys(_factors(entry) for entry in entries if entry.parameters)),
                parameters=sum(entry.parameters for entry in entries),
                trainable=sum(entry.parameters for entry in entries if entry.setting != "frozen"),
            )
            for block, entries in blocks.items()
        ),
    )


def _factors(entry: AssignedSetting) -> str:
    if entry.setting == "frozen":
        return "frozen"
    weights, biases = entry.setting.weights, entry.setting.biases
    return f"x {weights:g}" if weights == biases else f"x {weights:g}, bias x {biases:g}"
