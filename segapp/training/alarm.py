"""A training that goes wrong is stopped where that is seen, and says at which step, rate and patches to look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from segapp.data.statistics import BandStatistics
from segapp.errors import InputError
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream, Stream
from segapp.scenes.scene import Scene
from segapp.training.checkpoint import Progress
from segapp.training.optimizers import LearningRate
from segapp.training.run import Run
from segapp.windows import Window

_EXPLODED = 100.0
"""How many times the loss of a network that knows nothing counts as exploded. One that guesses gives the right class a
probability of 1 in K, one at a hundred times its loss 1 in K to the power of 100: the leaps of a useful training stay
far below. What starts high, as from counts that are not standardised, is compared with its own start."""


class DivergedError(InputError):
    """A training went wrong past all return."""


@dataclass(frozen=True)
class Alarm:
    """Watches the losses and the weights of a run that works in the folder `partial`."""

    run: Run
    partial: Path

    def check_losses(self, losses: Sequence[float], progress: Progress) -> None:
        """Look at the losses of the steps up to ``progress.step``.

        Raises DivergedError where one is no number, or where half of them are beyond return: a single batch may leap.
        """
        first = progress.step - len(losses) + 1
        if first == 1:
            progress.first_loss = losses[0]
        limit = _EXPLODED * max(_loss_of_guessing(self.run), progress.first_loss)
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise self._error(f"the loss is {loss} in step {step}", step, progress)
        if np.median(losses) > limit:
            step = first + next(i for i, loss in enumerate(losses) if loss > limit)
            wrong = f"the loss exploded to {losses[step - first]:.3g} in step {step}, past all return ({limit:.3g})"
            raise self._error(wrong, step, progress)

    def check_weights(self, variables: Sequence[keras.Variable], progress: Progress) -> None:
        """Raise DivergedError where a number among `variables` is none: what is written next would be worth nothing."""
        for variable in variables:
            values = np.asarray(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                wrong = f"{variable.path} holds what is no number after step {progress.step}"
                raise self._error(wrong, progress.step, progress)

    def _error(self, wrong: str, step: int, progress: Progress) -> DivergedError:
        recipe = self.run.recipe
        rate = float(LearningRate(recipe.schedule, self.run.total_steps, self.run.steps_per_epoch)(step - 1))
        patches = _listed(patches_of(self.run.stream, recipe.batch, step))
        keeps = progress.best_step and recipe.validation.keep == "best"
        kept = f"; the best model until then, of step {progress.best_step}, is kept there" if keeps else ""
        return DivergedError(
            f"{self.partial}: {wrong} (learning rate {rate:.3g}{patches}); start again with a lower rate, or mend "
            f"what is wrong in these patches{kept}"
        )


def patches_of(stream: Stream, batch: int, step: int) -> list[tuple[Scene, Window]]:
    """Where the patches of a step, counted from 1, were cut: scenes and windows in them.

    Empty for a stream that mixes others.
    """
    if not isinstance(stream, PatchStream):
        return []
    scenes = stream.source.scenes
    places = [_Places(scene, number) for number, scene in enumerate(scenes)]
    settings = stream.augmentation.model_dump()
    as_cut = replace(stream, source=replace(stream.source, scenes=places), augmentation=_AsCut(**settings))
    found = []
    for index in range((step - 1) * batch, step * batch):
        where = as_cut.patch(index)[0][..., 1:].reshape(-1, 3)
        where = where[~np.isnan(where[:, 0])].astype(int)  # beyond the scene there is no place
        number, row, col = where.min(axis=0).tolist()
        _, last_row, last_col = where.max(axis=0).tolist()
        found.append((scenes[number], Window(row, col, last_row - row + 1, last_col - col + 1)))
    return found


class _Places:
    """A scene whose pixels say where they are, so that a patch of it does: validity, number, row, column."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.name, self.path, self.shape, self.georeference = scene.name, scene.path, scene.shape, scene.georeference
        self.bands, self.labelled = scene.bands, scene.labelled
        self.read_labels, self.read_label_ids, self.valid = scene.read_labels, scene.read_label_ids, scene.valid
        self._number = number

    def read(self, window: Window) -> np.ndarray:
        """(h, w, 4) float32, NaN in the first where the scene is invalid."""
        valid = np.where(self.valid(window), 0, np.nan)
        rows, cols = np.mgrid[window.slices]
        return np.stack([valid, np.full_like(valid, self._number), rows, cols], axis=-1).astype(np.float32)


class _AsCut(Augmentation):
    """Changes nothing in a patch, of the size that the settings ask for."""

    def apply(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        size: int,
        statistics: BandStatistics,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The patch as it was cut."""
        return pixels, labels


def _loss_of_guessing(run: Run) -> float:
    """The loss of a network that gives all classes the same probability; no term exceeds it."""
    config, classes = run.recipe.loss, len(run.dataset.classes)
    return (config.cross_entropy + config.focal) * math.log(classes) + config.dice


def _listed(patches: list[tuple[Scene, Window]]) -> str:
    """Patches by scene, as `segapp predict --window` takes them."""
    by_scene: dict[str, list[str]] = {}
    for scene, window in patches:
        place = f"{window.row},{window.col},{window.height},{window.width}"
        by_scene.setdefault(scene.name, []).append(place)
    text = "; ".join(f"{name} at {' '.join(places)}" for name, places in by_scene.items())
    return f", patches (row,col,height,width) {text}" if text else ""
