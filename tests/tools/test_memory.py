"""Training from a scene far larger than a patch stays within bounds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_training_from_a_large_scene_stays_under_3_gb() -> None:
    """10,000 x 10,000 x 6 uint16, the default recipe, blocks for validation and test scored whole."""
    tool = Path(__file__).parents[2] / "tools" / "bench_memory.py"
    printed = subprocess.run([sys.executable, str(tool)], stdout=subprocess.PIPE, check=True, text=True).stdout
    peak = re.search(r"training peaked at ([\d.]+) GB", printed)
    assert peak is not None, printed
    assert float(peak[1]) < 3.0, printed
