"""Faults on purpose, and what is lost by them: ``python tools/soak.py [--faults 75] [--seed 0] [--verb train ...]``.

Runs train, finetune, predict and export on made-up scenes and has something happen to them: SIGKILL, SIGTERM or Ctrl-C
at a random moment, a disk that is full, an image that is cut off or vanishes while it is used, memory that runs out.
After each, checkpoints and models must be whole, and nothing half-written may have its final name; the run then goes
on, often into the next fault, and must end with the very weights and maps of one that nothing happened to. Bad input,
as tests/bad_input has it, is tried, too. Prints the tally and writes it to build/soak/tally.json; exits with 1 where
anything was lost.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
import psutil
from faults import Ended, result_of, run, unsound
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "soak"
RECIPE = """
schema = 1
patch_size = 16
batch = 2
steps = 9
average = 0.9
network = { depth = 1, filters = 2, dropout = 0.5, batch_norm = true }
sampling = { balance = 0.5 }
augmentation = { scale = 0.2, gain = 0.1, noise = 0.1 }
validation = { every = 3 }
"""
STRATEGY = """
schema = 1
patch_size = 16
batch = 2
steps = 12
validation = { every = 3 }
[[phases]]
name = "decoder"
rate = 3e-3
layers = { "head" = 1, "decoder_stage_*" = 1, "*" = "frozen" }
[[phases]]
name = "all"
rate = 3e-3
layers = { "*" = 1 }
"""
_RUN = "--precision float32 --devices cpu:1 --quiet"
_SCENES = "data/train/scene_01.tif data/train/scene_02.tif data/val/scene_03.tif data/test/scene_04.tif"
_KINDS = ("kill", "kill", "disk full", "kill", "kill", "read error", "kill", "kill", "no memory")
_TURNS = ("train", "predict", "finetune", "predict", "export")
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Verb:
    """A command, what it makes, how it goes on after a fault, and how many faults it meets before it may end."""

    command: str
    output: str
    again: str
    chain: int
    whole_at_once: bool = True
    """Whether what it makes gets its name at the end, and not file by file."""


VERBS = {
    "train": Verb(f"train --data data/dataset.toml --recipe recipe.toml --output new {_RUN}", "new", "--resume", 4),
    "finetune": Verb(
        f"finetune --base model --data data/dataset.toml --strategy strategy.toml --output new {_RUN}",
        "new",
        "--resume",
        4,
    ),
    "predict": Verb(f"predict --model model --output maps --quiet {_SCENES}", "maps", "--resume", 3, False),
    "export": Verb("export --model model --output served/1 --quiet", "served/1", "", 2),
}


@dataclass
class Fault:
    """What was done to a run, what it answered, and what came of it."""

    verb: str
    kind: str
    moment: str
    code: int | None
    said: str
    problems: list[str]
    left_behind: list[str]


def draw(verb: Verb, kind: str, whole: Reference, folder: Path, rng: random.Random) -> tuple[str, Ended]:
    """Run a verb, begun before or not, into a fault of a kind at a random moment; returns which and how it ended."""
    command = f"{verb.command} {verb.again}"
    event = rng.randint(1, whole.ended.events)
    if kind == "kill":
        number = rng.choice(_SIGNALS)
        name = signal.Signals(number).name
        if rng.random() < 0.5:
            after = rng.uniform(0.1, whole.ended.cpu_seconds)
            return f"{name} after {after:.2f} s of processor time", run(command, folder, signalled=(number, after))
        return f"{name} at file event {event}", run(command, folder, lambda: os.kill(os.getpid(), number), event)
    if kind == "disk full":
        size = rng.randint(0, whole.largest)
        return f"no file beyond {size} bytes", run(command, folder, lambda: _limit(resource.RLIMIT_FSIZE, size))
    if kind == "read error":
        file = rng.choice(sorted((folder / "data").glob("*/*.tif")))
        if rng.random() < 0.5:
            return f"{file.name} vanishes at file event {event}", run(command, folder, file.unlink, event)
        size = int(file.stat().st_size * rng.random())
        return f"{file.name} cut at file event {event}", run(command, folder, lambda: os.truncate(file, size), event)
    more = int(2 ** rng.uniform(28, 32))
    held = psutil.Process().memory_info().vms
    return f"{more >> 20} MiB more memory", run(command, folder, lambda: _limit(resource.RLIMIT_AS, held + more))


def _limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


@dataclass(frozen=True)
class Reference:
    """A run that nothing happened to: how it ended, what it made, and the size of the largest file of that."""

    ended: Ended
    result: dict[str, str]
    largest: int

    def compare(self, found: dict[str, str]) -> tuple[list[str], list[str]]:
        """What is missing or another, and what was left behind beside the result."""
        wrong = [f"{name}: is not as without faults" for name in self.result if found.get(name) != self.result[name]]
        return wrong, sorted(set(found) - set(self.result))


def faults_in_a_row(name: str, place: Path, reference: Reference, rng: random.Random) -> list[Fault]:
    """A run that meets one fault after another, and then none; empty where the first came too late."""
    verb, folder, faults = VERBS[name], place.with_name("run"), list[Fault]()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place, folder)
    while len(faults) < verb.chain:
        kind = rng.choice(_KINDS)
        moment, ended = draw(verb, kind, reference, folder, rng)
        shutil.rmtree(folder / "data")
        shutil.copytree(place / "data", folder / "data")
        faults.append(Fault(name, kind, moment, ended.code, ended.printed.strip()[-2000:], unsound(folder), []))
        if ended.code is None:
            faults[-1].problems.append("hung")
        if ended.code == 0 or (verb.whole_at_once and (folder / verb.output).exists()):
            break
    else:
        ended = run(f"{verb.command} {verb.again}", folder)
        if ended.code != 0:
            faults[-1].problems.append(f"does not go on: {ended.printed.strip()[-2000:]}")
    wrong, left = reference.compare(result_of(folder / verb.output))
    if faults[-1].code == 0 and not wrong:
        faults.pop()
    for fault in faults:
        fault.problems += wrong
        fault.left_behind += left
    return faults


def make_place(folder: Path, names: list[str]) -> dict[str, Reference]:
    """Scenes, settings and a model in `folder`, and what these verbs make there when nothing happens to them."""
    from segapp.samples.write import write_samples

    shutil.rmtree(folder.parent, ignore_errors=True)
    write_samples(folder / "data", scenes=4, size=64)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "strategy.toml").write_text(STRATEGY)
    references = {}
    for name, verb in VERBS.items():
        if name not in ("train", *names):
            continue
        made = folder.with_name(f"{name}-alone")
        shutil.copytree(folder, made)
        ended = run(f"{verb.command} {verb.again}", made)
        if ended.code != 0:
            raise SystemExit(f"{name}: fails without a fault: {ended.printed}")
        files = [file for file in (made / verb.output).rglob("*") if file.is_file()]
        references[name] = Reference(ended, result_of(made / verb.output), max(file.stat().st_size for file in files))
        if name == "train":
            shutil.copytree(made / verb.output, folder / "model")
    return references


def catalogue(build: Path) -> tuple[int, int]:
    """How many kinds of bad input were tried, and how many of them got one clear line and left nothing."""
    report = build / "catalogue.xml"
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "bad_input"), f"--junitxml={report}"]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    cases = [case for case in ElementTree.parse(report).iter("testcase") if case.find("skipped") is None]
    return len(cases), sum(case.find("failure") is None and case.find("error") is None for case in cases)


def print_tally(faults: list[Fault], bad_inputs: tuple[int, int] | None, console: Console) -> None:
    """What was tried, by verb and kind, and every loss."""
    table = Table("verb", "fault", "tried", "survived", "lost", "said in one line", "files left behind")
    for key, tried in sorted(Counter((fault.verb, fault.kind) for fault in faults).items()):
        these = [fault for fault in faults if (fault.verb, fault.kind) == key]
        lost = sum(bool(fault.problems) for fault in these)
        said = sum(fault.said.startswith("segapp: ") and "\n" not in fault.said for fault in these)
        left = sum(bool(fault.left_behind) for fault in these)
        table.add_row(*key, *map(str, (tried, tried - lost, lost, said, left)))
    console.print(table)
    for fault in faults:
        for problem in fault.problems:
            console.print(f"lost: {fault.verb}, {fault.moment}: {problem}", markup=False, highlight=False)
    lost = sum(bool(fault.problems) for fault in faults)
    console.print(f"faults: {len(faults)} tried, {len(faults) - lost} survived, {lost} lost", highlight=False)
    if bad_inputs:
        console.print("bad inputs: {} tried, {} clean errors".format(*bad_inputs), highlight=False)


@click.command()
@click.option("--faults", default=75, show_default=True, help="How many, two thirds of them kills.")
@click.option("--seed", default=0, show_default=True)
@click.option("--verb", "verbs", type=click.Choice(list(VERBS)), multiple=True, help="By default all.")
@click.option("--catalogue/--no-catalogue", "with_catalogue", default=True, help="Whether bad input is tried, too.")
@click.option("--build", type=click.Path(path_type=Path), default=BUILD, show_default=True, help="Where to work.")
def main(faults: int, seed: int, verbs: tuple[str, ...], with_catalogue: bool, build: Path) -> None:
    """Have things go wrong, and count what is lost."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    console = Console(stderr=True)
    warm()
    rng, met, turn = random.Random(seed), list[Fault](), 0
    turns = [name for name in _TURNS if not verbs or name in verbs]
    # A thread that draws the bar would not be there in the forks, but what it holds would stay held.
    with Progress(console=console, auto_refresh=False) as bar:
        task = bar.add_task("without faults", total=faults)
        bar.refresh()
        place = build.resolve() / "work" / "place"
        references = make_place(place, turns)
        while len(met) < faults:
            name = turns[turn % len(turns)]
            turn += 1
            met += faults_in_a_row(name, place, references[name], rng)
            lost = write_tally(build, seed, met, None)  # who stops it half-way has this much
            bar.update(task, completed=min(len(met), faults), description=f"{name}: {lost} lost so far")
            bar.refresh()
    bad_inputs = catalogue(build) if with_catalogue else None
    print_tally(met, bad_inputs, console)
    lost = write_tally(build, seed, met, bad_inputs)
    sys.exit(1 if lost or (bad_inputs and len(set(bad_inputs)) > 1) else 0)


def write_tally(build: Path, seed: int, faults: list[Fault], bad_inputs: tuple[int, int] | None) -> int:
    """Write tally.json; returns how many faults lost something."""
    lost = sum(bool(fault.problems) for fault in faults)
    tally = {"seed": seed, "tried": len(faults), "lost": lost, "bad_inputs": bad_inputs}
    (build / "tally.json").write_text(json.dumps({**tally, "faults": list(map(asdict, faults))}, indent=1) + "\n")
    return lost


def warm() -> None:
    """Import what the commands need, for all forks at once; TensorFlow starts no thread before it computes."""
    import matplotlib.backends.backend_agg  # noqa: F401

    import segapp.inference.loading
    import segapp.prediction.predict
    import segapp.serving.check
    import segapp.serving.export
    import segapp.training.train
    import segapp.transfer.finetune  # noqa: F401


if __name__ == "__main__":
    main()
