"""`tools/reproduce.py` makes a model again to the bit, and says what stands in the way where it cannot."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

import segapp
from segapp.data.dataset import dataset_from_files, read_dataset
from segapp.data.fingerprint import fingerprint
from segapp.training.recipe import Recipe
from segapp.transfer.strategy import Strategy

TOOLS = Path(__file__).parents[2] / "tools"
DECODER = {"head": 1, "decoder_stage_*": 1, "*": "frozen"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Result]:
    """Calls the tool on a model from a folder of its own; what it makes goes into `again` there."""
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module("reproduce").main
    return lambda model: CliRunner().invoke(main, [str(model), "--output", str(tmp_path / "again")])


def _recipe(steps: int = 4) -> Recipe:
    return Recipe(
        schema=1,
        patch_size=32,
        batch=4,
        steps=steps,
        average=0.9,
        network={"depth": 1, "filters": 4, "dropout": 0.5, "batch_norm": True},
        augmentation={"scale": 0.2, "noise": 0.1},
    )


@pytest.fixture(scope="module")
def place(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample scenes, of which a model was trained, and a second one finetuned from the first, all by
    relative paths; not to be changed."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(samples.parent, folder / "scenes")
    strategy = Strategy(
        schema=1,
        patch_size=32,
        batch=4,
        steps=4,
        phases=({"name": "decoder", "rate": 3e-3, "layers": DECODER},),
        guard=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        segapp.train("scenes/dataset.toml", "first", recipe=_recipe(), seed=3, precision="float32", quiet=True)
        segapp.finetune(
            "first",
            "scenes/dataset.toml",
            "second",
            strategy=strategy,
            class_map={"water": ["water", "bare"]},
            seed=5,
            precision="float32",
            quiet=True,
        )
    return folder


def _provenance(model: Path) -> dict[str, Any]:
    return json.loads((model / "model.json").read_text())["provenance"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_a_trained_model_is_made_again_bit_by_bit(onednn: str, place: Path, tmp_path: Path) -> None:
    """In a process of its own: nothing of the one that made the model can help it."""
    made = subprocess.run(
        [sys.executable, str(TOOLS / "reproduce.py"), str(place / "first")],
        cwd=tmp_path,
        # what the caller has set does not matter, but what the model was made with
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "bit-identical" in made.stdout and "note" not in made.stdout
    assert (tmp_path / "build" / "reproduced" / "model.json").exists()


def test_a_finetuned_model_is_made_again_bit_by_bit(place: Path, run: Callable[[Path], Result]) -> None:
    made = run(place / "second")
    assert made.exit_code == 0, made.output
    assert "bit-identical" in made.stdout and "note" not in made.stdout


def test_a_model_without_fingerprints_is_made_again_with_a_note(
    place: Path, tmp_path: Path, run: Callable[[Path], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As models that were made before there were any, whose dataset's path starts from where the tool is called."""
    old = tmp_path / "old"
    shutil.copytree(place / "first", old)
    document = json.loads((old / "model.json").read_text())
    for key in ("folder", "dataset sha256", "data sha256", "files", "devices", "numpy"):
        del document["provenance"][key]
    document["provenance"]["keras"] = "3.0.0"
    (old / "model.json").write_text(json.dumps(document))
    monkeypatch.chdir(place)
    made = run(old)
    assert made.exit_code == 0, made.output
    assert "fingerprint of its data is unknown" in made.stdout
    assert "made with keras 3.0.0" in made.stdout


def test_other_weights_are_told_with_their_distance_and_scores(
    place: Path, tmp_path: Path, run: Callable[[Path], Result]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(place / "first", other)
    document = json.loads((other / "model.json").read_text())
    document["provenance"]["seed"] = 4
    (other / "model.json").write_text(json.dumps(document))
    made = run(other)
    assert made.exit_code == 1, made.output
    assert "weights differ by up to" in made.stdout and "test mean iou" in made.stdout


def _repaint(labels: Path) -> None:
    """Another class in one pixel."""
    with rasterio.open(labels, "r+") as file:
        ids = file.read(1)
        ids[5, 7] = 1 if ids[5, 7] != 1 else 2
        file.write(ids, 1)


def _refusal(made: Result) -> str:
    assert made.exit_code == 2, made.output
    assert not list(Path.cwd().glob("again*"))
    (line,) = made.stderr.splitlines()
    return str(line)


def test_a_label_that_has_changed_is_named(place: Path, tmp_path: Path, run: Callable[[Path], Result]) -> None:
    moved = tmp_path / "place"
    shutil.copytree(place, moved)
    document = json.loads((moved / "first" / "model.json").read_text())
    document["provenance"]["folder"] = str(moved)
    (moved / "first" / "model.json").write_text(json.dumps(document))
    _repaint(moved / "scenes" / "labels" / "scene_02.tif")
    assert "labels/scene_02.tif (train) has changed" in _refusal(run(moved / "first"))


def test_a_base_that_has_changed_is_named(place: Path, tmp_path: Path, run: Callable[[Path], Result]) -> None:
    moved = tmp_path / "place"
    shutil.copytree(place, moved)
    document = json.loads((moved / "second" / "model.json").read_text())
    document["provenance"] |= {"folder": str(moved), "base sha256": "0" * 64}
    (moved / "second" / "model.json").write_text(json.dumps(document))
    assert f"{moved / 'first'}: holds other weights" in _refusal(run(moved / "second"))


def test_a_model_from_elsewhere_has_no_recipe(place: Path, tmp_path: Path, run: Callable[[Path], Result]) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(place / "first", foreign)
    document = json.loads((foreign / "model.json").read_text())
    document["provenance"] = {"converted from": "net.onnx"}
    (foreign / "model.json").write_text(json.dumps(document))
    assert "holds no recipe" in _refusal(run(foreign))


def test_the_card_tells_versions_seed_command_and_fingerprint(place: Path) -> None:
    provenance, card = _provenance(place / "second"), (place / "second" / "README.md").read_text()
    for key in ("command", "seed", "python", "segapp", "tensorflow", "keras", "numpy", "oneDNN", "data sha256"):
        assert f"| {key} | {provenance[key]} |" in card
    assert provenance["base"] == "first" and provenance["class map"] == {"water": ["water", "bare"]}


def test_bare_images_are_made_again_without_a_dataset_file(
    samples: Path, tmp_path: Path, run: Callable[[Path], Result]
) -> None:
    """Images and labels as a MATLAB user has them: no dataset.toml tells how they are read."""
    image, labels = tmp_path / "scene.tif", tmp_path / "labels.tif"
    shutil.copy(samples.parent / "train" / "scene_01.tif", image)
    shutil.copy(samples.parent / "labels" / "scene_01.tif", labels)
    classes = tmp_path / "classes.csv"
    listed = read_dataset(samples).classes.classes
    classes.write_text("id,name\n" + "".join(f"{c.id},{c.name}\n" for c in listed) + "0,none\n")
    dataset = dataset_from_files(image, labels, None, None, classes, bands=[3, 1], mask_band=6)
    recipe = _recipe(2).model_copy(update={"patch_size": 16})
    segapp.train(dataset, tmp_path / "model", recipe=recipe, precision="float32", quiet=True)
    made = run(tmp_path / "model")
    assert made.exit_code == 0, made.output
    assert "bit-identical" in made.stdout


def test_resuming_on_other_data_is_refused(samples: Path, tmp_path: Path) -> None:
    import keras

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 1:
                raise KeyboardInterrupt

    shutil.copytree(samples.parent, tmp_path / "scenes")
    data = tmp_path / "scenes" / "dataset.toml"
    recipe = _recipe(4).model_copy(update={"validation": _recipe().validation.model_copy(update={"every": 1})})
    with pytest.raises(KeyboardInterrupt):
        segapp.train(data, tmp_path / "model", recipe=recipe, callbacks=[Interrupt()], quiet=True)
    _repaint(tmp_path / "scenes" / "labels" / "scene_01.tif")
    with pytest.raises(segapp.InputError, match="another data"):
        segapp.train(data, tmp_path / "model", recipe=recipe, resume=True, quiet=True)


def test_every_file_that_a_scene_is_read_from_counts(tmp_path: Path) -> None:
    """A VRT's rasters, a shapefile's table, an HDF5 cube, a quality file and a class table, each by a change of it;
    not the statistics that a viewer leaves beside an image."""
    import h5py

    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 0, 0, -10, 640)}
    for name in ("band", "quality", "labels"):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(rng.integers(1, 3, (1, 64, 64), np.uint8))
    (tmp_path / "scene.vrt").write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>0, 10, 0, 640, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">band.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file["pixels"] = rng.integers(1, 3, (64, 64, 1), np.uint8)
    (tmp_path / "classes.csv").write_text("id,name\n1,a\n2,b\n")
    toml = tmp_path / "dataset.toml"
    toml.write_text(
        "schema = 1\n[image]\nquality = { classes = [3] }\n[classes]\nfile = 'classes.csv'\n"
        "[[scenes]]\nimage = 'scene.vrt'\nlabels = 'labels.tif'\nquality = 'quality.tif'\nrole = 'train'\n"
        "[[scenes]]\nimage = 'cube.h5'\nlabels = 'labels.tif'\nquality = 'quality.tif'\nrole = 'val'\n"
    )
    seen = fingerprint(read_dataset(toml))
    everything = {"dataset.toml", "classes.csv", "scene.vrt", "band.tif", "labels.tif", "quality.tif", "cube.h5"}
    assert {file for files in seen.files.values() for file in files} == everything
    (tmp_path / "band.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert fingerprint(read_dataset(toml)) == seen
    for name in sorted(everything - {"dataset.toml"}):
        content = (tmp_path / name).read_bytes()
        with (tmp_path / name).open("ab") as stream:
            stream.write(b"\n")
        changed = seen.first_difference(fingerprint(read_dataset(toml)))
        assert changed is not None and changed.startswith(f"{name} (")
        (tmp_path / name).write_bytes(content)
