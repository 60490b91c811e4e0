"""The steps of a training from its last checkpoint to its end."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.errors import InputError
from segapp.evaluation.evaluate import only_class
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import WEIGHTS_FILE, read_spec, write_model
from segapp.training.alarm import Alarm
from segapp.training.checkpoint import Progress, read_progress, restore_checkpoint, save_checkpoint
from segapp.training.devices import feed
from segapp.training.display import Display
from segapp.training.log_rows import LogRow
from segapp.training.loop import StepResult, Trainer
from segapp.training.records import TrainingLog
from segapp.training.run import Run
from segapp.training.sample_predictions import SamplePredictor
from segapp.training.validation import validate_on

CHECKPOINT_FILE = "checkpoint.npz"
LOG_EVERY = 20
"""Steps between lines of the log, as in MATLAB; checkpoints are taken at such lines only, so none is cut in two."""
CHECKPOINT_SECONDS = 30.0


def fit(
    run: Run,
    trainer: Trainer,
    partial: Path,
    display: Display,
    callbacks: Sequence[keras.callbacks.Callback],
    unfrozen: tuple[int, Callable[[], Trainer]] | None = None,
) -> None:
    """Take the steps that are left, with log lines, validations and checkpoints.

    `unfrozen` says after how many steps another trainer of the same network takes over, and makes it. In the end
    `partial` holds the model to keep, and the checkpoint of the last step.
    """
    recipe, total, per_epoch = run.recipe, run.total_steps, run.steps_per_epoch
    partial.mkdir(parents=True, exist_ok=True)
    display.keep_in(partial)
    checkpoint = partial / CHECKPOINT_FILE
    if unfrozen and checkpoint.exists() and read_progress(checkpoint).step > unfrozen[0]:
        trainer = unfrozen[1]()
    progress = restore_checkpoint(checkpoint, trainer.variables) if checkpoint.exists() else Progress()
    if progress.best_step and recipe.validation.keep == "best" and not _is_whole(partial):
        progress.best_score, progress.best_step = float("-inf"), 0  # so that the next validation writes it anew
    alarm = Alarm(run, partial)
    for note in run.notes:
        display.say(f"warning: {note}")
    log = TrainingLog(partial, progress.step)
    predictor = SamplePredictor(TensorFlowEngine(trainer.model), run.val_scenes, run.dataset.classes)
    events = keras.callbacks.CallbackList(list(callbacks), model=trainer.model)
    started = saved = time.monotonic()
    before = progress.seconds
    waiting: list[StepResult] = []
    validate_every = recipe.validation.every or per_epoch
    trainer.model.stop_training = False
    events.on_train_begin()
    opened = closing(_Batches(feed(run.stream.batches(recipe.batch, progress.step), trainer.strategy)))
    with opened as batches, display.steps(total, progress.step) as shown:
        while progress.step < total and not _stopped(run, trainer, progress):
            if unfrozen and progress.step == unfrozen[0]:
                trainer = unfrozen[1]()
            epoch, step_in_epoch = divmod(progress.step, per_epoch)
            if step_in_epoch == 0:
                events.on_epoch_begin(epoch)
            events.on_train_batch_begin(step_in_epoch)
            last = progress.step + 1 == total
            validating = (progress.step + 1) % validate_every == 0 or last
            logging = validating or (progress.step + 1) % LOG_EVERY == 0
            rate = trainer.learning_rate if logging else 0.0  # asking waits for the device
            waiting.append(trainer.step(*next(batches)))
            progress.step += 1
            shown.advance()
            logs: dict[str, float] = {}
            if logging:
                losses = [float(result.loss) for result in waiting]
                alarm.check_losses(losses, progress)
                row = LogRow(
                    progress.step,
                    epoch + 1,
                    rate,
                    float(np.mean(losses)),
                    float(np.mean([float(result.accuracy) for result in waiting])),
                    before + time.monotonic() - started,
                )
                waiting.clear()
                progress.seconds = row.seconds
                saving = validating or time.monotonic() - saved > CHECKPOINT_SECONDS
                if saving:
                    alarm.check_weights(trainer.variables, progress)
                if validating and run.val_scenes:
                    row = _validate(run, trainer, predictor, partial, progress, row, log)
                logs = _as_logs(row)
                log.write(row)
                shown.report(row)
                if saving:
                    save_checkpoint(checkpoint, trainer.variables, progress, run.settings)
                    saved = time.monotonic()
                if validating:
                    log.plot()
            events.on_train_batch_end(step_in_epoch, logs)
            if step_in_epoch == per_epoch - 1 or last:
                events.on_epoch_end(epoch, logs)
    events.on_train_end()
    if progress.step < total:
        alarm.check_weights(trainer.variables, progress)
        display.say(f"stopped early at step {progress.step} of {total}")
    if progress.only_class:
        display.say(
            f"warning: every pixel of the validation scenes is predicted as {progress.only_class}, but the labels have "
            "other classes; check the labels, lower the learning rate, or train longer"
        )
    if not run.val_scenes or recipe.validation.keep == "last":
        if recipe.validation.keep == "best":
            display.say(f"{run.dataset.path}: no scene has the role val, so the last weights are kept, not the best")
        with trainer.averaged_weights():
            write_model(partial, trainer.model, run.spec)


class _Batches:
    """The batches of a dataset, which `close` gives back.

    A traceback keeps what its frames hold until the interpreter ends, and there TensorFlow's iterator waits for Python
    threads that no longer run: the process would never end.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self._iterator: Iterator[Any] | None = iter(dataset)

    def __next__(self) -> tuple[tf.Tensor, tf.Tensor]:
        if self._iterator is None:
            raise ValueError("the batches are closed")
        try:
            return next(self._iterator)
        except Exception as error:
            _clear_frames(error)
            raise

    def close(self) -> None:
        """Drop the iterator, after which its threads end."""
        self._iterator = None


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of frames that an error went through, among which is the iterator."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _is_whole(folder: Path) -> bool:
    """Whether a model's weights are those that it names; a run may have been killed between one file and the other."""
    try:
        digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        return read_spec(folder).weights.sha256 == digest
    except (OSError, InputError):
        return False


def _stopped(run: Run, trainer: Trainer, progress: Progress) -> bool:
    """Whether a callback asked to stop, or validation has not gained for as long as the recipe has patience."""
    patience = run.recipe.validation.patience
    return trainer.model.stop_training or (0 < patience <= progress.validations_without_gain)


def _validate(
    run: Run,
    trainer: Trainer,
    predictor: SamplePredictor,
    partial: Path,
    progress: Progress,
    row: LogRow,
    log: TrainingLog,
) -> LogRow:
    """Score the validation scenes, write the model if it is the best so far, and complete the log line."""
    with trainer.averaged_weights():
        result = validate_on(predictor, run.val_scenes, run.dataset.classes)
        score = getattr(result.matrix, run.recipe.validation.score)
        better = score > progress.best_score or not progress.best_step
        if better or run.recipe.validation.keep == "last":
            progress.only_class = only_class(result.matrix)
        if better:
            progress.best_score, progress.best_step, progress.validations_without_gain = score, progress.step, 0
            if run.recipe.validation.keep == "best":
                write_model(partial, trainer.model, run.spec)
        else:
            progress.validations_without_gain += 1
    log.show(progress.step, predictor.pictures(), result.matrix)
    return replace(
        row, val_loss=result.loss, val_accuracy=result.matrix.global_accuracy, val_mean_iou=result.matrix.mean_iou
    )


def _as_logs(row: LogRow) -> dict[str, float]:
    """A log line as Keras callbacks know it."""
    names = ("loss", "accuracy", "learning_rate", "val_loss", "val_accuracy", "val_mean_iou")
    return {name: value for name in names if (value := getattr(row, name)) is not None}
