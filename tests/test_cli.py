"""The command line answers quickly, in one line where something is wrong, and with the stated exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from skimage.io import imsave

from segapp.bundle import read_spec
from segapp.cli import main
from tests.scenes.test_mat import write_mat73


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", ["['--help']", "['train', '--help']", "['train', '--output', 'x']"])
def test_help_and_usage_errors_load_neither_tensorflow_nor_keras(arguments: str) -> None:
    modules = _loaded_after(f"from segapp.cli import main\ntry:\n    main({arguments})\nexcept SystemExit:\n    pass")
    assert "segapp.cli" in modules and not {"tensorflow", "keras"} & modules


def test_readers_windows_and_metrics_load_neither_tensorflow_nor_keras() -> None:
    rooms = ["dataset", "inspection", "windows", "bundle", "samples", "prediction.tiles", "training.recipe"]
    rooms += ["evaluation.report", "evaluation.evaluate", "patches.sampling", "patches.augmentation"]
    modules = _loaded_after("\n".join(f"import segapp.{room}" for room in rooms))
    assert not {"tensorflow", "keras"} & modules


def test_evaluate_prints_a_table_and_writes_json(trained: Path, samples: Path, tmp_path: Path) -> None:
    code, out, _ = _run("evaluate", "--model", trained, "--data", samples, "--json", tmp_path / "scores.json")
    assert code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"mean IoU {scores['mean_iou']:.3f}" in out
    assert all(c["name"] in out for c in scores["classes"])


@pytest.mark.parametrize("what", ["model", "dataset", "image"])
def test_inspect_tells_what_a_path_holds(what: str, trained: Path, samples: Path) -> None:
    path = {"model": trained, "dataset": samples, "image": next(samples.parent.glob("train/*.tif"))}[what]
    code, out, _ = _run("inspect", path)
    assert code == 0
    assert all(band in out for band in ("blue", "nir", "swir2"))


def test_the_matlab_users_one_liner_trains(tiny_recipe: Path, tmp_path: Path) -> None:
    """Files as in MathWorks' multispectral example: v7.3 MAT with a seventh band that is the mask, labels as PNG."""
    rng = np.random.default_rng(0)
    for role in ("train", "val"):
        labels = np.kron(rng.integers(1, 3, (6, 8)), np.ones((10, 10), int)).astype(np.uint8)
        image = np.repeat(labels[..., None].astype(np.uint16) * 1000, 7, -1)
        image[..., 6] = 65535
        image[:5, :, 6] = 0
        write_mat73(tmp_path / f"{role}_data.mat", **{f"{role}_data": image})
        imsave(tmp_path / f"{role}_labels.png", labels, check_contrast=False)
    (tmp_path / "classes.csv").write_text("id,name,color\n1,RoadMarkings,#ff0000\n2,Tree,\n")
    arguments = [f"--{option}" for option in ("image", "labels", "val-image", "val-labels", "classes", "output")]
    files = ("train_data.mat", "train_labels.png", "val_data.mat", "val_labels.png", "classes.csv", "mine")
    pairs = [part for option, file in zip(arguments, files, strict=True) for part in (option, tmp_path / file)]
    code, _, err = _run("train", *pairs, "--mask-band", "7", "--recipe", tiny_recipe, "--steps", "2", "--quiet")
    assert (code, err) == (0, "")
    spec = read_spec(tmp_path / "mine")
    assert len(spec.bands) == 6 and spec.classes.names == ["RoadMarkings", "Tree"]
    assert spec.scores["val"]["pixels"] == 55 * 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--output", "m"], "no data is given; give --data dataset.toml, or --image, --labels and --classes"),
        (["train", "--data", "none.toml", "--output", "m"], "none.toml: no such file"),
        (["train", "--data", "none.toml", "--image", "a.tif", "--output", "m"], "--data and --image exclude"),
        (["train", "--data", "DATA"], "Missing option '--output'"),
        (["train", "--data", "DATA", "--output", "m", "--recipe", "nosuch"], "there is no recipe 'nosuch'"),
        (["train", "--data", "DATA", "--output", "m", "--steps", "0"], "steps"),
        (["train", "--data", "DATA", "--output", "m", "--step", "1"], "--step"),
        (["train", "--data", "DATA", "--output", "MODEL"], "exists already"),
        (["evaluate", "--model", "none", "--data", "DATA"], "none: is no model directory"),
        (["evaluate", "--model", "MODEL", "--data", "none.toml"], "none.toml: no such file"),
        (["evaluate", "--model", "MODEL", "--data", "DATA", "--json", "none/s.json"], "its folder does not exist"),
        (["inspect", "none.tif"], "none.tif"),
        (["nosuch"], "nosuch"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2(
    arguments: list[str], message: str, trained: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"DATA": str(samples), "MODEL": str(trained)}
    code, out, err = _run(*(named.get(argument, argument) for argument in arguments))
    assert code == 2 and out == ""
    assert err.startswith("segapp: ") and err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_on_the_way_is_exit_code_3(
    samples: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segapp.training import train

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "save_checkpoint", full)
    code, _, err = _run("train", "--data", samples, "--recipe", tiny_recipe, "--output", tmp_path / "m", "--quiet")
    assert code == 3 and "No space left on device" in err and err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_an_interrupted_training_leaves_130_and_says_how_to_go_on(
    samples: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segapp.training import loop

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "step", interrupt)
    code, _, err = _run("train", "--data", samples, "--recipe", tiny_recipe, "--output", tmp_path / "m", "--quiet")
    assert code == 130 and "--resume" in err
    assert not (tmp_path / "m").exists()
