"""Precision follows the hardware."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
import tensorflow as tf

from segapp.training.devices import choose_precision, computing_in


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 fma", "float32"), ("fpu avx2 avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16")],
)
def test_cpus_with_bfloat16_units_compute_in_it(flags: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(Path, "read_text", lambda self: f"processor : 0\nflags\t\t: {flags}\nbugs : none\n")
    assert choose_precision("auto") == precision


@pytest.mark.parametrize(
    ("capabilities", "precision"), [([(9, 0)], "bfloat16"), ([(8, 0), (7, 5)], "float16"), ([(6, 1)], "float32")]
)
def test_gpus_compute_in_what_the_oldest_has_units_for(
    capabilities: list[tuple[int, int]], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(len(capabilities)))
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capabilities[gpu]}
    )
    assert choose_precision("auto") == precision


def test_a_precision_that_is_given_is_taken() -> None:
    assert choose_precision("float16") == "float16"


def test_the_callers_policy_is_restored() -> None:
    before = keras.config.dtype_policy().name
    with computing_in("bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before
