"""What a user is told of the devices at the start of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from segapp.nets import hardware
from segapp.nets.hardware import hardware_lines


def _machine(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """A machine where TensorFlow can use GPUs of these names."""
    gpus = [SimpleNamespace(name=name) for name in names]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"device_name": gpu.name})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["NVIDIA H200"], "on NVIDIA H200, bfloat16"),
        (["NVIDIA L4", "NVIDIA L4"], "on 2 x NVIDIA L4, bfloat16"),
        (["NVIDIA L4", "NVIDIA T4"], "on NVIDIA L4 and NVIDIA T4, bfloat16"),
    ],
)
def test_a_run_names_its_gpus(monkeypatch: pytest.MonkeyPatch, names: list[str], expected: str) -> None:
    _machine(monkeypatch, names)
    assert list(hardware_lines("bfloat16")) == [expected]
    (alone,) = hardware_lines("float32", on_cpu=True)
    assert "CPU core" in alone and alone.endswith(", float32")


@pytest.mark.parametrize("hidden", [None, "-1"])
def test_a_gpu_that_tensorflow_cannot_use_is_warned_of_unless_it_was_hidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hidden: str | None
) -> None:
    _machine(monkeypatch, [])
    monkeypatch.setattr(hardware, "_DRIVER", tmp_path)
    assert len(list(hardware_lines("float32"))) == 1
    (tmp_path / "0000:01:00.0").mkdir()
    if hidden:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    cpu, *warnings = hardware_lines("float32")
    assert "CPU core" in cpu
    assert len(warnings) == (0 if hidden else 1)
    assert all("segapp[cuda]" in warning and len(warning) <= 200 for warning in warnings)
