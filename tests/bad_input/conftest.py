"""A folder where all is right, for each test a copy of its own, and how a command is run there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bad_input.place import make_place


@pytest.fixture(scope="session")
def place_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where all is right, not to be changed."""
    from segapp.commands.options import import_tensorflow

    import_tensorflow()
    folder = tmp_path_factory.mktemp("place") / "place"
    folder.mkdir()
    make_place(folder)
    return folder


@pytest.fixture
def place(place_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the commands run; of networks loaded elsewhere under the same name nothing is known."""
    from segapp.prediction.job import _open

    _open.cache_clear()
    folder = tmp_path / "place"
    shutil.copytree(place_once, folder)
    monkeypatch.chdir(folder)
    return folder
