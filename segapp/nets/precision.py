"""The precision that a network computes in: the one place that decides it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

ComputePrecision = Literal["float32", "bfloat16", "float16"]
Precision = Literal["auto"] | ComputePrecision


def choose_precision(precision: Precision) -> ComputePrecision:
    """The precision to compute in; "auto" takes what the hardware has units for, and float32 where it has none.

    bfloat16 on CPUs with AVX512-BF16 or AMX and on GPUs from compute capability 8.0, float16 on GPUs from 7.0.
    """
    if precision != "auto":
        return precision
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        capability = min(
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
        )
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
        if {"avx512_bf16", "amx_bf16"} & set(flags):
            return "bfloat16"
    return "float32"


@contextlib.contextmanager
def computing_in(precision: ComputePrecision) -> Iterator[None]:
    """Layers built inside compute in `precision` and keep float32 weights; the caller's policy is restored after."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
