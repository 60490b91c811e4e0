"""`segapp predict` says in one line what is wrong, exits with the stated codes, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from segapp.cli import main
from segapp.prediction.mapping import map_scene

WriteScene = Callable[..., Path]


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def place(tmp_path: Path, write_scene: WriteScene) -> Path:
    """A folder with scenes, good and bad."""
    write_scene(tmp_path / "good.tif", (70, 60))
    write_scene(tmp_path / "empty.tif", (8, 60))
    whole = write_scene(tmp_path / "whole.tif", (300, 300)).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing.tif").touch()
    (tmp_path / "list.txt").write_text("# none\n")
    (tmp_path / "area.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    np.save(tmp_path / "four.npy", np.zeros((20, 30, 4), np.uint16))
    with (
        rasterio.open(tmp_path / "good.tif") as source,
        rasterio.open(tmp_path / "names.tif", "w", **source.profile) as target,
    ):
        target.write(source.read())
        target.descriptions = ("red", "green", "blue", "nir", "swir1", "swir2")
    return tmp_path


MISTAKES = {
    "a missing scene": (["none.tif"], [], "none.tif"),
    "a glob without match": (["none*.tif"], [], "none*.tif"),
    "an empty list": (["list.txt"], [], "list.txt"),
    "too few bands": (["four.npy"], [], "four.npy: has 4 bands, but the model takes 6"),
    "wrong band names": (["names.tif"], ["--bands", "4,3,2,1,nirr,6"], "names.tif"),
    "an empty file": (["nothing.tif"], [], "nothing.tif: is empty"),
    "a truncated file": (["cut.tif"], [], "cut.tif"),
    "all nodata": (["empty.tif"], [], "empty.tif: holds no valid pixel"),
    "a window elsewhere": (["good.tif"], ["--window", "900,0,5,5"], "good.tif"),
    "no window": (["good.tif"], ["--window", "1,2,3"], "--window '1,2,3' is not understood; write ROW,COL"),
    "an area without polygons": (["good.tif"], ["--aoi", "area.geojson"], "area.geojson"),
    "a tile that is all halo": (["good.tif"], ["--tile-size", "16"], "all halo"),
    "no model": (["good.tif"], ["--model", "."], "is no model directory"),
    "another dataset": (["good.tif"], ["--data", "no.toml"], "no.toml: no such file"),
    "rules twice": (["good.tif"], ["--data", "no.toml", "--bands", "1"], "--data and --bands exclude each other"),
    "a folder that is not there": (["good.tif"], ["--output", "no/map.tif"], "map.tif: its folder does not exist"),
    "an unknown suffix": (["good.tif"], ["--output", "map.xyz"], "map.xyz"),
    "a map that exists": (["good.tif"], ["--output", "whole.tif"], "whole.tif: exists already"),
    "one file for two layers": (
        ["good.tif"],
        ["--also", "probabilities", "--also", "probabilities-float32"],
        "not both",
    ),
    "polygons of an array": (["good.tif"], ["--output", "map.npy", "--polygons", "gpkg"], "map.npy: polygons"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
    place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    scenes, options, message = MISTAKES[name]
    code, _, err = _run("--model", model_folder, "--output", "map.tif", *options, *scenes)
    assert code == 2 and message in err
    assert err.startswith("segapp: ") and err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_named(place: Path, model_folder: Path) -> None:
    output = Path("/proc/segapp/map.tif") if os.geteuid() == 0 else place / "locked" / "map.tif"
    if os.geteuid() != 0:
        output.parent.mkdir(mode=0o500)
    code, _, err = _run("--model", model_folder, "--output", output, place / "good.tif")
    assert code == 2 and str(output) in err and err.count("\n") == 1


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    model_folder: Path, write_scene: WriteScene, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.tif", (600, 600))
    arguments = ["predict", str(scene), "--model", str(model_folder), "--output", str(tmp_path / "map.tif"), "--quiet"]
    script = f"""
import resource, signal
from segapp.cli import main
from segapp.prediction.mapping import map_scene
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
main({[*arguments, "--also", "probabilities-float32"]!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode in (2, 3)
    assert done.stderr.count("\n") == 1 and "map." in done.stderr and "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


def test_some_bad_scenes_of_many_end_with_code_3_and_a_summary_of_the_rest(place: Path, model_folder: Path) -> None:
    output, summary = place / "maps", place / "summary.json"
    arguments = ["--model", model_folder, "--output", output, "--json", summary]
    code, out, err = _run(*arguments, place / "good.tif", place / "cut.tif")
    assert code == 3 and "1 of 2 scenes failed" in err and "cut.tif" in err
    assert "hectares" in out and "good.tif" in out and "water & ice" in out
    told = json.loads(summary.read_text())
    assert [Path(one["scene"]).name for one in told["failures"]] == ["cut.tif"]
    assert sum(entry["pixels"] for entry in told["maps"][0]["classes"]) == 61 * 60
    code, _, _ = _run(*arguments, "--resume", place / "good.tif", place / "whole.tif")
    assert code == 0


def test_an_unexpected_error_in_one_scene_of_many_does_not_end_the_others(
    place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(predictor: object, spec: object, file: Path, *rest: object) -> object:
        if file.name == "good.tif":
            raise ZeroDivisionError("odd\nand odder")
        return map_scene(predictor, spec, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("segapp.prediction.job.map_scene", odd)
    arguments = ["--model", model_folder, "--output", place / "odd", "--quiet"]
    code, _, err = _run(*arguments, place / "good.tif", place / "whole.tif")
    assert code == 3 and err.splitlines() == [
        f"failed: {place / 'good.tif'}: cannot be mapped (ZeroDivisionError: odd)",
        "segapp: 1 of 2 scenes failed",
    ]
    assert (place / "odd" / "whole.tif").exists() and not (place / "odd" / "good.tif").exists()


def test_check_tells_how_many_pixels_differ(place: Path, model_folder: Path) -> None:
    options = ["--precision", "bfloat16", "--check", "--output", place / "map.tif"]
    code, _, err = _run("--model", model_folder, place / "good.tif", *options)
    assert code == 0 and "% of pixels get another class than by TensorFlow in float32" in err
