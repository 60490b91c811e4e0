"""A checkpoint brings back everything it was given, and nothing that does not fit."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from segapp.errors import InputError
from segapp.training.checkpoint import Progress, read_settings, restore_checkpoint, save_checkpoint


def _variables(*values: object) -> list[keras.Variable]:
    return [keras.Variable(np.asarray(value)) for value in values]


def test_values_progress_and_settings_come_back(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.npz"
    progress = Progress(step=40, best_score=0.1 + 0.2, best_step=20, validations_without_gain=1, seconds=1 / 3)
    saved = _variables(np.float32(1 / 3), np.arange(6, dtype=np.int64).reshape(2, 3), np.uint32(7))
    save_checkpoint(file, saved, progress, {"seed": 1})
    fresh = _variables(np.float32(0), np.zeros((2, 3), np.int64), np.uint32(0))
    assert restore_checkpoint(file, fresh) == progress
    for one, other in zip(saved, fresh, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert read_settings(file) == {"seed": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_score_before_any_validation_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.npz", [], Progress(), {})
    assert restore_checkpoint(tmp_path / "c.npz", []) == Progress()


@pytest.mark.parametrize("other", [_variables(0.0), _variables([0.0, 0.0], 0.0)])
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, other: list[keras.Variable]) -> None:
    save_checkpoint(tmp_path / "c.npz", _variables(0.0, 0.0), Progress(), {})
    with pytest.raises(InputError, match="same settings"):
        restore_checkpoint(tmp_path / "c.npz", other)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"hello"])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(InputError, match="is no checkpoint"):
        restore_checkpoint(tmp_path / "c.npz", [])
