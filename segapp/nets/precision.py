"""The precision that a network computes in: the one place that decides it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import keras
import tensorflow as tf

from segapp.errors import InputError

ComputePrecision = Literal["float32", "bfloat16", "float16"]
Precision = Literal["auto"] | ComputePrecision

VARIABLE = "SEGAPP_PRECISION"
"""The environment variable that says what "auto" is, in place of the hardware."""
EXPORTED: ComputePrecision = "float32"
"""Of exported networks, which run on machines that are not known when they are written."""


def choose_precision(precision: Precision, *, on_cpu: bool = False) -> ComputePrecision:
    """The precision to compute in; "auto" is what the environment variable SEGAPP_PRECISION names, else what the
    hardware has units for, and float32 where it has none.

    bfloat16 on CPUs with AVX512-BF16 or AMX and on GPUs from compute capability 8.0, float16 on GPUs from 7.0.
    `on_cpu` is for what runs on the CPU where there is a GPU, too. Raises InputError for an unknown name.
    """
    if precision == "auto":
        forced = os.environ.get(VARIABLE) or "auto"
        return _of_hardware(on_cpu) if forced == "auto" else _known(forced, f"the environment variable {VARIABLE}")
    return _known(precision, "precision")


def _known(name: str, given_as: str) -> ComputePrecision:
    for precision in get_args(ComputePrecision):
        if name == precision:
            return precision
    raise InputError(f"{given_as}: '{name}' is not known; give auto, {', '.join(get_args(ComputePrecision))}")


def _of_hardware(on_cpu: bool) -> ComputePrecision:
    gpus = [] if on_cpu else tf.config.get_visible_devices("GPU")
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
