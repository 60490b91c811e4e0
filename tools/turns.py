"""Contestants of a benchmark in processes of their own, which work in turn: the machine may drift, and caches, threads
and memory of one are not another's."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np


class Contestant:
    """A process that runs `answer_orders`, started with `command` (after the interpreter's own name)."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        )

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def work(self, amount: int) -> dict[str, float]:
        """Have it work; returns seconds of "wall" and "cpu" time a unit of work, and bytes of memory: its "peak", and
        the share of it that is "data", beyond what it took before it began.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # told below
            print(amount, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise click.ClickException(f"{' '.join(self._command)}: ended early; what it printed stands above")


def answer_orders(work: Callable[[int], None], prepare: Callable[[], None] = lambda: None, before: int = 0) -> None:
    """Do what `Contestant.work` asks for until its process is closed.

    Before each order's clock starts, `prepare` is called. `before` is `peak_memory` before there was any data.
    """
    for order in sys.stdin:
        amount = int(order)
        prepare()
        wall, cpu = time.perf_counter(), time.process_time()
        work(amount)
        taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        memory = {"peak": peak_memory(), "data": peak_memory() - before}
        print(json.dumps({name: seconds / amount for name, seconds in taken.items()} | memory), flush=True)


def peak_memory() -> int:
    """Bytes of memory that this process has taken at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_turn(
    contestants: Mapping[str, Contestant], amounts: Mapping[str, int], rounds: int
) -> dict[str, dict[str, float]]:
    """Each contestant's medians of "wall" and "cpu" seconds a unit of work over the rounds, and its memory in bytes.

    Every round asks each for its amount of work, the other way round every second time; one before them warms up.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for name, contestant in contestants.items():
        contestant.work(1)
        contestant.work(amounts[name])
    for number in range(rounds):
        for name in list(contestants)[:: 1 - 2 * (number % 2)]:
            found[name].append(contestants[name].work(amounts[name]))
    return {
        name: {
            "wall": float(np.median([one["wall"] for one in every])),
            "cpu": float(np.median([one["cpu"] for one in every])),
            "peak": every[-1]["peak"],
            "data": every[-1]["data"],
        }
        for name, every in found.items()
    }


def this_machine(*packages: str) -> dict[str, Any]:
    """What figures hold for: processor, cores, the versions of `packages`, the command and the date."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = cpuinfo.read_text().partition("model name\t: ")[2].partition("\n")[0] or cpu
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }


def write_figures(file: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON, in folders that are made where they are missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
