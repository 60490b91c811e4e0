"""Runs of segapp that meet a fault on the way, and what they leave: used by soak.py."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import mmap
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import psutil
import rasterio

Hook = Callable[[], object]
_WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
_PATIENCE = 900.0  # seconds until a run counts as hung


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or minus the signal, or None where it hung; all it printed; what it took."""

    code: int | None
    printed: str
    cpu_seconds: float
    events: int


def run(
    command: str,
    folder: Path,
    hook: Hook | None = None,
    at_event: int = 0,
    signalled: tuple[int, float] = (0, 0),
) -> Ended:
    """Run a command of segapp's in a fork of this process, which has all modules and no TensorFlow running.

    `hook` is called in the fork, before the work or at its `at_event`-th opening, renaming or removal of a file;
    `signalled` sends a signal when so many seconds of processor time are used.
    """
    counter, (reading, writing) = mmap.mmap(-1, 8), os.pipe()
    child = os.fork()
    if child == 0:
        _work(command, folder, hook, at_event, counter, writing)
    os.close(writing)
    os.set_blocking(reading, False)
    number, after = signalled
    process, started, printed = psutil.Process(child), time.monotonic(), b""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        printed += _what_is_there(reading)
        if ended:
            break
        if number and sum(process.cpu_times()[:2]) >= after:
            os.kill(child, number)
            number = 0
        if time.monotonic() - started > _PATIENCE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    hung = time.monotonic() - started > _PATIENCE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what an export has started, and nobody waits for any more
    os.close(reading)
    code = None if hung else os.waitstatus_to_exitcode(status)
    return Ended(code, printed.decode(errors="replace"), usage.ru_utime + usage.ru_stime, int.from_bytes(counter[:8]))


def _work(command: str, folder: Path, hook: Hook | None, at_event: int, counter: mmap.mmap, output: int) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # no longer a file
        sys.argv = ["segapp", *shlex.split(command)]
        within = str(folder)

        def count(event: str, arguments: tuple[object, ...]) -> None:
            if event not in _WRITES or not isinstance(arguments[0], str | bytes | os.PathLike):
                return
            if not os.path.abspath(os.fsdecode(arguments[0])).startswith(within):  # noqa: PTH100
                return
            events = int.from_bytes(counter[:8]) + 1
            counter[:8] = events.to_bytes(8)
            if events == at_event and hook:
                hook()

        sys.addaudithook(count)
        if hook and not at_event:
            hook()
        from segapp.cli import main

        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _what_is_there(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 20)
    except BlockingIOError:
        return b""


def unsound(folder: Path) -> list[str]:
    """What is not whole of what a run left to go on from: checkpoints, and the models of phases that are done."""
    problems = []
    for file in folder.rglob("*.partial/**/checkpoint.npz"):
        try:
            with np.load(file) as arrays:
                for name in arrays.files:
                    arrays[name]
        except Exception as error:
            problems.append(f"{file.relative_to(folder)}: {error!r}")
    for file in folder.rglob("*.partial/*/result.json"):  # a phase that is done: its model is counted on
        spec, weights = file.with_name("model.json"), file.with_name("model.weights.h5")
        if spec.exists() and json.loads(spec.read_text())["weights"]["sha256"] != _digest(weights.read_bytes()):
            problems.append(f"{spec.relative_to(folder)}: is not of the weights beside it")
    return problems


def result_of(folder: Path) -> dict[str, str]:
    """A digest of everything that a finished run made, without its clock and its name for itself."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_dir() or "events" in file.parts or file.suffix in (".png", ".log"):
            continue
        content = file.read_bytes()
        if file.suffix == ".h5":
            content = repr(_arrays(file)).encode()
        elif file.suffix == ".tif":
            with rasterio.open(file) as image:
                content = image.read().tobytes()
        elif file.name == "log.csv":
            with file.open(newline="") as rows:
                content = repr([{**row, "seconds": 0} for row in csv.DictReader(rows)]).encode()
        elif file.name == "model.json":
            content = repr({**json.loads(content), "provenance": 0}).encode()
        elif file.suffix in (".pb", ".md"):  # a graph's names have no order, and a card tells the command
            content = b""
        found[name] = _digest(content)
    return found


def _arrays(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}

    def take(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = _digest(item[()].tobytes())

    with h5py.File(file) as opened:
        opened.visititems(take)
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
