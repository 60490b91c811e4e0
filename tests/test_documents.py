"""What README and docs/ tell to type works as written, and what they name is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from pathlib import Path

import click
import pytest

import segapp
from segapp.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def _commands(text: str, program: str) -> list[list[str]]:
    """The command lines of `program` in code blocks, with continued lines joined and comments left out."""
    lines = re.sub(r"\\\n\s*", " ", "".join(_blocks(text, r"\w*"))).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith(program + " ")]


@page
def test_every_command_line_is_understood(page: Path) -> None:
    for words in _commands(page.read_text(encoding="utf-8"), "segapp"):
        verb = main.commands[words[1]]
        try:
            verb.make_context(words[1], words[2:])  # parses and calls nothing
        except click.ClickException as error:
            pytest.fail(f"{shlex.join(words)}: {error.format_message()}")


@page
def test_every_option_in_the_text_is_one_of_some_verb(page: Path) -> None:
    known = {option for verb in main.commands.values() for parameter in verb.params for option in parameter.opts}
    text = re.sub(r"`[^`]*(tools/|docker|ssh|pip |--enable_|--batching_)[^`]*`", "", page.read_text(encoding="utf-8"))
    found = {option for span in re.findall(r"`(--[a-z-]+)", text) for option in [span]}
    assert found <= known | {"--all"}


@page
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


@page
def test_files_of_the_house_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"(?:segapp|tools|tests)/[\w./]*\w(?![\w<])", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_tools_have_the_options_that_the_readme_gives_them() -> None:
    for name, arguments in re.findall(r"`python (tools/\w+\.py)([^`]*)`", README.read_text(encoding="utf-8")):
        source = (ROOT / name).read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z-]+", arguments):
            assert f'"{option}"' in source, f"{name} {option}"


def test_the_python_of_the_readme_names_what_there_is() -> None:
    (block,) = _blocks(README.read_text(encoding="utf-8"), "python")
    assert set(re.findall(r"segapp\.(\w+)\(", block)) <= set(segapp.__all__)


def test_every_verb_has_its_page() -> None:
    text = README.read_text(encoding="utf-8")
    for verb in main.commands:
        assert f"[`segapp {verb}`](docs/{verb}.md)" in text


@pytest.mark.long
def test_a_newcomer_types_the_readmes_commands_in_order(tmp_path: Path) -> None:
    """In a copy of the files under version control, with the packages of this environment for those of quickstart."""
    clone = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    _make_environment(clone)
    typed = "".join(_blocks(README.read_text(encoding="utf-8"), "sh"))
    assert typed.count("segapp ") > 5
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run(
        ["bash", "-euxc", typed], cwd=clone, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Traceback" not in ran.stderr
    made = ("new/model.json", "maps", "new.html", "serving/new/1/saved_model.pb", "first/model/README.md")
    assert [name for name in made if not (clone / "build" / name).exists()] == []


def _make_environment(clone: Path) -> None:
    """A .venv that takes segapp from `clone` and all else from this environment, so that nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    (packages,) = (clone / ".venv" / "lib").glob("python*/site-packages")
    (packages / "here.pth").write_text("\n".join([str(clone), *site.getsitepackages()]) + "\n")
    command = clone / ".venv" / "bin" / "segapp"
    command.write_text(f"#!{clone}/.venv/bin/python\nfrom segapp.cli import main\nmain()\n")
    command.chmod(0o755)
    (clone / ".venv" / "installed-for").write_text(f"{clone}\n{(clone / 'pyproject.toml').read_text()}")
