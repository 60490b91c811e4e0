"""What a training step costs: segapp, segapp in float32, and PyTorch with the same network, on a CPU or a GPU.

    pip install 'segapp[bench]'           # PyTorch; without it, its columns are left out
    python tools/bench_train.py [--rounds 7] [--steps 2] [--filters 16] [--patch 128]
    python tools/bench_train.py --device gpu --filters 64 --patch 256 --batch 16

The plain U-Net of depth 4 with 6 bands and 7 classes, and everything that the default recipe does in a step.
PyTorch does the same by plain modules, channels last, in float32 and under autocast to bfloat16 (tools/torch_unet.py).
Each contestant has a process of its own with as many threads, and they take their steps in turn. Ratios are of the
medians, of wall time and of processor time, above 1 where segapp is the faster. On a machine with other work give
--threads 1: PyTorch's threads wait for each other by spinning, and lose what they do not lose alone. On a GPU all
compute in bfloat16, segapp under MirroredStrategy, and PyTorch also by torch.compile.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from turns import Contestant, answer_orders, in_turn, this_machine, write_figures

BANDS, CLASSES = 6, 7
BARS = {("segapp", "PyTorch bfloat16"): 1.0, ("segapp", "segapp float32"): 1.8}
"""How many times as fast as the second the first is to be, on a CPU with bfloat16 units."""


def segapp_steps(
    precision: Any,
    filters: int,
    patch: int,
    bands: int = BANDS,
    classes: int = CLASSES,
    batch: int = 8,
    compiled: bool = False,
) -> Callable[[int], None]:
    """What takes as many steps as it is told with segapp's own trainer, on one made-up batch."""
    import numpy as np
    import tensorflow as tf

    from segapp.nets.precision import choose_precision, computing_in
    from segapp.nets.unet import unet
    from segapp.training.devices import make_repeatable, make_strategy
    from segapp.training.loop import Trainer
    from segapp.training.losses import make_loss
    from segapp.training.optimizers import LearningRate, make_optimizer
    from segapp.training.recipe import read_recipe

    recipe = read_recipe("default")
    make_repeatable(0)
    strategy = make_strategy()
    with strategy.scope(), computing_in(choose_precision(precision)):
        network = recipe.network.model_copy(update={"filters": filters})
        model = unet(bands, classes, network, mean=[0.5] * bands, std=[0.2] * bands, logarithm=True)
        optimizer = make_optimizer(recipe.optimizer, LearningRate(recipe.schedule, 6000, 100), recipe.average)
    loss = make_loss(recipe.loss, np.ones(classes, np.float32))
    trainer = Trainer(model, optimizer, loss, recipe.optimizer, strategy, compiled=compiled)
    rng = np.random.default_rng(0)
    with tf.device(strategy.extended.worker_devices[0]):
        images = tf.constant(rng.random((batch, patch, patch, bands), np.float32) + np.float32(0.1))
        labels = tf.constant(rng.integers(0, classes, (batch, patch, patch), np.uint8))

    def work(steps: int) -> None:
        for _ in range(steps):
            result = trainer.step(images, labels)
        float(result.loss)  # waits for the last step

    return work


def take_segapp_steps(precision: str, filters: int, patch: int, batch: int, threads: int, device: str) -> None:
    """Be a contestant: steps of segapp's own trainer."""
    from segapp.commands.options import import_tensorflow

    import_tensorflow()  # after segapp, which says what TensorFlow is to use
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    chosen, _, compiled = precision.partition(" ")
    answer_orders(segapp_steps(chosen, filters, patch, batch=batch, compiled=bool(compiled)))


def take_torch_steps(precision: str, filters: int, patch: int, batch: int, threads: int, device: str) -> None:
    """Be a contestant: steps of PyTorch on one made-up batch."""
    from torch_unet import training_step

    place, reduced = {"cpu": "cpu", "gpu": "cuda"}[device], precision != "float32"
    step = training_step(BANDS, CLASSES, filters, patch, batch, threads, reduced, place, precision == "compiled")

    def work(steps: int) -> None:
        for _ in range(steps):
            loss = step()
        loss.item()  # waits for the last step

    answer_orders(work)


def has_bfloat16_units() -> bool:
    """Whether segapp computes in bfloat16 here of its own accord; on other CPUs it would be emulated."""
    from segapp.commands.options import import_tensorflow

    import_tensorflow()
    from segapp.nets.precision import choose_precision

    return choose_precision("auto") == "bfloat16"


def contestants_of(units: bool, torch: bool, device: str) -> dict[str, tuple[str, str]]:
    """Library and precision of each contestant by its name; segapp first."""
    chosen = {"segapp": ("segapp", "auto")}
    if device == "gpu":
        chosen["segapp, XLA"] = ("segapp", "auto compiled")
        compiled = {"PyTorch bfloat16": ("torch", "bfloat16"), "torch.compile": ("torch", "compiled")}
        return chosen | (compiled if torch else {})
    if units:
        chosen["segapp float32"] = ("segapp", "float32")
    if torch:
        chosen["PyTorch float32"] = ("torch", "float32")
    if torch and units:
        chosen["PyTorch bfloat16"] = ("torch", "bfloat16")
    return chosen


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--steps", default=2, show_default=True, help="Steps of each contestant in a round.")
@click.option("--filters", multiple=True, type=int, default=(16, 32), show_default=True)
@click.option("--patch", "patches", multiple=True, type=int, default=(128, 256), show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--threads", type=int, default=os.cpu_count(), show_default="all cores")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench_train.json"), show_default=True)
@click.option("--only", nargs=2, hidden=True, help="Be a contestant: its library and precision.")
def main(
    rounds: int,
    steps: int,
    filters: tuple[int, ...],
    patches: tuple[int, ...],
    batch: int,
    device: str,
    threads: int,
    output: Path,
    only: tuple[str, str] | None,
) -> None:
    """Measure, print a table, and write the figures as JSON."""
    if only:
        take_steps = take_segapp_steps if only[0] == "segapp" else take_torch_steps
        take_steps(only[1], filters[0], patches[0], batch, threads, device)
        return
    console = Console(width=120, markup=False, highlight=False)
    torch, units = importlib.util.find_spec("torch") is not None, has_bfloat16_units()
    chosen = contestants_of(units, torch, device)
    where = f"{threads} threads" if device == "cpu" else "on a GPU"
    table = Table(title=f"A training step of {batch} patches, {where}, medians of {rounds} rounds")
    for column in ("filters", "patch", "", "wall ms", "CPU ms", "patches/s", "segapp is, by wall", "by CPU", "bar"):
        table.add_column(column, justify="left" if not column else "right")
    measured = []
    for width in filters:
        for patch in patches:
            size = ["--filters", str(width), "--patch", str(patch), "--batch", str(batch)]
            size += ["--threads", str(threads), "--device", device]
            with contextlib.ExitStack() as stack:
                running = {
                    name: stack.enter_context(Contestant([__file__, *size, "--only", *which]))
                    for name, which in chosen.items()
                }
                found = in_turn(running, dict.fromkeys(chosen, steps), rounds)
            for name, seconds in found.items():
                wall, cpu = (seconds[kind] / found["segapp"][kind] for kind in ("wall", "cpu"))
                bar = BARS.get(("segapp", name)) if device == "cpu" else None
                table.add_row(
                    *(str(width), str(patch), name, f"{seconds['wall'] * 1e3:.1f}", f"{seconds['cpu'] * 1e3:.1f}"),
                    f"{batch / seconds['wall']:.1f}",
                    *(("", "") if name == "segapp" else (f"{wall:.2f} times", f"{cpu:.2f} times")),
                    "" if bar is None else f"{bar} {'held' if wall >= bar else 'MISSED'}",
                )
                measured.append({"filters": width, "patch": patch, "contestant": name, **seconds})
    console.print(table)
    if not units and device == "cpu":
        console.print("no bfloat16 units: segapp computes in float32 of its own accord, and no bar applies here")
    if not torch:
        console.print("PyTorch is left out; install it with: pip install 'segapp[bench]'")
    machine = this_machine("tensorflow", "keras", "torch")
    write_figures(output, {"machine": machine, "bfloat16 units": units, "threads": threads, "steps": measured})
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")


if __name__ == "__main__":
    main()
