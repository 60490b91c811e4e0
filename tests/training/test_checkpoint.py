"""A checkpoint brings back everything it was given, and nothing that does not fit."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a checkpoint of three variables holds."""
    file = tmp_path_factory.mktemp("checkpoints") / "c.npz"
    progress = Progress(step=4, best_score=0.5, best_step=4, first_loss=1.5, only_class="water")
    save_checkpoint(file, _variables(np.arange(40.0), np.float32(1), np.uint32(2)), progress, {"seed": 1})
    return file.read_bytes()


@given(data=st.data())
def test_a_checkpoint_with_changed_bytes_is_one_clear_line_or_unharmed(
    data: st.DataObject, written: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The archive's checksums tell, but not of what it says twice or of what nobody reads."""
    place = data.draw(st.integers(0, len(written) - 1))
    end = data.draw(st.sampled_from([len(written), place]))
    byte = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.npz"
    file.write_bytes((written[:place] + bytes([byte]) + written[place + 1 :])[:end])
    fresh = _variables(np.zeros(40), np.float32(0), np.uint32(0))
    try:
        settings, progress = read_settings(file), restore_checkpoint(file, fresh)
    except InputError as error:
        assert "\n" not in str(error) and f"remove {file.parent} and start again" in str(error)
        assert not any(variable.numpy().any() for variable in fresh)
        return
    assert settings == {"seed": 1} and progress.step == 4 and progress.only_class == "water"
    np.testing.assert_array_equal(fresh[0].numpy(), np.arange(40.0))


@pytest.mark.parametrize("text", ["[]", "{}", '{"progress": {"stepp": 1}, "settings": {}}', '{"progress": 3}', "x"])
def test_progress_that_is_none_is_one_clear_line(tmp_path: Path, text: str) -> None:
    np.savez(tmp_path / "c.npz", text=np.array(text))
    with pytest.raises(InputError, match="is damaged"):
        restore_checkpoint(tmp_path / "c.npz", [])
