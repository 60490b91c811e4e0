"""`segapp finetune`: a pretrained network brought to new data, never made worse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from segapp.configuration import write_json
from segapp.data.dataset import Dataset, read_dataset
from segapp.data.fingerprint import fingerprint
from segapp.data.leakage import leaks
from segapp.errors import InputError
from segapp.model.base import Base
from segapp.model.bundle import load, write_model
from segapp.nets.adapt import BandFill
from segapp.nets.hardware import hardware_lines
from segapp.nets.precision import Precision, choose_precision
from segapp.remote import address_of, fetched
from segapp.terminal import as_text
from segapp.training.cluster import VARIABLE, read_cluster
from segapp.training.devices import batch_over, make_repeatable, make_strategy
from segapp.training.display import Display
from segapp.training.fit import CHECKPOINT_FILE
from segapp.training.mirror import makes_remote
from segapp.training.output import claimed, deliver, provenance_of
from segapp.training.tracker import track_text
from segapp.transfer.base import read_base
from segapp.transfer.candidates import RESULT_FILE, Session, read_json
from segapp.transfer.plan import Plan, print_plan
from segapp.transfer.selection import remove_folds, select
from segapp.transfer.strategy import HeadStart, Strategy, strategy_with
from segapp.transfer.transfer import Transfer, plan_transfer

PLAN_FILE = "plan.json"


def plan_finetune(
    base: str | Path,
    data: str | Path | Dataset,
    *,
    strategy: str | Path | Strategy = "staged",
    class_map: Mapping[str, Sequence[str]] | None = None,
    unlabelled: Sequence[Path] = (),
    new_bands: BandFill | None = None,
    head_init: HeadStart | None = None,
    head_layer: str | None = None,
    steps: int | None = None,
    patch_size: int | None = None,
) -> Plan:
    """What `finetune` would do with the same arguments; trains and writes nothing. Raises InputError as it does."""
    return plan_transfer(
        _base(base, head_layer),
        data if isinstance(data, Dataset) else read_dataset(Path(data)),
        strategy_with(strategy, {"steps": steps, "patch_size": patch_size, "head": head_init}),
        class_map=class_map,
        unlabelled=unlabelled,
        new_bands=new_bands,
    ).plan


@makes_remote
def finetune(
    base: str | Path,
    data: str | Path | Dataset,
    output: str | Path,
    *,
    strategy: str | Path | Strategy = "staged",
    class_map: Mapping[str, Sequence[str]] | None = None,
    unlabelled: Sequence[Path] = (),
    new_bands: BandFill | None = None,
    head_init: HeadStart | None = None,
    head_layer: str | None = None,
    steps: int | None = None,
    patch_size: int | None = None,
    seed: int = 0,
    resume: bool = False,
    precision: Precision = "auto",
    devices: str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    quiet: bool = False,
    command: str = "segapp.finetune",
) -> keras.Model:
    """Bring `base`, a model directory or a .keras file, to the scenes of `data`, and write a model directory.

    `strategy` is the name of one, a TOML file, or a `Strategy`; `head_init`, `steps` of all phases together and
    `patch_size` stand in place of the strategy's. Classes continue the base's of their name;
    ``class_map={"water": ["lake", "river"]}`` says otherwise. `unlabelled` are images on which the base's predictions
    are to be kept. `new_bands` starts the filters of bands that the base does not have at "zero", as the "mean" of all
    its filters, or such that these see "discriminants" in place of bands, the mixtures of the new ones that separate
    the classes best, which is for data that shares no band with the base; by default at zero, or by discriminants where
    no band matches. `head_layer` names the classifier of a .keras file where it is not found.

    The base, the fitted head, the network after each phase and the one with a context branch are scored on the
    validation scenes, or by cross-validation over places where there are none, and the best is written, be it the base
    itself where all classes are its own. After cross-validation it is trained on all labels. With `resume` an
    interrupted run goes on in its phase.

    Returns the model as `segapp.load` gives it. Raises InputError for bad input, and when `output` exists.
    """
    output = Path(output)
    if (workers := read_cluster().size) > 1:
        raise InputError(f"{VARIABLE}: names {workers} workers, but a transfer runs on one machine; unset it")
    with claimed(output, resume) as partial:
        dataset = data if isinstance(data, Dataset) else read_dataset(Path(data))
        chosen = strategy_with(strategy, {"steps": steps, "patch_size": patch_size, "head": head_init})
        devices_strategy = make_strategy(devices)
        make_repeatable(seed)
        compute_precision = choose_precision(precision)
        display = Display(quiet)
        if split := batch_over(devices_strategy, chosen.batch):
            display.say(split)
        for line in hardware_lines(compute_precision):
            display.say(line)
        display.say(f"{dataset.name}: reading {base} and scenes")
        read = fingerprint(dataset, unlabelled)
        transfer = plan_transfer(
            _base(base, head_layer),
            dataset,
            chosen,
            class_map=class_map,
            unlabelled=unlabelled,
            new_bands=new_bands,
            seed=seed,
        )
        for leak in (*leaks(dataset), *dataset.remarks()):
            display.say(f"warning: {leak}")
        _begin(partial, transfer, {"precision": compute_precision, "data": read.sha256}, display)
        display.keep_in(partial)
        session = Session(display, devices_strategy, compute_precision, seed, callbacks)
        winner, record = select(transfer, partial, session)
        replicas = devices_strategy.num_replicas_in_sync
        provenance = provenance_of(
            command, dataset, read, len(transfer.scenes.train), chosen, seed, compute_precision, devices, replicas
        ) | {
            "base": transfer.plan.base,
            "base sha256": transfer.settings["base"],
            "class map": {new: list(sources) for new, sources in (class_map or {}).items()},
            "unlabelled": [str(file) for file in unlabelled],
            "new bands": new_bands,
            "head layer": head_layer,
            "winner": winner,
            "phases": record,
            "plan": transfer.plan.model_dump(mode="json"),
        }
        best = load(partial / winner)
        write_model(partial, best, transfer.spec.model_copy(update={"context": best.spec.context}))
        model = deliver(partial, output, dataset, transfer.scenes.val, provenance, compute_precision, display)
        remove_folds(output)
        for phase in output.iterdir():
            if phase.is_dir():
                for name in (CHECKPOINT_FILE, RESULT_FILE, "model.json", "model.weights.h5", "README.md"):
                    (phase / name).unlink(missing_ok=True)
                if not any(phase.iterdir()):
                    phase.rmdir()
        return model


def _base(base: str | Path, head_layer: str | None) -> Base:
    address = address_of(base)
    if address is None:
        return read_base(Path(base), head_layer)
    return replace(read_base(fetched(address), head_layer), source=address)


def _begin(partial: Path, transfer: Transfer, others: Mapping[str, Any], display: Display) -> None:
    """Show the plan and keep it; raises InputError if an interrupted run had another."""
    file = partial / PLAN_FILE
    settings = {**transfer.settings, **others}
    if file.exists():
        before = read_json(file)
        for key, value in settings.items():
            if before.get(key) != json.loads(json.dumps(value)):
                raise InputError(f"{partial}: was run with another {key}; resume with the same settings, or remove it")
        return
    print_plan(transfer.plan, display.console)
    partial.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)
    table = as_text(lambda console: print_plan(transfer.plan, console))
    track_text(partial, "plan", f"```\n{table}```")
