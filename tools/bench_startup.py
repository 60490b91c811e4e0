"""How long segapp takes to start: each verb's --help, and its smallest job, beside an empty Python.

    python tools/bench_startup.py [--rounds 5]

Commands run one after another in turn, each in a fresh process; the medians of wall time and of processor time. The
smallest job is one step with 4 first filters on sample scenes of 64 x 64 pixels, and what comes after it; `view` serves
until it is stopped and `convert` needs a foreign file, so these have none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from turns import this_machine, write_figures

from segapp.samples.write import write_samples

VERBS = ("train", "finetune", "evaluate", "predict", "export", "convert", "inspect", "report", "view")
EMPTY, HELP = "python -c pass", "segapp --help"
RECIPE = """
schema = 1
patch_size = 32
steps = 1
batch = 1
[network]
depth = 2
filters = 4
"""


def jobs(folder: Path, number: int) -> dict[str, list[str]]:
    """The smallest job of each verb that has one, as segapp's arguments; what it makes is named by the round."""
    data, model, new = str(folder / "samples" / "dataset.toml"), str(folder / "model"), str(folder / f"new-{number}")
    recipe, few = str(folder / "recipe.toml"), ["--steps", "2", "--patch-size", "32"]
    scene = str(min((folder / "samples" / "test").glob("*.tif")))
    return {
        "inspect": ["inspect", data],
        "train": ["train", "--data", data, "--recipe", recipe, "--output", f"{new}-trained", "--quiet"],
        "finetune": ["finetune", "--base", model, "--data", data, "--output", f"{new}-tuned", *few, "--quiet"],
        "evaluate": ["evaluate", "--model", model, "--data", data],
        "predict": ["predict", "--model", model, scene, "--output", f"{new}.tif", "--quiet"],
        "export": ["export", "--model", model, "--output", f"{new}/1", "--quiet"],
        "report": ["report", model, "--output", f"{new}.html", "--quiet"],
    }


def take(arguments: list[str]) -> tuple[float, float]:
    """Seconds of wall and of processor time that a command takes; it must succeed."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise click.ClickException(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--verb", "verbs", multiple=True, default=VERBS, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench_startup.json"), show_default=True)
def main(rounds: int, verbs: tuple[str, ...], output: Path) -> None:
    """Measure, print a table, and write the figures as JSON."""
    console = Console(width=120, markup=False, highlight=False)
    segapp = [sys.executable, "-m", "segapp"]
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_samples(folder / "samples", scenes=3, size=64)
        (folder / "recipe.toml").write_text(RECIPE)
        if any(str(folder / "model") in job for verb, job in jobs(folder, 0).items() if verb in verbs):
            training = jobs(folder, 0)["train"]
            take([*segapp, *training])
            Path(training[training.index("--output") + 1]).rename(folder / "model")
        for number in range(rounds):
            commands = {EMPTY: [sys.executable, "-c", "pass"], HELP: [*segapp, "--help"]}
            commands |= {f"{verb} --help": [*segapp, verb, "--help"] for verb in verbs}
            smallest = jobs(folder, number)
            commands |= {f"{verb}, smallest job": [*segapp, *smallest[verb]] for verb in verbs if verb in smallest}
            for name, command in commands.items():
                found.setdefault(name, []).append(take(command))
    table = Table(title=f"Seconds from start to end, medians of {rounds} rounds")
    for column in ("", "wall", "CPU", "wall beyond an empty Python"):
        table.add_column(column, justify="right" if column else "left")
    seconds = {name: [float(x) for x in np.median(every, axis=0)] for name, every in found.items()}
    for name, (wall, cpu) in seconds.items():
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}", f"{wall - seconds[EMPTY][0]:.2f}")
    console.print(table)
    machine = this_machine("tensorflow", "keras")
    figures = {name: {"wall": wall, "cpu": cpu} for name, (wall, cpu) in seconds.items()}
    write_figures(output, {"machine": machine, "commands": figures})
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")


if __name__ == "__main__":
    main()
