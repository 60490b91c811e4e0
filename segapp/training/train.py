"""`segapp train`: from a dataset to a scored model directory."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import segapp
from segapp.bundle import load, write_model
from segapp.dataset import Dataset, read_dataset
from segapp.errors import InputError
from segapp.evaluation.evaluate import score_scenes
from segapp.prediction.engine import Predictor
from segapp.training.checkpoint import Progress, read_settings, restore_checkpoint, save_checkpoint
from segapp.training.devices import Precision, choose_precision, make_repeatable, make_strategy
from segapp.training.display import Display
from segapp.training.loop import StepResult, Trainer
from segapp.training.recipe import Recipe, read_recipe
from segapp.training.records import LogRow, TrainingLog
from segapp.training.run import Run, build_trainer, prepare
from segapp.training.validation import validate_on

CHECKPOINT_FILE = "checkpoint.npz"
LOG_EVERY = 20
"""Steps between lines of the log, as in MATLAB; checkpoints are taken at such lines only, so none is cut in two."""
CHECKPOINT_SECONDS = 30.0


def train(
    data: str | Path | Dataset,
    output: str | Path,
    *,
    recipe: str | Recipe = "default",
    seed: int = 0,
    resume: bool = False,
    precision: Precision = "auto",
    devices: str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    quiet: bool = False,
    command: str = "",
) -> keras.Model:
    """Train a U-Net on the scenes with the role train and write a model directory to `output`.

    `data` is a dataset, or the path of a dataset.toml; `recipe` the name of one, a TOML file, or a `Recipe`. While it
    runs, everything lies in ``<output>.partial``, which is renamed when whole; with `resume` an interrupted run goes
    on at the step of its last checkpoint. The weights with the best validation score are written, or the last ones
    where no scene has the role val. Keras `callbacks` get every event of `Model.fit`; losses are passed every 20
    steps.

    Returns the model as `segapp.load` gives it. Raises InputError for bad input, and when `output` exists.
    """
    output = Path(output)
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or give another --output")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError(f"{output}: cannot be made in {nearest}; give an --output in a folder you may write to")
    dataset = data if isinstance(data, Dataset) else read_dataset(Path(data))
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    partial = output.with_name(output.name + ".partial")
    checkpoint = partial / CHECKPOINT_FILE
    if partial.exists() and not resume:
        raise InputError(f"{partial}: holds an interrupted run; go on with --resume, or remove it")

    strategy = make_strategy(devices)
    make_repeatable(seed)
    compute_precision = choose_precision(precision)
    display = Display(quiet)
    display.say(f"{dataset.name}: reading scenes")
    run = prepare(dataset, recipe, seed, compute_precision)
    if checkpoint.exists():
        _check_same_settings(checkpoint, run.settings)
    elif resume:
        display.say("nothing to resume, so starting at step 0")
    trainer = build_trainer(run, strategy, compute_precision)
    _fit(run, trainer, partial, display, callbacks)
    return _finish(run, partial, output, display, command, strategy.num_replicas_in_sync)


def _fit(
    run: Run, trainer: Trainer, partial: Path, display: Display, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Take the steps that are left, with log lines, validations and checkpoints; `partial` holds the model to keep."""
    recipe, total, per_epoch = run.recipe, run.total_steps, run.steps_per_epoch
    partial.mkdir(parents=True, exist_ok=True)
    checkpoint = partial / CHECKPOINT_FILE
    progress = restore_checkpoint(checkpoint, trainer.variables) if checkpoint.exists() else Progress()
    log = TrainingLog(partial, progress.step)
    predictor = Predictor(trainer.model, recipe.network.depth)
    events = keras.callbacks.CallbackList(list(callbacks), model=trainer.model)
    batches = trainer.distribute(run.stream.batches(recipe.batch, progress.step))
    started = saved = time.monotonic()
    before = progress.seconds
    waiting: list[StepResult] = []
    validate_every = recipe.validation.every or per_epoch
    trainer.model.stop_training = False
    events.on_train_begin()
    with display.steps(total, progress.step) as shown:
        while progress.step < total and not _stopped(run, trainer, progress):
            epoch, step_in_epoch = divmod(progress.step, per_epoch)
            if step_in_epoch == 0:
                events.on_epoch_begin(epoch)
            events.on_train_batch_begin(step_in_epoch)
            last = progress.step + 1 == total
            validating = (progress.step + 1) % validate_every == 0 or last
            logging = validating or (progress.step + 1) % LOG_EVERY == 0
            rate = trainer.learning_rate if logging else 0.0  # asking waits for the device
            waiting.append(trainer.step(batches))
            progress.step += 1
            shown.advance()
            logs: dict[str, float] = {}
            if logging:
                row = LogRow(
                    progress.step,
                    epoch + 1,
                    rate,
                    float(np.mean([float(result.loss) for result in waiting])),
                    float(np.mean([float(result.accuracy) for result in waiting])),
                    before + time.monotonic() - started,
                )
                waiting.clear()
                progress.seconds = row.seconds
                if validating and run.val_scenes:
                    row = _validate(run, trainer, predictor, partial, progress, row)
                logs = _as_logs(row)
                log.write(row)
                shown.report(row)
                if validating or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(checkpoint, trainer.variables, progress, run.settings)
                    saved = time.monotonic()
                if validating:
                    log.plot()
            events.on_train_batch_end(step_in_epoch, logs)
            if step_in_epoch == per_epoch - 1 or last:
                events.on_epoch_end(epoch, logs)
    events.on_train_end()
    if progress.step < total:
        display.say(f"stopped early at step {progress.step} of {total}")
    if not run.val_scenes:
        display.say(f"{run.dataset.path}: no scene has the role val, so the last weights are kept, not the best")
        with trainer.averaged_weights():
            write_model(partial, trainer.model, run.spec)


def _stopped(run: Run, trainer: Trainer, progress: Progress) -> bool:
    """Whether a callback asked to stop, or validation has not gained for as long as the recipe has patience."""
    patience = run.recipe.validation.patience
    return trainer.model.stop_training or (0 < patience <= progress.validations_without_gain)


def _validate(
    run: Run, trainer: Trainer, predictor: Predictor, partial: Path, progress: Progress, row: LogRow
) -> LogRow:
    """Score the validation scenes, write the model if it is the best so far, and complete the log line."""
    with trainer.averaged_weights():
        result = validate_on(predictor, run.val_scenes, run.dataset.classes)
        score = getattr(result.matrix, run.recipe.validation.score)
        if score > progress.best_score or not progress.best_step:
            progress.best_score, progress.best_step, progress.validations_without_gain = score, progress.step, 0
            write_model(partial, trainer.model, run.spec)
        else:
            progress.validations_without_gain += 1
    return replace(
        row, val_loss=result.loss, val_accuracy=result.matrix.global_accuracy, val_mean_iou=result.matrix.mean_iou
    )


def _finish(run: Run, partial: Path, output: Path, display: Display, command: str, replicas: int) -> keras.Model:
    """Score the model that was kept, complete its card, and put the directory in its place."""
    model = load(partial)
    predictor = Predictor(model, run.recipe.network.depth)
    scores = {}
    for role, scenes in (("val", run.val_scenes), ("test", run.dataset.scenes("test"))):
        if scenes:
            display.say(f"scoring {len(scenes)} {role} scenes")
            scores[role] = score_scenes(predictor, scenes, run.dataset.classes).as_dict()
    provenance = {
        "command": command or "segapp.train",
        "dataset": run.dataset.path,
        "training scenes": len(run.train_scenes),
        "recipe": run.recipe.model_dump(mode="json"),
        "seed": run.seed,
        "precision": run.settings["precision"],
        "replicas": replicas,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "segapp": segapp.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
    spec = model.spec.model_copy(update={"scores": scores, "provenance": provenance})
    model.spec = write_model(partial, model, spec)
    (partial / CHECKPOINT_FILE).unlink(missing_ok=True)
    try:
        partial.rename(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); the model lies in {partial}") from None
    display.say(f"model directory: {output}")
    return model


def _check_same_settings(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Raise InputError if the interrupted run had other settings than the one that is to go on."""
    before = read_settings(checkpoint)
    for key, value in settings.items():
        if before.get(key) != value:
            raise InputError(
                f"{checkpoint.parent}: was run with another {key}; resume with the same settings, or remove it"
            )


def _as_logs(row: LogRow) -> dict[str, float]:
    """A log line as Keras callbacks know it."""
    names = ("loss", "accuracy", "learning_rate", "val_loss", "val_accuracy", "val_mean_iou")
    return {name: value for name in names if (value := getattr(row, name)) is not None}
