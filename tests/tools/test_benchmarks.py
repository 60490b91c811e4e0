"""The benchmarks run, print a table and write their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from turns import Contestant, in_turn  # noqa: E402

WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from turns import answer_orders
answer_orders(lambda amount: time.sleep(amount * float(sys.argv[2])))
"""


def _run(tool: str, folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """What a benchmark prints, and the figures that it writes."""
    output = folder / "figures.json"
    command = [sys.executable, str(TOOLS / f"{tool}.py"), *options, "--output", str(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout, json.loads(output.read_text())


def test_contestants_take_turns_and_are_told_apart(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    with (
        Contestant([str(worker), str(TOOLS), "0.05"]) as slow,
        Contestant([str(worker), str(TOOLS), "0"]) as quick,
    ):
        found = in_turn({"slow": slow, "quick": quick}, {"slow": 1, "quick": 3}, rounds=2)
    assert found["slow"]["wall"] >= 0.05 > found["quick"]["wall"]
    assert found["slow"]["cpu"] < found["slow"]["wall"] and found["slow"]["peak"] > 0


def test_a_contestant_that_ends_early_ends_the_benchmark(tmp_path: Path) -> None:
    with Contestant(["-c", "pass"]) as gone, pytest.raises(click.ClickException, match="ended early"):
        gone.work(1)


def test_startup(tmp_path: Path) -> None:
    printed, figures = _run("bench_startup", tmp_path, "--rounds", "1", "--verb", "inspect")
    assert {"python -c pass", "segapp --help", "inspect --help", "inspect, smallest job"} == set(figures["commands"])
    assert "inspect, smallest job" in printed and figures["machine"]["cores"] >= 1


def test_growth(tmp_path: Path) -> None:
    printed, figures = _run("bench_growth", tmp_path, "--largest", "256", "--rounds", "1", "--only", "pixels by scene")
    (curve,) = figures["curves"]
    assert curve["amounts"] == [32**2, 64**2, 128**2, 256**2] and min(curve["seconds"]) > 0
    assert f"{curve['slope']:.2f}" in printed
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_training(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--steps", "1", "--filters", "2", "--patch", "16")
    printed, figures = _run("bench_train", tmp_path, *options)
    assert figures["steps"][0]["contestant"] == "segapp" and figures["steps"][0]["wall"] > 0
    assert ("no bfloat16 units" in printed) != figures["bfloat16 units"]
    assert ("PyTorch is left out" in printed) == (figures["machine"]["torch"] == "not installed")


@pytest.mark.long
def test_input(tmp_path: Path) -> None:
    options = ("--side", "256", "--rounds", "1", "--batches", "2", "--steps", "1", "--filters", "2")
    printed, figures = _run("bench_input", tmp_path, *options)
    names = {one["contestant"] for one in figures["batches"]}
    assert {"segapp", "segapp, augmented", "plain rasterio loop", "training step"} <= names
    assert "times the plain loop" in printed
