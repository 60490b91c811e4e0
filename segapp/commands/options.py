"""What several verbs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


def import_tensorflow() -> None:
    """Import TensorFlow with stderr closed: it greets with lines about absent GPUs that no setting silences."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            tf.get_logger().setLevel("ERROR")  # it warns of a new graph for each network that is scored
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def band_choice(text: str) -> int | str:
    """A band of the command line: a 1-based index, or a name."""
    text = text.strip()
    return int(text) if text.isdigit() else text
