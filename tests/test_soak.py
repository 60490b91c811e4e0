"""A few faults at random: the training goes on after each, and ends as without them. tools/soak.py does the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")
TOOL = Path(__file__).parents[1] / "tools" / "soak.py"


def test_of_a_few_faults_nothing_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--faults", "3", "--verb", "train", "--no-catalogue"]
    done = subprocess.run([*command, "--build", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tally = json.loads((tmp_path / "tally.json").read_text())
    assert tally["lost"] == 0
    assert tally["tried"] == len(tally["faults"]) >= 3
    assert all(fault["code"] != 0 for fault in tally["faults"])
