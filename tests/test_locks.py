"""One process at a time makes an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from segapp.errors import InputError
from segapp.locks import only_maker
from segapp.training.output import claimed


def test_an_output_has_one_maker_at_a_time_and_no_lock_stays(tmp_path: Path) -> None:
    output = tmp_path / "map.tif"
    with only_maker(output):
        with pytest.raises(InputError, match=r"map\.tif: is being made by another run; wait"), only_maker(output):
            pass
        with only_maker(tmp_path / "another.tif"):
            pass
    with only_maker(output):
        pass
    assert not list(tmp_path.iterdir())


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    output = tmp_path / "models" / "new"
    with claimed(output, resume=False), pytest.raises(InputError, match="is being made by another run"):  # noqa: SIM117
        with claimed(output, resume=True):
            pass
    assert not list(tmp_path.iterdir())
