"""A transfer before its first step: what matches, what is trained where, on which scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segapp.data.dataset import Dataset
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.model_spec import ModelSpec, as_rows
from segapp.model.second_moments import band_second_moments
from segapp.nets.adapt import BandFill
from segapp.nets.graph import analyse
from segapp.training.versions import weights_sha256
from segapp.transfer.bands import BandMatch, match_new_bands
from segapp.transfer.classes import ClassMatch, match_classes
from segapp.transfer.network import build_network, fresh_head_name
from segapp.transfer.plan import Plan
from segapp.transfer.planning import make_plan
from segapp.transfer.scenes import TransferScenes, split_scenes
from segapp.transfer.strategy import Strategy
from segapp.windows import round_up


@dataclass(frozen=True)
class Transfer:
    """What a transfer is made of: the base, the new data matched with it, and the plan."""

    base: Base
    dataset: Dataset
    strategy: Strategy
    bands: BandMatch
    classes: ClassMatch
    scenes: TransferScenes
    spec: ModelSpec
    mixing: np.ndarray
    """Weights (C, bands of the base) of the new bands in each of the base's bands."""
    plan: Plan
    settings: Mapping[str, Any]
    """What must be the same for an interrupted run to be resumed."""

    @property
    def distils(self) -> bool:
        """Whether the network is held to the base model's predictions of the shared classes."""
        return distils(self.strategy, self.classes)

    @property
    def joins_context(self) -> bool:
        """Whether a context branch is fitted and joined with the network."""
        return self.plan.context > 0

    def network(self) -> keras.Model:
        """The network with the base's body and a random head."""
        return build_network(self.base, self.spec, self.mixing)


def distils(strategy: Strategy, classes: ClassMatch) -> bool:
    """Whether `strategy` distils from the base: that takes two shared classes or more."""
    return bool(strategy.distillation > 0 and classes.shared.sum() > 1)


def plan_transfer(
    base: Base,
    dataset: Dataset,
    strategy: Strategy,
    *,
    class_map: Mapping[str, Sequence[str]] | None = None,
    unlabelled: Sequence[Path] = (),
    new_bands: BandFill | None = None,
    seed: int = 0,
) -> Transfer:
    """Match bands and classes, split scenes, and make the plan; reads labels and pixels once, trains nothing.

    Raises InputError where base and data do not fit.
    """
    scenes = split_scenes(dataset, strategy, unlabelled, seed)
    classes = match_classes(base, dataset.classes, scenes.positions.pixels, class_map)
    if strategy.head == "copied" and not classes.shared.all():
        new = ", ".join(name for name, shared in zip(dataset.classes.names, classes.shared, strict=True) if not shared)
        raise InputError(f"{dataset.path}: {new} cannot be copied from {base.source}; use a fitted head")
    base_is_candidate = bool(classes.shared.all()) and strategy.head != "random"
    strategy = strategy.with_phases_for("same" if base_is_candidate else "new")
    bands = match_new_bands(base, dataset, scenes.statistics, new_bands=new_bands, keep_far=base_is_candidate)
    mixing = bands.mixing(base, scenes.train, len(dataset.classes))
    spec = ModelSpec(
        schema=2,
        name=dataset.name,
        network=base.spec.network,
        bands=dataset.bands,
        images=dataset.reading,
        classes=dataset.classes,
        normalization=bands.normalization,
        head=fresh_head_name(base),
        context=base.spec.context if np.array_equal(mixing, np.eye(len(base.spec.bands))) else 0,
        second_moments=as_rows(band_second_moments(bands.normalization, scenes.train)),
        patch_size=strategy.patch_size,
    )
    network = build_network(base, spec, mixing)
    _check_patches(strategy, analyse(network).stride, unlabelled, distils(strategy, classes))
    plan = make_plan(base, dataset, strategy, bands, classes, scenes, network, spec.head, base_is_candidate)
    settings = {
        "base": weights_sha256(base.model.get_weights()),
        "strategy": strategy.model_dump(mode="json"),
        "seed": seed,
        "unlabelled": [str(file) for file in unlabelled],
        "plan": plan.model_dump(mode="json"),
    }
    return Transfer(base, dataset, strategy, bands, classes, scenes, spec, mixing, plan, settings)


def _check_patches(strategy: Strategy, stride: int, unlabelled: Sequence[Path], distilling: bool) -> None:
    """Raise InputError where the patch size does not suit the base, or unlabelled images have no use."""
    size = strategy.patch_size
    if strategy.phases and size % stride:
        raise InputError(
            f"strategy {strategy.name}: a patch size of {size} does not divide by {stride}, as the base's poolings "
            f"need; use {round_up(size, stride)}"
        )
    if unlabelled and not distilling:
        reason = "fewer than two classes are shared" if strategy.distillation else f"{strategy.name} has none"
        raise InputError(
            f"{unlabelled[0]}: unlabelled images serve distillation from the base, but {reason}; omit them"
        )
    if unlabelled and strategy.phases and strategy.batch < 2:
        raise InputError(f"strategy {strategy.name}: a batch of 1 has no room for unlabelled patches; use 2 or more")
