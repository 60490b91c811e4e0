"""What verbs print is complete in a pipe, clean on a terminal, and the same as JSON."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rich.table import Table

from segapp.cli import main
from segapp.terminal import as_text, console, printable, rate
from tests.terminal import on_a_terminal, segapp

NAMES = [f"class {number:02} of those that have a long name, with many words and [brackets]" for number in range(1, 13)]
COLOURED = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|38|9[0-7])[;m]")


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def _json(text: str) -> Any:
    """Strict JSON: Python's own NaN and Infinity are refused."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.toml of scenes with twelve classes of long names, of which the last is nowhere."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    grid = {"driver": "GTiff", "height": 48, "width": 64, "crs": "EPSG:32632", "transform": from_origin(0, 0, 30, 30)}
    scenes = ""
    for role in ("train", "val", "test"):
        labels = np.kron(rng.permutation(12).reshape(3, 4) % 11 + 1, np.ones((16, 16), int)).astype(np.uint8)
        with rasterio.open(folder / f"{role}.tif", "w", count=2, dtype="uint16", **grid) as file:
            file.write(np.stack([labels * 100, labels * 50 + rng.integers(9, size=labels.shape)]).astype(np.uint16))
        with rasterio.open(folder / f"{role}_labels.tif", "w", count=1, dtype="uint8", **grid) as file:
            file.write(labels, 1)
        scenes += f'[[scenes]]\nimage = "{role}.tif"\nlabels = "{role}_labels.tif"\nrole = "{role}"\n'
    classes = "\n".join(f'{{ id = {number}, name = "{name}" }},' for number, name in enumerate(NAMES, start=1))
    file = folder / "dataset.toml"
    file.write_text(f'schema = 1\n[image]\nnames = ["red", "nir"]\n[classes]\nlist = [\n{classes}\n]\n{scenes}')
    return file


@pytest.fixture(scope="module")
def model(many: Path, tiny_recipe: Path) -> Path:
    """A model directory of these classes."""
    output = many.parent / "model"
    arguments = ["--data", many, "--recipe", tiny_recipe, "--steps", "1", "--output", output]
    code, out, err = _run("train", *arguments, "--json", many.parent / "scores.json")
    assert (code, out) == (0, "") and "step      1  loss" in err and "model directory" in err
    return output


def _commands(many: Path, model: Path, folder: Path) -> dict[str, list[str | Path]]:
    """What prints results about the classes."""
    return {
        "evaluate": ["evaluate", "--model", model, "--data", many],
        "inspect a model": ["inspect", model],
        "plan": ["finetune", "--base", model, "--data", many, "--dry-run", "--steps", "10"],
        "predict": ["predict", "--model", model, many.parent / "test.tif", "--output", folder / "map.tif"],
    }


@pytest.mark.parametrize("what", ["evaluate", "inspect a model", "plan", "predict"])
def test_in_a_pipe_no_name_is_cut_off_and_nothing_commands_a_terminal(
    what: str, many: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = _run(*_commands(many, model, tmp_path)[what])
    assert code == 0
    assert [name for name in NAMES if name not in out] == []
    assert "\x1b" not in out and "\r" not in out and "…" not in out


def test_columns_says_how_wide_a_pipe_is(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = _run("inspect", many)
    assert code == 0 and max(map(len, out.splitlines())) <= 60


@pytest.mark.parametrize("what", ["evaluate", "inspect a model", "plan", "predict"])
def test_json_on_standard_output_is_all_that_is_there(what: str, many: Path, model: Path, tmp_path: Path) -> None:
    arguments = _commands(many, model, tmp_path)[what]
    code, out, _ = _run(*arguments, "--json", "-")
    assert code == 0
    found = _json(out)
    told = {entry["name"]: entry for entry in _entries(found) if entry.get("name") in NAMES}
    assert list(told) == NAMES
    if what == "evaluate":
        assert found["absent"] == [NAMES[-1]] and told[NAMES[-1]]["iou"] is None
        code, out, _ = _run(*arguments, "--json", tmp_path / "scores.json")
        assert f"kappa {found['kappa']:.3f}" in out and _json((tmp_path / "scores.json").read_text()) == found
    if what == "inspect a model":
        assert found == json.loads((model / "model.json").read_text())


def _entries(value: Any) -> list[dict[str, Any]]:
    """All objects in `value`, at any depth."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [entry for each in inner for entry in _entries(each)]


def _documented(verb: str) -> list[Any]:
    """The examples of JSON in a verb's help."""
    text = inspect.cleandoc(main.commands[verb].help or "")
    return [json.loads(block) for block in re.findall(r"^\{.*?\}$(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)]


def _assert_shape(documented: Any, found: Any) -> None:
    """Every key of an example is there, at any depth, with a value of its kind, or null."""
    if found is None:
        return
    if isinstance(documented, dict):
        assert set(documented) <= set(found), (documented, found)
        for key, value in documented.items():
            _assert_shape(value, found[key])
    elif isinstance(documented, list) and documented and found:
        _assert_shape(documented[0], found[0])
    else:
        assert isinstance(found, float if isinstance(documented, float) else type(documented))


@pytest.mark.parametrize("verb", ["evaluate", "predict", "inspect image", "inspect dataset", "train"])
def test_the_help_shows_json_as_it_is(verb: str, many: Path, model: Path, tmp_path: Path) -> None:
    if verb == "train":
        text = (many.parent / "scores.json").read_text()
    else:
        paths = {"inspect image": ["inspect", many.parent / "test.tif"], "inspect dataset": ["inspect", many]}
        code, text, _ = _run(*(paths | _commands(many, model, tmp_path))[verb], "--json", "-")
        assert code == 0
    (documented, *more) = _documented(verb.split()[0])
    _assert_shape(more[0] if verb == "inspect dataset" else documented, _json(text))


@pytest.mark.long
def test_finetune_export_and_convert_tell_their_results_as_json(many: Path, model: Path, tmp_path: Path) -> None:
    import keras

    import segapp

    network = segapp.load(model)
    start, end = network.get_layer("input_normalization").output, network.output
    keras.Model(start, end).save(tmp_path / "theirs.keras")
    rows = [f'{number},"{name}"\n' for number, name in enumerate(NAMES, start=1)]
    (tmp_path / "classes.csv").write_text("id,name\n" + "".join(rows))
    theirs = [tmp_path / "theirs.keras", "--bands", "red,nir", "--classes", tmp_path / "classes.csv"]
    commands: dict[str, list[str | Path]] = {
        "finetune": ["--base", model, "--data", many, "--steps", "4", "--output", tmp_path / "new"],
        "export": ["--model", model, "--output", tmp_path / "serving" / "1"],
        "convert": [*theirs, "--output", tmp_path / "converted"],
    }
    for verb, arguments in commands.items():
        code, out, _ = _run(verb, *arguments, "--json", "-")
        assert code == 0
        _assert_shape(_documented(verb)[0], _json(out))


@pytest.mark.parametrize("target", ["none/scores.json", "."])
@pytest.mark.parametrize("verb", ["train", "finetune", "predict", "export", "convert", "inspect", "evaluate"])
def test_a_place_where_no_json_can_be_written_is_told_before_any_work(verb: str, target: str, tmp_path: Path) -> None:
    """That none of the other files exists would be told next."""
    given = ["--data", "--model", "--base", "--output", "--classes", *(["--bands"] if verb == "convert" else [])]
    takes = {option for parameter in main.commands[verb].params for option in parameter.opts}
    arguments = [part for option in given if option in takes for part in (option, "none")]
    places = {"convert": ["none.onnx"], "inspect": ["none.tif"], "predict": ["none.tif"]}.get(verb, [])
    code, out, err = _run(verb, *places, *arguments, "--json", target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert ("is a folder" if target == "." else "its folder does not exist") in err


@given(st.text())
def test_what_is_printed_commands_no_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text) and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    table = Table("name")
    table.add_row(text.replace("[", "("))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", as_text(lambda page: page.print(table)))


def _renamed(dataset: Path, file: Path, name: str) -> None:
    """Write the dataset with another name of its first class to `file`."""
    text = dataset.read_text().replace(NAMES[0], name)
    file.write_text(re.sub('(image|labels) = "', rf'\1 = "{dataset.parent}/', text), encoding="utf-8")


def test_names_of_a_file_command_no_terminal(many: Path, tmp_path: Path) -> None:
    _renamed(many, tmp_path / "d.toml", r"\u001b]0;owned\u0007\u009b2J")
    code, out, _ = _run("inspect", tmp_path / "d.toml")
    assert code == 0 and "?]0;owned??2J" in out
    code, out, _ = _run("inspect", tmp_path / "d.toml", "--json", "-")
    assert code == 0 and out.isascii() and r"\u001b]0;owned" in out


def test_a_terminal_gets_colours_unless_no_color_is_set(many: Path) -> None:
    command = segapp("inspect", many)
    shown = {"": on_a_terminal(command), "NO_COLOR": on_a_terminal(command, NO_COLOR="1")}
    assert all(code == 0 and "warning:" in text for code, text in shown.values())
    assert COLOURED.search(shown[""][1]) and not COLOURED.search(shown["NO_COLOR"][1])


def test_a_pipe_that_cannot_hold_a_name_gets_it_escaped(many: Path, tmp_path: Path) -> None:
    _renamed(many, tmp_path / "d.toml", "水")
    command = [sys.executable, "-m", "segapp", "inspect", str(tmp_path / "d.toml")]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and r"\u6c34" in done.stdout


def test_a_pipe_that_is_closed_makes_no_noise(many: Path) -> None:
    command = [sys.executable, "-m", "segapp", "inspect", str(many)]
    for more in ([], ["--json", "-"]):
        process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait()


def test_a_rate_is_told_as_people_read_it() -> None:
    assert [rate(speed, "steps") for speed in (None, 0.0, 0.123, 3.14159, 250.0, 99_999.0)] == [
        "", "", "0.12 steps/s", "3.1 steps/s", "250 steps/s", "99,999 steps/s",
    ]  # fmt: skip
    assert rate(278_000, "pixels") == "0.28 million pixels/s"


def test_a_training_tells_its_pace_and_leaves_its_messages(model: Path) -> None:
    lines = (model / "messages.log").read_text().splitlines()
    assert any("step 1 loss" in line for line in lines) and any("scoring 1 test scenes" in line for line in lines)
    assert lines[-1].endswith(f"model directory: {model}")


def test_a_quiet_console_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console(quiet=True).print("anything")
    assert capsys.readouterr() == ("", "")
