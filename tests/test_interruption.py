"""Ctrl-C, or SIGTERM, in any verb: a clean terminal, what was saved, how to go on, and the signal's exit code."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from segapp.cli import main
from segapp.training.checkpoint import read_progress
from segapp.training.fit import CHECKPOINT_FILE
from tests.terminal import CURSOR_HIDDEN, CURSOR_SHOWN, hear_interruptions, held_at, on_a_terminal, segapp

NOTHING = "segapp: interrupted; nothing was written, start again"
INTERRUPTED, TERMINATED = 130, 143


def _run(*arguments: str | Path) -> int:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


def _last_line(text: str) -> str:
    """What the last line of a terminal shows; that it is whole, and the cursor is there."""
    assert "Traceback" not in text and text.endswith("\n")
    assert text.rfind(CURSOR_SHOWN) >= text.rfind(CURSOR_HIDDEN)  # both -1 where no bar was drawn
    line = text.splitlines()[-1].rpartition("\x1b[2K")[2]  # that erases the line
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)


def _interrupted(
    target: str, call: int, folder: Path, arguments: list[str | Path], by: signal.Signals = signal.SIGINT
) -> tuple[int, str]:
    """The exit code and the last line of segapp that is interrupted in a call of the function `target`."""
    ready = folder / "ready"
    code, text = on_a_terminal(held_at(target, call, ready, arguments), ready.exists, by)
    ready.unlink(missing_ok=True)
    return code, _last_line(text)


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_inspect(by: signal.Signals, code: int, samples: Path, tmp_path: Path) -> None:
    target = "segapp.data.inspection.inspect_dataset"
    assert _interrupted(target, 1, tmp_path, ["inspect", samples], by) == (code, NOTHING)


def test_in_a_pipe_it_is_one_line(samples: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = held_at("segapp.data.inspection.inspect_dataset", 1, ready, ["inspect", samples])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interruptions
    )
    while not ready.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", f"{NOTHING}\n") and process.returncode == INTERRUPTED


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_view(by: signal.Signals, code: int, samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("rio_tiler")
    scene = next(samples.parent.glob("test/*.tif"))
    labels = samples.parent / "labels" / scene.name
    target, arguments = "segapp.viewing.view.ViewServer.serve_forever", ["view", scene, labels, "--no-browser"]
    told = "segapp: the page is closed; nothing was written"
    assert _interrupted(target, 1, tmp_path, arguments, by) == (code, told)


def test_report(trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["report", trained, "--output", page]
    assert _interrupted("segapp.reporting.report.write", 1, tmp_path, arguments) == (INTERRUPTED, NOTHING)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A recipe of small steps without end."""
    recipe = tmp_path / "endless.toml"
    recipe.write_text(
        "schema = 1\npatch_size = 32\npatches_per_image = 16\nbatch = 4\nsteps = 1000000\n"
        "network = { depth = 2, filters = 4 }\nvalidation = { every = 4 }\n"
    )
    return recipe


def test_train_tells_the_step_that_it_goes_on_from(samples: Path, endless: Path, tmp_path: Path) -> None:
    partial = tmp_path / "mine.partial"
    arguments = ["train", "--data", samples, "--recipe", endless, "--output", tmp_path / "mine"]
    told = f"segapp: interrupted; {partial} holds step 4; go on with --resume"
    assert _interrupted("segapp.training.fit.save_checkpoint", 2, tmp_path, arguments) == (INTERRUPTED, told)
    assert "ended at step 8 of 1000000: KeyboardInterrupt" in (partial / "messages.log").read_text()
    assert read_progress(partial / CHECKPOINT_FILE).step == 4


def test_predict_keeps_the_maps_that_are_whole(trained: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rng.integers(1, 3000, (40, 50, 6)).astype(np.uint16))
    maps = tmp_path / "maps"
    arguments = ["predict", "--model", trained, tmp_path / "a.npy", tmp_path / "b.npy", "--output", maps]
    told = "segapp: interrupted; 1 of 2 maps are written; go on with --resume"
    assert _interrupted("segapp.prediction.mapping.write_record", 2, tmp_path, arguments) == (INTERRUPTED, told)
    assert sorted(file.name for file in maps.iterdir()) == ["a.npy", "a.npy.json"]
    assert _run(*arguments, "--resume") == 0 and (maps / "b.npy").exists()


@pytest.mark.long
def test_predict_of_one_scene(trained: Path, samples: Path, tmp_path: Path) -> None:
    scene = next(samples.parent.glob("test/*.tif"))
    arguments = ["predict", "--model", trained, scene, "--output", tmp_path / "map.tif", "--also", "confidence"]
    assert _interrupted("segapp.prediction.mapping.write_record", 1, tmp_path, arguments) == (INTERRUPTED, NOTHING)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_evaluate(trained: Path, samples: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--model", trained, "--data", samples, "--json", tmp_path / "scores.json"]
    target = "segapp.evaluation.report.Evaluation.scores"
    assert _interrupted(target, 1, tmp_path, arguments) == (INTERRUPTED, NOTHING)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_report_that_measures(trained: Path, samples: Path, tmp_path: Path) -> None:
    arguments = ["report", trained, "--data", samples, "--output", tmp_path / "page.html"]
    assert _interrupted("segapp.reporting.results.select_patches", 1, tmp_path, arguments) == (INTERRUPTED, NOTHING)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_finetune_tells_the_phase_and_the_step_that_it_goes_on_from(
    trained: Path, samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new"
    arguments = ["finetune", "--base", trained, "--data", samples, "--steps", "8", "--output", output]
    code, told = _interrupted("segapp.training.fit.save_checkpoint", 2, tmp_path, arguments)
    assert code == INTERRUPTED
    assert re.fullmatch(
        rf"segapp: interrupted; {output}\.partial holds step \d+ of 1-[\w-]+; go on with --resume", told
    )


@pytest.mark.long
def test_export_and_the_process_that_checks_it(trained: Path, tmp_path: Path) -> None:
    command = segapp("export", "--model", trained, "--output", tmp_path / "serving" / "1")
    code, text = on_a_terminal(command, lambda: bool(list(tmp_path.rglob("fingerprint.pb"))))
    assert (code, _last_line(text)) == (INTERRUPTED, NOTHING)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_convert(trained: Path, tmp_path: Path) -> None:
    import keras

    import segapp as library

    network = library.load(trained)
    keras.Model(network.get_layer("input_normalization").output, network.output).save(tmp_path / "theirs.keras")
    classes = "".join(f"{c.id},{c.name}\n" for c in network.spec.classes.classes)
    (tmp_path / "classes.csv").write_text(f"id,name\n{classes}")
    bands = ",".join(band.name for band in network.spec.bands)
    arguments = ["convert", tmp_path / "theirs.keras", "--bands", bands, "--classes", tmp_path / "classes.csv"]
    arguments += ["--output", tmp_path / "theirs"]
    before = sorted(tmp_path.iterdir())
    assert _interrupted("segapp.conversion.convert.write_model", 1, tmp_path, arguments) == (INTERRUPTED, NOTHING)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_at_any_moment_a_training_ends_in_order(seed: int, samples: Path, endless: Path, tmp_path: Path) -> None:
    """From the moment that the first imports are done: while TensorFlow is loaded, data are read, steps are taken."""
    random = np.random.default_rng(seed)
    wait = 1 + (1, 4, 12)[seed] * random.uniform()
    command = segapp("train", "--data", samples, "--recipe", endless, "--output", tmp_path / "m")
    started = time.monotonic()
    code, text = on_a_terminal(command, lambda: time.monotonic() > started + wait)
    assert code == INTERRUPTED, (wait, text)
    told = _last_line(text)
    saved = (tmp_path / "m.partial").exists()
    assert told == NOTHING if not saved else re.search(r"m\.partial holds (no step yet|step \d+);.* --resume$", told)
