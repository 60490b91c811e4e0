"""What networks run on: the GPUs that TensorFlow can use, and words about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_DRIVER = Path("/proc/driver/nvidia/gpus")


def take_memory_as_needed() -> None:
    """Have TensorFlow take a GPU's memory as it needs it, so that others can use the rest; by default it takes all."""
    for gpu in tf.config.get_visible_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # TensorFlow has already started
            tf.config.experimental.set_memory_growth(gpu, True)


def hardware_lines(precision: str | None, *, on_cpu: bool = False) -> Iterator[str]:
    """What to tell a user at the start of a run: the devices with the precision, as in "on NVIDIA H100, bfloat16".

    With it comes a warning where this machine has a GPU that TensorFlow cannot use. `on_cpu` is for what runs on the
    CPU whatever else is there.
    """
    gpus = [] if on_cpu else tf.config.get_visible_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "a GPU") for gpu in gpus]
    kinds = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield f"on {' and '.join(kinds) or f'{cores} CPU core' + 's' * (cores != 1)}, {precision}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not (on_cpu or hidden or tf.config.list_physical_devices("GPU")) and _DRIVER.is_dir() and any(_DRIVER.iterdir()):
        yield "warning: TensorFlow cannot use the NVIDIA GPU of this machine; install segapp[cuda], see docs/train.md"
