"""The software and hardware that a model was made with, so that it can be made again."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segapp.version import VERSION

VERSIONS = ("segapp", "python", "tensorflow", "keras", "numpy", "oneDNN", "processor")
"""What the last bits of a network's weights depend on, beside data, settings and seed."""


def versions() -> dict[str, str]:
    """The `VERSIONS` of this process and its machine."""
    import keras
    import tensorflow as tf

    return {
        "segapp": VERSION,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "oneDNN": "on" if _onednn_is_on() else "off",
        "processor": _processor(),
    }


def weights_sha256(weights: Sequence[np.ndarray]) -> str:
    """The SHA-256 of a network's weights, whatever file they come from."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in weights)).hexdigest()


def _onednn_is_on() -> bool:
    """Whether TensorFlow computes with oneDNN, which depends on TF_ENABLE_ONEDNN_OPTS when it was first imported."""
    from tensorflow.python.util import _pywrap_util_port  # there is no public function

    return bool(_pywrap_util_port.IsMklEnabled())


def _processor() -> str:
    """The GPUs, or else the CPU and how many threads it has: sums are taken in the order that suits them."""
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    if gpus := [str(gpu.get("device_name", "GPU")) for gpu in details]:
        return ", ".join(gpus)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name = text.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()
    return f"{name}, {os.cpu_count()} threads"
