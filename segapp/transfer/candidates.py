"""The candidates of a transfer: the base, the fitted head, the network after its phases, and both with context.

Longer than other files: each candidate starts from another one's network, head and folder, which one class holds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.configuration import write_json
from segapp.errors import InputError
from segapp.inference.loading import open_predictor
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import MODEL_FILE, load, write_model
from segapp.nets.precision import ComputePrecision, computing_in
from segapp.patches.pipeline import PatchStream, Stream
from segapp.patches.sampling import PatchSource, Sampling
from segapp.scenes.scene import Scene
from segapp.training.alarm import DivergedError
from segapp.training.devices import make_repeatable
from segapp.training.display import Display
from segapp.training.fit import fit
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.run import Run, make_trainer
from segapp.transfer.context import ContextWeights, fit_context, join_context
from segapp.transfer.distillation import distil, uncertainty_weights
from segapp.transfer.guard import PseudoLabelledScene, tile_counts
from segapp.transfer.linear_probe import fit_on_features
from segapp.transfer.network import copied_head, set_head
from segapp.transfer.scenes import Split
from segapp.transfer.strategy import Phase
from segapp.transfer.transfer import Transfer
from segapp.transfer.unlabelled import MixedStream

RESULT_FILE = "result.json"
BASE, HEAD, RANDOM = "base", "head", "start"
_WITH_CONTEXT = "-context"


@dataclass(frozen=True)
class Session:
    """How a transfer computes and reports."""

    display: Display
    strategy: tf.distribute.Strategy
    precision: ComputePrecision
    seed: int
    callbacks: Sequence[keras.callbacks.Callback] = ()


class Candidates:
    """Makes the candidates of a transfer on one split of its scenes, each from the one before, in folders of their own.

    What is done already is skipped. `share` of the strategy's steps are taken. `penalty` is that of the head; left out,
    validation scenes choose it.
    """

    def __init__(
        self,
        transfer: Transfer,
        split: Split,
        folder: Path,
        session: Session,
        share: float = 1.0,
        penalty: float | None = None,
    ) -> None:
        self.transfer, self.split, self.folder, self.session = transfer, split, folder, session
        self.share, self.penalty = share, penalty
        make_repeatable(session.seed)
        with session.strategy.scope(), computing_in(session.precision):
            self.start = transfer.network()
            drawn = keras.initializers.GlorotUniform(session.seed)((1, 1, *self._head_shape()))
        sources, present = transfer.classes.sources, transfer.classes.present
        self.copied = copied_head(transfer.base, sources, present, self._head_shape()[0])
        self.random = np.asarray(drawn)[0, 0], np.zeros(len(transfer.dataset.classes), np.float32)
        set_head(self.start, transfer.spec.head, *self.copied)
        self.uncertainty = uncertainty_weights(split.positions.pixels)

    @property
    def names(self) -> list[str]:
        """The candidates in the order in which they are compared.

        Neither a base of other classes nor the network between two phases is one.
        """
        strategy, plan = self.transfer.strategy, self.transfer.plan
        left_out = {_folder_of(number, phase) for number, phase in enumerate(strategy.phases[:-1], start=1)}
        names = [name for name in self._origins if name not in left_out]
        return names if plan.base_is_candidate or len(names) == 1 else names[1:]

    @cached_property
    def _origins(self) -> dict[str, str]:
        """What each candidate is made from, by name."""
        strategy = self.transfer.strategy
        last = RANDOM if strategy.head == "random" else BASE
        origins = {last: ""}

        def add(name: str, joins_context: bool) -> str:
            origins[name] = last
            if joins_context and self.transfer.joins_context:
                origins[name + _WITH_CONTEXT] = name
            return name

        if strategy.head == "fitted":
            last = add(HEAD, True)
        for number, phase in enumerate(strategy.phases, start=1):
            last = add(_folder_of(number, phase), number == len(strategy.phases))
        return origins

    def make(self, name: str) -> Path:
        """Make a candidate and what it is made from; returns its folder."""
        origin = self._origins[name]
        if origin:
            self.make(origin)
        if not origin:
            if not (self.folder / name / MODEL_FILE).exists():
                self._write_start(name, self.random if name == RANDOM else self.copied)
        elif name == HEAD:
            self._fit_head()
        elif name == origin + _WITH_CONTEXT:
            self._join_context(name, origin)
        else:
            self._train(name, origin)
        return self.folder / name

    def counts(self, name: str) -> np.ndarray:
        """Confusion counts (T, K, K) of a candidate on the tiles of the validation scenes; it is made where missing."""
        folder = self.make(name)
        result = self._result(name)
        if "counts" not in result:
            predictor, _ = open_predictor(folder, RunSettings(precision=self.session.precision))
            counts = tile_counts(predictor, self._validation_scenes(), self.transfer.dataset.classes)
            result["counts"] = counts.tolist()
            write_json(folder / RESULT_FILE, result)
        size = len(self.transfer.dataset.classes)
        return np.array(result["counts"], np.int64).reshape(-1, size, size)

    def head_penalty(self) -> float | None:
        """The penalty of the fitted head; None where no head was fitted."""
        return self._result(HEAD).get("penalty")

    def _fit_head(self) -> None:
        if "penalty" in self._result(HEAD):
            return
        session = self.session
        fitted = fit_on_features(
            self.transfer, self.split, self.start, self.copied, self.uncertainty, session.seed, self.penalty
        )
        session.display.say(f"head fitted, penalty {fitted.penalty:g}")
        self._write_start(HEAD, (fitted.weights, fitted.bias))
        write_json(self.folder / HEAD / RESULT_FILE, {"penalty": fitted.penalty})

    def _join_context(self, name: str, network: str) -> None:
        if (self.folder / name / MODEL_FILE).exists():
            return
        model = load(self.folder / network)
        write_model(self.folder / name, *join_context(model, model.spec, self._context))
        self.session.display.say(f"context branch of {len(self._context.hidden_bias)} units joined with {network}")

    @cached_property
    def _context(self) -> ContextWeights:
        transfer, split = self.transfer, self.split
        units, balance = transfer.strategy.context, transfer.strategy.sampling.balance
        return fit_context(transfer.spec, units, split.train, split.positions, balance, self.session.seed)

    def _head_shape(self) -> tuple[int, int]:
        return int(self.start.get_layer(self.transfer.spec.head).input.shape[-1]), len(self.transfer.dataset.classes)

    def _write_start(self, name: str, head: tuple[np.ndarray, np.ndarray]) -> None:
        set_head(self.start, self.transfer.spec.head, *head)
        write_model(self.folder / name, self.start, self.transfer.spec)

    def _result(self, name: str) -> dict[str, Any]:
        file = self.folder / name / RESULT_FILE
        return read_json(file) if file.exists() else {}

    def _validation_scenes(self) -> Sequence[Scene]:
        """The validation scenes; where the base distils classes without labels, pseudo-labelled with these."""
        scenes, classes = self.transfer.scenes, self.transfer.classes
        pseudo_labelled = classes.shared if scenes.unlabelled else classes.shared & ~classes.present
        if not self.transfer.distils or not pseudo_labelled.any():
            return self.split.val
        set_head(self.start, self.transfer.spec.head, *self.copied)
        predictor, indexes = Predictor(TensorFlowEngine(self.start)), np.flatnonzero(pseudo_labelled)
        return [PseudoLabelledScene(scene, predictor, indexes) for scene in (*self.split.val, *scenes.unlabelled)]

    def _train(self, name: str, before: str) -> None:
        """Train one phase from the weights in the folder `before`."""
        if (self.folder / name / RESULT_FILE).exists():
            return
        transfer, session, split = self.transfer, self.session, self.split
        names = [_folder_of(n, phase) for n, phase in enumerate(transfer.strategy.phases, start=1)]
        number = names.index(name) + 1
        phase = transfer.strategy.phases[number - 1]
        session.display.say(f"phase {number} of {len(names)}, {phase.name}: starts from {before}")
        # A fold is scored once, when it is trained.
        val_scenes = () if transfer.scenes.folded and transfer.strategy.guard else self._validation_scenes()
        recipe = transfer.strategy.recipe_of(phase, len(split.train), self.share, validates=bool(val_scenes))
        make_repeatable(session.seed + number)
        with session.strategy.scope(), computing_in(session.precision):
            model = load(self.folder / before)
        factors = freeze(model, assign_layer_settings(model, phase.layers))
        run = Run(
            transfer.dataset,
            recipe,
            session.seed,
            split.train,
            val_scenes,
            self._stream(number),
            split.positions,
            transfer.spec,
            recipe.steps_per_epoch(len(split.train)),
            recipe.total_steps(len(split.train)),
            {},
        )
        distillation = decided = None
        if transfer.distils:
            set_head(self.start, transfer.spec.head, *self.copied)
            shared, present = transfer.classes.shared, transfer.classes.present
            distillation = distil(self.start, shared, present, transfer.strategy.distillation, self.uncertainty)
            decided = present | ~shared
        trainer = make_trainer(run, model, session.strategy, session.precision, factors, distillation, decided)
        try:
            fit(run, trainer, self.folder / name, session.display, session.callbacks)
        except DivergedError as error:
            if not transfer.strategy.guard:
                raise
            session.display.say(f"warning: {error}")
            if not (self.folder / name / MODEL_FILE).exists():  # so it is judged as what it started from
                write_model(self.folder / name, load(self.folder / before), transfer.spec)
        write_json(self.folder / name / RESULT_FILE, {})

    def _stream(self, number: int) -> Stream:
        transfer, split = self.transfer, self.split
        seed = self.session.seed + (number << 32)
        size, augmentation = transfer.strategy.patch_size, transfer.strategy.augmentation
        source = PatchSource(split.train, size, seed, transfer.strategy.sampling, split.positions)
        labelled = PatchStream(source, augmentation, transfer.scenes.statistics)
        if not transfer.scenes.unlabelled:
            return labelled
        anywhere = PatchSource(transfer.scenes.unlabelled, size, seed + (1 << 31), Sampling(minimum_labelled=0))
        return MixedStream(labelled, PatchStream(anywhere, augmentation, transfer.scenes.statistics))


def _folder_of(number: int, phase: Phase) -> str:
    return f"{number}-{phase.name}"


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of an interrupted run; raises InputError when it is damaged."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{file}: is damaged; remove {file.parent} and start again")
    return value
