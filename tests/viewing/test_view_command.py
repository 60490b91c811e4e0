"""`segapp view` on the command line."""

from __future__ import annotations

import importlib.metadata
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from segapp.commands.view import view
from segapp.errors import InputError

from .conftest import Files

_RUN = "from segapp.commands.view import view; view()"


def test_it_says_the_url_and_an_interruption_ends_it_cleanly(files: Files) -> None:
    arguments = [str(files.scene), str(files.classes), "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _RUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", said)
        assert said.startswith("scene.tif is shown at ") and url is not None
        with urllib.request.urlopen(f"{url[0]}scene/0/0/0.png?bands=0,1,2") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert (out, error) == ("", "\nsegapp: the page is closed; nothing was written\n")


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, segapp.viewing.view, segapp.viewing.site; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_its_help_shows_an_example() -> None:
    assert "segapp view scene.tif classes.tif" in CliRunner().invoke(view, ["--help"]).output


@pytest.mark.parametrize("package", ["rio-tiler", "django-js-lib-leaflet"])
def test_a_missing_package_is_named(package: str, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from segapp.viewing.view import serving

    if package == "rio-tiler":
        monkeypatch.setitem(sys.modules, "rio_tiler", None)
    else:

        def missing(name: str) -> None:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "files", missing)
    with (
        pytest.raises(InputError, match=rf"{package} is not installed; .*segapp\[view\]"),
        serving(files.scene, files.classes),
    ):
        pass
