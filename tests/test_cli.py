"""The command line answers quickly, in one line where something is wrong, and with the stated exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from skimage.io import imsave
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segapp.cli import main
from segapp.model.bundle import read_spec
from tests.scenes.test_mat import write_mat73, write_opaque


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "['--help']",
        "['train', '--help']",
        "['train', '--output', 'x']",
        "['finetune', '--help']",
        "['predict', '--help']",
        "['export', '--help']",
        "['convert', '--help']",
        "['report', '--help']",
        "['view', '--help']",
        "['predict', 'no.tif', '--model', 'models/unet6', '--output', 'x.tif']",
        "['finetune', '--base', 'b', '--data', 'd', '--output', 'o', '--strategy', 'nosuch']",
        "['finetune', '--base', 'b', '--data', 'd', '--output', 'o', '--map', 'nonsense']",
        "['finetune', '--base', 'b', '--data', 'd', '--output', 'o']",
    ],
)
def test_help_and_usage_errors_load_neither_tensorflow_nor_keras(arguments: str) -> None:
    modules = _loaded_after(f"from segapp.cli import main\ntry:\n    main({arguments})\nexcept SystemExit:\n    pass")
    assert "segapp.cli" in modules and not {"tensorflow", "keras"} & modules


@pytest.mark.parametrize("verb", [[], *([verb] for verb in main.commands)])
def test_help_loads_nothing_heavy(verb: list[str]) -> None:
    code = f"from segapp.cli import main\ntry:\n    main({[*verb, '--help']})\nexcept SystemExit:\n    pass"
    heavy = {"tensorflow", "keras", "matplotlib", "rasterio", "numpy", "rich", "pydantic"}
    assert not heavy & _loaded_after(code)


@pytest.mark.parametrize("verb", main.commands)
def test_help_is_complete(verb: str) -> None:
    """An example that can be typed, and a word on every option; no line is broken in two."""
    command = main.commands[verb]
    code, out, _ = _run(verb, "--help")
    examples = [line.strip() for line in out.splitlines() if line.startswith(f"  segapp {verb} ")]
    assert code == 0 and examples
    known = {option for parameter in command.params for option in parameter.opts}
    for example in examples:
        assert example in (command.help or "")
        used = re.findall(r"(?<= )--[a-z-]+", example.partition("|")[0])
        assert set(used) <= known
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []


def test_the_help_tells_the_exit_codes() -> None:
    code, out, _ = _run("--help")
    assert code == 0 and all(f"{number} " in out.partition("Exit codes:")[2] for number in (0, 1, 2, 3, 130, 143))


def test_readers_windows_and_metrics_load_neither_tensorflow_nor_keras() -> None:
    rooms = ["windows", "data.dataset", "data.inspection", "model.bundle", "model.card", "samples.write"]
    rooms += ["patches.sampling", "patches.augmentation", "inference.tiles", "maps.writers", "maps.polygons"]
    rooms += ["evaluation.report", "evaluation.evaluate", "training.recipe", "training.layer_settings"]
    rooms += ["transfer.strategy", "transfer.plan", "prediction.predict", "prediction.inputs"]
    rooms += ["reporting.report", "viewing.view"]
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


FINETUNE = ["finetune", "--quiet", "--base", "MODEL", "--data", "DATA"]


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
        (FINETUNE, "nothing says where the model goes; give --output, or --dry-run to see the plan"),
        ([*FINETUNE, "--output", "MODEL"], "exists already; remove it or give another --output"),
        ([*FINETUNE, "--output", "m", "--base", "none"], "none: no such file or folder; give a model directory"),
        ([*FINETUNE, "--output", "m", "--data", "none.toml"], "none.toml: no such file"),
        ([*FINETUNE, "--output", "m", "--strategy", "nosuch"], "there is no strategy 'nosuch'; choose "),
        ([*FINETUNE, "--output", "m", "--strategy", "none.toml"], "none.toml: no such file"),
        ([*FINETUNE, "--output", "m", "--map", "water"], "--map 'water' is not understood; write NEW=BASE"),
        ([*FINETUNE, "--output", "m", "--map", "water=sea"], "'sea' is no class of the base, which has water, "),
        ([*FINETUNE, "--output", "m", "--map", "sea=water"], "'sea' is mapped but is no new class"),
        ([*FINETUNE, "--output", "m", "--map", "water=", "--head-init", "copied"], "water cannot be copied from"),
        ([*FINETUNE, "--output", "m", "--head-init", "guessed"], "--head-init"),
        ([*FINETUNE, "--output", "m", "--head-layer", "conv"], "its head is 'final_conv', not 'conv'"),
        ([*FINETUNE, "--output", "m", "--patch-size", "34"], "a patch size of 34 does not divide by 4"),
        ([*FINETUNE, "--output", "m", "--steps", "0"], "steps"),
        ([*FINETUNE, "--output", "m", "--unlabelled", "none.tif"], "none.tif"),
        ([*FINETUNE, "--dry-run", "--map", "water=sea"], "'sea' is no class of the base"),
        (["finetune", "--data", "DATA", "--output", "m"], "Missing option '--base'"),
        (
            ["train", "--data", "DATA", "--output", "m", "--patch-size", "40", "--quiet"],
            "a patch size of 40 does not divide by 16",
        ),
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


def _finetune_fails(*arguments: str | Path) -> str:
    """The one line that `segapp finetune` with a mistake leaves."""
    code, out, err = _run("finetune", "--quiet", *arguments)
    assert (code, out) == (2, "") and err.startswith("segapp: ") and err.count("\n") == 1
    return err


def test_a_network_object_of_matlabs_as_base_comes_with_the_way_over(samples: Path, tmp_path: Path) -> None:
    write_opaque(tmp_path / "my_multispectralUnet.mat")
    err = _finetune_fails(
        "--base", tmp_path / "my_multispectralUnet.mat", "--data", samples, "--output", tmp_path / "new"
    )
    assert "exportONNXNetwork(net" in err and "segapp convert my_multispectralUnet.onnx" in err


def test_a_dataset_without_training_scenes_cannot_be_transferred_to(
    trained: Path, samples: Path, tmp_path: Path
) -> None:
    head, *scenes = samples.read_text().split("[[scenes]]")
    kept = [scene.replace('= "', f'= "{samples.parent}/', 2) for scene in scenes if 'role = "train"' not in scene]
    (tmp_path / "new.toml").write_text("[[scenes]]".join([head, *kept]))
    err = _finetune_fails("--base", trained, "--data", tmp_path / "new.toml", "--output", tmp_path / "new")
    assert "new.toml: no scene has the role train" in err and not (tmp_path / "new.partial").exists()


def test_a_finetune_is_not_resumed_with_other_settings(trained: Path, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "plan.json").write_text("{}")
    arguments = ("--base", trained, "--data", samples, "--output", tmp_path / "new")
    assert "holds an interrupted run; go on with --resume" in _finetune_fails(*arguments)
    assert "was run with another base; resume with the same settings" in _finetune_fails(*arguments, "--resume")


def test_a_dry_run_prints_the_plan_and_writes_nothing(trained: Path, samples: Path, tmp_path: Path) -> None:
    arguments = ("finetune", "--base", trained, "--data", samples, "--map", "water=built", "--steps", "10")
    for output in ([], ["--output", tmp_path / "new"]):
        code, out, err = _run(*arguments, "--dry-run", *output)
        assert (code, err) == (0, "") and not list(tmp_path.iterdir())
        assert all(name in out for name in ("swir2", "encoder_stage_1", "frozen", "4 steps", "water", "trainable"))


def test_finetune_writes_a_model_and_says_nothing_when_quiet(trained: Path, samples: Path, tmp_path: Path) -> None:
    arguments = ("--base", trained, "--data", samples, "--strategy", "head", "--output", tmp_path / "new", "--quiet")
    code, out, err = _run("finetune", *arguments)
    assert (code, out, err) == (0, "", "")
    spec = read_spec(tmp_path / "new")
    assert spec.provenance["winner"] in ("base", "head", "head-context") and spec.head == "final_conv_2"
    assert spec.provenance["base"] == str(trained)
    assert (tmp_path / "new" / "messages.log").read_text().rstrip().endswith(f"model directory: {tmp_path / 'new'}")
    events = EventAccumulator(str(tmp_path / "new" / "events"))
    events.Reload()
    (plan,) = events.Tensors("plan")
    text = plan.tensor_proto.string_val[0].decode()
    assert text.startswith("```\n") and all(name in text for name in ("swir2", "water", "Bands", "Classes"))


def test_a_disk_that_fails_on_the_way_is_exit_code_3(
    samples: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segapp.training import fit

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit, "save_checkpoint", full)
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
    heard = signal.getsignal(signal.SIGINT)
    code, _, err = _run("train", "--data", samples, "--recipe", tiny_recipe, "--output", tmp_path / "m", "--quiet")
    signal.signal(signal.SIGINT, heard)
    assert code == 130 and "m.partial holds no step yet; start again with --resume" in err and err.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m segapp inspect {tmp_path / 'missing.tif'} {closed}"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 2
