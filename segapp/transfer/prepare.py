"""A transfer before its first step: what matches, what is trained where, on which scenes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segapp.bands import match_bands
from segapp.classes import shared_classes
from segapp.data.dataset import Dataset
from segapp.data.statistics import BandStatistics, band_statistics
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import ModelSpec, Normalization, as_rows
from segapp.model.second_moments import band_second_moments
from segapp.nets.adapt import BandFill, band_mixing
from segapp.nets.graph import analyse
from segapp.patches.memory import hold_in_memory
from segapp.patches.sampling import ClassPositions, find_class_positions
from segapp.scenes.scene import Scene
from segapp.training.freezing import AssignedSetting, assign_layer_settings
from segapp.transfer.discriminants import colouring, discriminants
from segapp.transfer.guard import hold_out
from segapp.transfer.notes import FAR, distances, notes_on
from segapp.transfer.plan import BandPlan, BlockPlan, ClassPlan, PhasePlan, Plan
from segapp.transfer.strategy import Phase, Strategy
from segapp.transfer.surgery import fresh_head_name, transplant
from segapp.transfer.unlabelled import UnlabelledScene
from segapp.windows import round_up


@dataclass(frozen=True)
class Transfer:
    """What a transfer is made of. `bands` and `classes` say what each new one continues of the base."""

    base: Base
    dataset: Dataset
    strategy: Strategy
    spec: ModelSpec
    bands: tuple[int | None, ...]
    mixing: np.ndarray
    """What each of the base's bands is made of, (C, bands of the base)."""
    classes: tuple[tuple[int, ...], ...]
    present: np.ndarray
    """(K,) bool: whether a training label shows the class."""
    labelled_scenes: Sequence[Scene]
    """The training scenes whole; `train_scenes` lack what is held out of them."""
    train_scenes: Sequence[Scene]
    val_scenes: Sequence[Scene]
    unlabelled: Sequence[Scene]
    positions: ClassPositions
    statistics: BandStatistics
    plan: Plan
    settings: Mapping[str, Any]

    @property
    def shared(self) -> np.ndarray:
        """(K,) bool: whether the class continues one of the base's."""
        return np.array([bool(sources) for sources in self.classes])

    @property
    def distils(self) -> bool:
        """Whether the strategy keeps in mind what the base knows of the new classes."""
        return bool(self.strategy.distillation > 0 and self.shared.sum() > 1)

    @property
    def ends_unjudged(self) -> bool:
        """Whether the last phase learns the held-out labels, too, so that none are left to judge it on."""
        return any(phase.held_out for phase in self.strategy.phases)

    def network(self) -> keras.Model:
        """The network with the base's body and a head drawn at random."""
        return transplant(self.base, self.spec, self.mixing)


def prepare(
    base: Base,
    dataset: Dataset,
    strategy: Strategy,
    *,
    class_map: Mapping[str, Sequence[str]] | None = None,
    unlabelled: Sequence[Path] = (),
    new_bands: BandFill | None = None,
    seed: int = 0,
) -> Transfer:
    """Match bands and classes, part scenes, and make the plan; reads labels and pixels once, trains nothing.

    Raises InputError where base and data do not go together.
    """
    classes = shared_classes(base.spec.classes, dataset.classes, class_map) if base.known_classes or class_map else None
    classes = classes or ((),) * len(dataset.classes)
    reach = math.ceil(strategy.patch_size * (1 + strategy.augmentation.scale))
    train_scenes = labelled_scenes = hold_in_memory(dataset.scenes("train", reach))
    if not train_scenes:
        raise InputError(f'{dataset.path}: no scene has the role train; give one that role, or split = "blocks"')
    val_scenes = hold_in_memory(dataset.scenes("val", reach))
    held_out = not val_scenes
    if held_out:
        train_scenes, val_scenes = hold_out(labelled_scenes, dataset.groups)
    positions = find_class_positions(train_scenes, len(dataset.classes), seed)
    pixels = positions.pixels
    if not pixels.any():
        raise InputError(f"{dataset.path}: the training scenes hold no labelled pixel; check classes and 'ignore'")
    statistics = band_statistics(train_scenes)

    bands = _match(base, dataset)
    matched = any(band is not None for band in bands)
    fill: BandFill = new_bands or ("zero" if matched else "discriminants")
    if fill == "discriminants" and matched:
        raise InputError(
            f"{dataset.path}: discriminants need data that shares no band with {base.source}; let new bands "
            "start at zero or as the mean"
        )
    shared = np.array([bool(sources) for sources in classes])
    base_is_candidate = bool(shared.all()) and strategy.head != "random"
    # A band keeps the base's mean and deviation where both sides have the same known unit, unless bands lie so far
    # outside that the base hardly sees them, and it cannot be written as it is anyway.
    comparable = [source is not None and _same_unit(base, dataset, source, i) for i, source in enumerate(bands)]
    distance = distances(base, statistics, bands, comparable)
    own = not base_is_candidate and bool((distance > FAR).any())
    kept = [False] * len(bands) if own else comparable
    spec = ModelSpec(
        schema=2,
        name=dataset.name,
        network=base.spec.network,
        bands=dataset.bands,
        classes=dataset.classes,
        normalization=_normalization(base, dataset, statistics, bands, kept),
        head=fresh_head_name(base),
        patch_size=strategy.patch_size,
    )
    if strategy.head == "copied" and not shared.all():
        new = ", ".join(name for name, c in zip(dataset.classes.names, shared, strict=True) if not c)
        raise InputError(f"{dataset.path}: {new} cannot be copied from {base.source}; use a fitted head")
    if base_is_candidate or not (held_out and strategy.guard):
        phases = tuple(phase for phase in strategy.phases if not phase.held_out)
        strategy = strategy.model_copy(update={"phases": phases})
    distils = bool(strategy.distillation > 0 and shared.sum() > 1)
    spec = spec.model_copy(update={"second_moments": as_rows(band_second_moments(spec.normalization, train_scenes))})
    second_moments = np.array(base.spec.second_moments) if base.spec.second_moments else None
    if fill == "discriminants":
        mixing = discriminants(spec.normalization, train_scenes, len(dataset.classes), len(base.spec.bands))
        if second_moments is not None:
            mixing = mixing @ colouring(second_moments)
    else:
        mixing = band_mixing(bands, len(base.spec.bands), fill, second_moments)
    network = transplant(base, spec, mixing)
    _check_patches(strategy, analyse(network).stride, unlabelled, distils)
    present = pixels > 0
    absent = shared & ~present & distils
    plan = Plan(
        base=base.source,
        strategy=strategy.name,
        description=strategy.description,
        bands=_band_plans(base, dataset, bands, kept),
        dropped_bands=tuple(b.name for i, b in enumerate(base.spec.bands) if i not in bands),
        classes=tuple(
            ClassPlan(id=c.id, name=c.name, base=tuple(base.spec.classes.names[s] for s in sources), pixels=int(count))
            for c, sources, count in zip(dataset.classes.classes, classes, pixels, strict=True)
        ),
        dropped_classes=tuple(
            name
            for index, name in enumerate(base.spec.classes.names)
            if base.known_classes and not any(index in sources for sources in classes)
        ),
        head=_HEADS[strategy.head].format(spec.head),
        training_scenes=len(train_scenes),
        validation_scenes=len(val_scenes),
        held_out=held_out,
        guarded=strategy.guard,
        base_is_candidate=base_is_candidate,
        distilled=tuple(name for name, s in zip(dataset.classes.names, absent, strict=True) if s),
        phases=tuple(_phase_plan(strategy, phase, network, len(train_scenes)) for phase in strategy.phases),
        notes=(
            *notes_on(base, dataset, statistics, bands, distance, fill, own),
            *(f"phase {p.name} learns what was held out and is not judged" for p in strategy.phases if p.held_out),
        ),
    )
    weights = b"".join(np.ascontiguousarray(w).tobytes() for w in base.model.get_weights())
    settings = {
        "base": hashlib.sha256(weights).hexdigest(),
        "strategy": strategy.model_dump(mode="json"),
        "seed": seed,
        "unlabelled": [str(file) for file in unlabelled],
        "plan": plan.model_dump(mode="json"),
    }
    return Transfer(
        base,
        dataset,
        strategy,
        spec,
        bands,
        mixing,
        classes,
        present,
        labelled_scenes,
        train_scenes,
        val_scenes,
        hold_in_memory([UnlabelledScene(scene) for scene in dataset.unlabelled(unlabelled)]),
        positions,
        statistics,
        plan,
        settings,
    )


def _normalization(
    base: Base,
    dataset: Dataset,
    statistics: BandStatistics,
    bands: Sequence[int | None],
    kept: Sequence[bool],
) -> Normalization:
    """The base's mean and deviation for the bands that keep them, those of the new training pixels for the others.

    Raises InputError where the base takes logarithms of a band that has none.
    """
    theirs = base.spec.normalization
    sources = [band if keep else None for band, keep in zip(bands, kept, strict=True)]
    mean = tuple(float(statistics.mean[i]) if s is None else theirs.mean[s] for i, s in enumerate(sources))
    std = tuple(float(statistics.std[i]) if s is None else theirs.std[s] for i, s in enumerate(sources))
    for band, centre in zip(dataset.bands, mean, strict=True):
        if theirs.logarithm and not centre > 0:
            raise InputError(
                f"{dataset.path}: band '{band.name}' is {centre:.4g} on average, but {base.source} takes logarithms; "
                "give the band an offset that makes it positive, or leave it out"
            )
    return Normalization(mean=mean, std=std, logarithm=theirs.logarithm)


def _band_plans(
    base: Base, dataset: Dataset, bands: Sequence[int | None], kept: Sequence[bool]
) -> tuple[BandPlan, ...]:
    return tuple(
        BandPlan(
            name=band.name,
            unit=band.unit,
            base=None if source is None else base.spec.bands[source].name,
            statistics="the base's" if keep else "of the new training pixels",
        )
        for band, source, keep in zip(dataset.bands, bands, kept, strict=True)
    )


def _check_patches(strategy: Strategy, stride: int, unlabelled: Sequence[Path], distils: bool) -> None:
    """Raise InputError where the strategy's patches do not suit the base, or unlabelled ones have no place."""
    size = strategy.patch_size
    if strategy.phases and size % stride:
        raise InputError(
            f"strategy {strategy.name}: a patch size of {size} does not divide by {stride}, as the base's poolings "
            f"need; use {round_up(size, stride)}"
        )
    if unlabelled and not distils:
        why = (
            "fewer than two classes carry over from it"
            if strategy.distillation
            else f"{strategy.name} keeps nothing of it"
        )
        raise InputError(f"{unlabelled[0]}: unlabelled images hold what the base knows, but {why}; leave them out")
    if unlabelled and strategy.phases and strategy.batch < 2:
        raise InputError(f"strategy {strategy.name}: a batch of 1 has no room for unlabelled patches; use 2 or more")


_HEADS = {
    "fitted": "The head '{}' is fitted to the frozen network's features.",
    "copied": "The head '{}' starts as the base's.",
    "random": "The head '{}' starts at random.",
}


def _match(base: Base, dataset: Dataset) -> tuple[int | None, ...]:
    """For each new band the base's, by name and wavelength; by order where nothing is known of the base's."""
    if not base.known_classes and len(base.spec.bands) == len(dataset.bands):
        return tuple(range(len(dataset.bands)))
    return match_bands(base.spec.bands, dataset.bands)


def _same_unit(base: Base, dataset: Dataset, source: int, index: int) -> bool:
    """Whether the base's statistics hold for a new band: its unit is known and the same, or the base takes it as is."""
    ours, theirs = dataset.bands[index].unit, base.spec.bands[source].unit
    return not base.known_classes or (ours == theirs and ours != "digital number")


def _phase_plan(strategy: Strategy, phase: Phase, network: keras.Model, images: int) -> PhasePlan:
    assigned = assign_layer_settings(network, phase.layers, f"strategy {strategy.name}: phase '{phase.name}'")
    blocks: dict[str, list[AssignedSetting]] = {}
    for entry in assigned:
        blocks.setdefault(entry.block, []).append(entry)
    return PhasePlan(
        name=phase.name,
        steps=strategy.recipe_of(phase, images).total_steps(images),
        rate=phase.rate,
        held_out=phase.held_out,
        blocks=tuple(
            BlockPlan(
                block=block,
                setting=" / ".join(dict.fromkeys(_shown(entry) for entry in entries if entry.parameters)),
                parameters=sum(entry.parameters for entry in entries),
                trainable=sum(entry.parameters for entry in entries if entry.setting != "frozen"),
            )
            for block, entries in blocks.items()
        ),
    )


def _shown(entry: AssignedSetting) -> str:
    if entry.setting == "frozen":
        return "frozen"
    weights, biases = entry.setting.weights, entry.setting.biases
    return f"x {weights:g}" if weights == biases else f"x {weights:g}, bias x {biases:g}"
