"""Where there is no room for what a command writes, it says so in one line, and nothing is left that looks whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bad_input.cases import CONVERT, FINETUNE, TRAIN, run

resource = pytest.importorskip("resource")
_EVALUATE = "evaluate --model model --data dataset.toml --role train --json scores.json"
READING_OR_WRITING_FAILED = 3


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """A limit to the size of files stands for a full disk: the system tells of it in the same places."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 10_000, 40_000])
@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (TRAIN, "new.partial"),
        (FINETUNE, "new.partial"),
        (f"{CONVERT} net.onnx", ""),
        (f"{CONVERT} old.h5", ""),
        (f"{CONVERT} base.keras", ""),
    ],
)
def test_a_full_disk_is_one_line_and_no_model(size: int, command: str, kept: str, place: Path) -> None:
    before = set(place.iterdir())
    with _largest_file(size):
        code, out, err = run(command)
    assert (code, out) == (READING_OR_WRITING_FAILED, "")
    assert err.startswith("segapp: reading or writing failed on the way: ") and err.count("\n") == 1
    assert "File too large" in err
    assert {path.name for path in set(place.iterdir()) - before} <= {kept}


def test_what_a_full_disk_stopped_goes_on_when_there_is_room(place: Path) -> None:
    with _largest_file(40_000):
        assert run(TRAIN)[0] == READING_OR_WRITING_FAILED
    assert run(f"{TRAIN} --resume") == (0, "", "")
    assert (place / "new" / "model.json").is_file()


def test_scores_that_cannot_be_written_leave_none_that_could_be_taken_for_them(place: Path) -> None:
    before = set(place.iterdir())
    shutil.copy(place / "classes.csv", place / "scores.json")  # of an earlier run
    with _largest_file(100):
        code, _, err = run(_EVALUATE)
    assert code == READING_OR_WRITING_FAILED and "scores.json" in err and err.count("\n") == 1
    assert set(place.iterdir()) == before
