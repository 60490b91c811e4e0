"""The phases of a transfer, run one after another, each in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from segapp.patches.sampling import ClassPositions, PatchSource, Sampling, find_class_positions
from segapp.scenes.scene import Scene
from segapp.training.alarm import DivergedError
from segapp.training.devices import make_repeatable
from segapp.training.display import Display
from segapp.training.fit import fit
from segapp.training.freezing import assign_layer_settings, freeze
from segapp.training.run import Run, make_trainer
from segapp.transfer.distillation import distil, uncertainty_weights
from segapp.transfer.guard import Candidate, PseudoLabelledScene, is_significantly_better, tile_counts
from segapp.transfer.linear_probe import fit_on_features
from segapp.transfer.network import copied_head, set_head
from segapp.transfer.strategy import Phase
from segapp.transfer.transfer import Transfer
from segapp.transfer.unlabelled import MixedStream

RESULT_FILE = "result.json"
_SCORES = ("accuracy", "mean_iou")


class Phases:
    """Runs the phases of a transfer, each in a folder of its own, and skips those that are done.

    To replace what knows all classes already, as the base does or what came of it, a phase must be surely better
    (0.9); where classes are new there is nothing to lose, and better is enough.
    """

    def __init__(
        self,
        transfer: Transfer,
        partial: Path,
        display: Display,
        strategy: tf.distribute.Strategy,
        precision: ComputePrecision,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        self.transfer, self.partial, self.display = transfer, partial, display
        self.strategy, self.precision, self.seed, self.callbacks = strategy, precision, seed, callbacks
        make_repeatable(seed)
        with strategy.scope(), computing_in(precision):
            self.start = transfer.network()
            drawn = keras.initializers.GlorotUniform(seed)((1, 1, *self._head_shape()))
        self.copied = copied_head(transfer.base, transfer.classes.sources, transfer.classes.present)
        self.random = np.asarray(drawn)[0, 0], np.zeros(len(transfer.dataset.classes), np.float32)
        set_head(self.start, transfer.spec.head, *self.copied)
        self.uncertainty = uncertainty_weights(np.array([entry.pixels for entry in transfer.plan.classes]))
        self.val_scenes = self._validation_scenes()

    def _validation_scenes(self) -> Sequence[Scene]:
        """The validation scenes; where the base distils classes without labels, pseudo-labelled with these."""
        scenes, classes = self.transfer.scenes, self.transfer.classes
        pseudo_labelled = classes.shared if scenes.unlabelled else classes.shared & ~classes.present
        if not self.transfer.distils or not pseudo_labelled.any():
            return scenes.val
        predictor, indexes = Predictor(TensorFlowEngine(self.start)), np.flatnonzero(pseudo_labelled)
        return [PseudoLabelledScene(scene, predictor, indexes) for scene in (*scenes.val, *scenes.unlabelled)]

    def run(self) -> tuple[str, list[dict[str, Any]]]:
        """Run what is not done yet; returns the folder of the model to write, and what every phase scored."""
        transfer, record = self.transfer, []
        best: Candidate | None = None
        if transfer.strategy.head == "random":
            self._write_start("start", self.random)
            last = "start"
        else:
            self._write_start("base", self.copied)
            last = "base"
            if transfer.plan.base_is_candidate:
                best = self._candidate("base")
                record.append(self._line(best, None))
        if transfer.strategy.head == "fitted":
            if not (self.partial / "head" / RESULT_FILE).exists():
                head = fit_on_features(transfer, self.start, self.copied, self.uncertainty, self.seed)
                self.display.say(f"head fitted, penalty {head.penalty:g}")
                self._write_start("head", (head.weights, head.bias))
            last = "head"
            best = self._contest("head", best, record)
        for number, phase in enumerate(transfer.strategy.phases, start=1):
            start = best.name if best and transfer.strategy.guard else last
            name = f"{number}-{phase.name}"
            if not (self.partial / name / RESULT_FILE).exists():
                self.display.say(
                    f"phase {number} of {len(transfer.strategy.phases)}, {phase.name}: starts from {start}"
                )
                self._train(number, phase, name, start)
            last = name
            if phase.held_out:
                record.append({"phase": name, **dict.fromkeys(_SCORES), "against": None, "won": True})
            else:
                best = self._contest(name, best, record)
        judged = transfer.strategy.guard and not transfer.ends_unvalidated
        winner = best.name if best and judged else last
        self.display.say(f"written: {winner}" + ("" if judged else " (nothing judges it)"))
        return winner, record

    def _head_shape(self) -> tuple[int, int]:
        return int(self.start.get_layer(self.transfer.spec.head).input.shape[-1]), len(self.transfer.dataset.classes)

    def _write_start(self, name: str, head: tuple[np.ndarray, np.ndarray]) -> None:
        set_head(self.start, self.transfer.spec.head, *head)
        write_model(self.partial / name, self.start, self.transfer.spec)

    def _candidate(self, name: str) -> Candidate:
        """Score the model in a phase's folder, unless that was done before."""
        file = self.partial / name / RESULT_FILE
        if not file.exists():
            predictor, _ = open_predictor(self.partial / name, RunSettings(precision=self.precision))
            counts = tile_counts(predictor, self.val_scenes, self.transfer.dataset.classes)
            write_json(file, {"counts": counts.tolist()})
        counts = np.array(read_json(file)["counts"], np.int64)
        size = len(self.transfer.dataset.classes)
        return Candidate(name, counts.reshape(-1, size, size))

    def _contest(self, name: str, best: Candidate | None, record: list[dict[str, Any]]) -> Candidate:
        candidate = self._candidate(name)
        record.append(self._line(candidate, best))
        won = best is None or is_significantly_better(
            candidate, best, 0.9 if self.transfer.plan.base_is_candidate else 0.5, self.seed
        )
        record[-1]["won"] = won
        accuracy, mean_iou = (f"{x:.3f}" if (x := record[-1][key]) is not None else "-" for key in _SCORES)
        self.display.say(
            f"{name}: validation accuracy {accuracy}, mean IoU {mean_iou}"
            + (f", {'ahead of' if won else 'no significant improvement over'} {best.name}" if best else "")
        )
        return candidate if won or best is None else best

    def _line(self, candidate: Candidate, best: Candidate | None) -> dict[str, Any]:
        matrix = candidate.scores(self.transfer.dataset.classes)
        values = (matrix.global_accuracy, matrix.mean_iou)
        scores = {key: None if np.isnan(x) else x for key, x in zip(_SCORES, values, strict=True)}
        return {"phase": candidate.name, **scores, "against": best.name if best else None, "won": best is None}

    def _train(self, number: int, phase: Phase, name: str, start: str) -> None:
        """Train one phase in its folder, from the weights in the folder `start`."""
        transfer = self.transfer
        scenes, positions, val_scenes = transfer.scenes.train, transfer.scenes.positions, self.val_scenes
        if phase.held_out:
            scenes, val_scenes = transfer.scenes.labelled, ()
            positions = find_class_positions(scenes, len(transfer.dataset.classes), self.seed)
        recipe = transfer.strategy.recipe_of(phase, len(scenes))
        make_repeatable(self.seed + number)
        with self.strategy.scope(), computing_in(self.precision):
            model = load(self.partial / start)
        factors = freeze(model, assign_layer_settings(model, phase.layers))
        run = Run(
            transfer.dataset,
            recipe,
            self.seed,
            scenes,
            val_scenes,
            self._stream(number, scenes, positions),
            positions,
            transfer.spec,
            recipe.steps_per_epoch(len(scenes)),
            recipe.total_steps(len(scenes)),
            {},
        )
        distillation = decided = None
        if transfer.distils:
            set_head(self.start, transfer.spec.head, *self.copied)
            distillation = distil(
                self.start,
                transfer.classes.shared,
                transfer.classes.present,
                transfer.strategy.distillation,
                self.uncertainty,
            )
            decided = transfer.classes.present | ~transfer.classes.shared
        trainer = make_trainer(run, model, self.strategy, self.precision, factors, distillation, decided)
        try:
            fit(run, trainer, self.partial / name, self.display, self.callbacks)
        except DivergedError as error:
            if not transfer.strategy.guard or phase.held_out:
                raise
            self.display.say(f"warning: {error}")
            if not (self.partial / name / MODEL_FILE).exists():  # so it is judged as what it started from
                write_model(self.partial / name, load(self.partial / start), transfer.spec)
        if phase.held_out:
            write_json(self.partial / name / RESULT_FILE, {})

    def _stream(self, number: int, scenes: Sequence[Scene], positions: ClassPositions | None) -> Stream:
        transfer = self.transfer
        seed = self.seed + (number << 32)
        size, augmentation = transfer.strategy.patch_size, transfer.strategy.augmentation
        source = PatchSource(scenes, size, seed, transfer.strategy.sampling, positions)
        labelled = PatchStream(source, augmentation, transfer.scenes.statistics)
        if not transfer.scenes.unlabelled:
            return labelled
        anywhere = PatchSource(transfer.scenes.unlabelled, size, seed + (1 << 31), Sampling(minimum_labelled=0))
        return MixedStream(labelled, PatchStream(anywhere, augmentation, transfer.scenes.statistics))


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of an interrupted run; raises InputError when it is damaged."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{file}: is damaged; remove {file.parent} and start again")
    return value
