"""`segapp train`: from a dataset to a scored model directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras

from segapp.data.dataset import Dataset, read_dataset
from segapp.data.fingerprint import fingerprint
from segapp.nets.encoders.weights import read_encoder_weights
from segapp.nets.hardware import hardware_lines
from segapp.nets.precision import Precision, choose_precision
from segapp.training.cluster import read_cluster
from segapp.training.devices import batch_over, make_repeatable
from segapp.training.display import Display
from segapp.training.fit import CHECKPOINT_FILE, fit
from segapp.training.mirror import makes_remote
from segapp.training.output import check_same_settings, deliver, provenance_of
from segapp.training.recipe import NO_WEIGHTS, Recipe, recipe_with
from segapp.training.run import build_network, prepare, start_trainer
from segapp.training.workers import joined


@makes_remote
def train(
    data: str | Path | Dataset,
    output: str | Path,
    *,
    recipe: str | Path | Recipe = "default",
    steps: int | None = None,
    epochs: int | None = None,
    patch_size: int | None = None,
    patches_per_image: int | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    freeze: Literal["none", "encoder"] | None = None,
    unfreeze_at: float | None = None,
    seed: int = 0,
    resume: bool = False,
    precision: Precision = "auto",
    devices: str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    quiet: bool = False,
    command: str = "segapp.train",
) -> keras.Model:
    """Train a U-Net on the scenes with the role train and write a model directory to `output`.

    `data` is a dataset, or the path of a dataset.toml; `recipe` the name of one, a TOML file, or a `Recipe`. What is
    given of `steps` to `unfreeze_at` stands in place of the recipe's. While it
    runs, everything lies in ``<output>.partial``, which is renamed when whole; with `resume` an interrupted run goes
    on at the step of its last checkpoint. The weights with the best validation score are written, or the last ones
    where no scene has the role val. Where the recipe freezes a pretrained encoder for a part of the steps, the
    optimizer starts anew when it is released. Keras `callbacks` get every event of `Model.fit`; losses are passed every
    20 steps.

    Where the environment variable TF_CONFIG names several workers, as Kubernetes' training operator and Vertex AI set
    it, the call is one of them: each makes its share of every batch, the first writes `output`, and the model is
    returned to all. Callbacks run on every worker, and have to decide alike.

    Returns the model as `segapp.load` gives it. Raises InputError for bad input, and when `output` exists, and
    ConnectionError where another worker is lost.
    """
    overrides: dict[str, Any] = {
        "steps": steps,
        "epochs": epochs,
        "patch_size": patch_size,
        "patches_per_image": patches_per_image,
    }
    overrides |= {"encoder": encoder, "encoder_weights": encoder_weights, "freeze": freeze, "unfreeze_at": unfreeze_at}
    output = Path(output)
    cluster = read_cluster()
    display = Display(quiet or not cluster.chief)
    with joined(cluster, devices, display.say) as workers, workers.folder(output, resume) as partial:
        dataset = data if isinstance(data, Dataset) else read_dataset(Path(data))
        recipe = recipe_with(recipe, overrides)
        strategy = workers.strategy
        replicas = strategy.num_replicas_in_sync
        recipe = recipe.for_devices(replicas)
        if split := batch_over(strategy, recipe.batch):
            display.say(split)
        weights = None
        if recipe.encoder_weights != NO_WEIGHTS:
            weights = read_encoder_weights(recipe.network.encoder, recipe.encoder_weights)
        make_repeatable(seed)
        compute_precision = choose_precision(precision)
        for line in hardware_lines(compute_precision):
            display.say(line)
        display.say(f"{dataset.name}: reading scenes")
        read = fingerprint(dataset)
        run = prepare(dataset, recipe, seed, compute_precision, weights)
        run = replace(run, settings={**run.settings, "data": read.sha256}, stream=workers.share(run.stream))
        workers.require_same(run.settings)
        checkpoint = partial / CHECKPOINT_FILE
        if checkpoint.exists():
            check_same_settings(checkpoint, run.settings)
        elif resume:
            display.say("nothing to resume, so starting at step 0")
        network = build_network(run, strategy, compute_precision, weights, display.console.print)
        frozen_steps = recipe.unfreeze_step(len(run.train_scenes))
        unfrozen = (frozen_steps, lambda: start_trainer(run, network, strategy, compute_precision, frozen_steps))
        trainer = start_trainer(run, network, strategy, compute_precision)
        fit(run, trainer, partial, display, callbacks, unfrozen if frozen_steps else None)
        provenance = provenance_of(
            command, dataset, read, len(run.train_scenes), recipe, seed, compute_precision, devices, replicas
        )
        if weights:
            provenance |= {
                "encoder": weights.encoder,
                "encoder weights": weights.source,
                "encoder weights sha256": weights.sha256,
            }
        model = workers.delivered(
            lambda: deliver(partial, output, dataset, run.val_scenes, provenance, compute_precision, display), output
        )
    if cluster.chief:
        (output / CHECKPOINT_FILE).unlink(missing_ok=True)
    return model
