"""A model written for another runtime computes there what Keras does, and says what its bands and classes are."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tensorflow as tf

import segapp
from segapp.errors import InputError
from segapp.model.bundle import write_model
from segapp.model.model_spec import ModelSpec
from segapp.serving import formats
from segapp.serving.formats import Format, export_format

_SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "litert": ".tflite", "openvino": ".xml"}
_UNET6 = Path(__file__).parents[2] / "models" / "unet6"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose network has logarithms and batch normalisation, and weights of its own."""
    spec = ModelSpec.model_validate(
        {
            "schema": 2,
            "name": "toy",
            "network": {"depth": 2, "filters": 4, "batch_norm": True},
            "bands": [{"name": "red", "unit": "reflectance"}, {"name": "nir", "unit": "reflectance"}],
            "classes": {"classes": [{"id": 3, "name": "land"}, {"id": 7, "name": "water"}, {"id": 9, "name": "ice"}]},
            "normalization": {"mean": [0.1, 0.3], "std": [0.05, 0.1], "logarithm": True},
            "patch_size": 32,
        }
    )
    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("models") / "toy"
    write_model(folder, spec.build(), spec)
    return folder


def _images(model: keras.Model, shape: tuple[int, ...]) -> np.ndarray:
    spec, rng = model.spec, np.random.default_rng(8)
    images = rng.normal(spec.normalization.mean, spec.normalization.std, (*shape, len(spec.bands))).astype(np.float32)
    images[:, 3:9, 2:20] = np.nan
    return images


def _run_elsewhere(file: Path, images: np.ndarray) -> tuple[np.ndarray, str]:
    """What a file makes of images, and the description that it carries."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file)
        assert [one.name for one in session.get_inputs()] == ["image"]
        [properties] = [p.value for p in onnx.load(file).metadata_props if p.key == "model.json"]
        return session.run(["probabilities"], {"image": images})[0], properties
    if file.suffix == ".xml":
        core = openvino.Core()
        network = core.read_model(file)
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled({"image": images})["probabilities"], network.get_rt_info(["model_json"]).astype(str)
    interpreter = tf.lite.Interpreter(str(file))
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(taken, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken, images)
    interpreter.invoke()
    with zipfile.ZipFile(file) as archive:
        return interpreter.get_tensor(given), archive.read("model.json").decode()


def _check(folder: Path, output: Path, format: Format) -> None:
    export_format(folder, output, format)
    model = segapp.load(folder)
    for shape in ((1, 64, 32), (3, 32, 80)):
        images = _images(model, shape)
        found, description = _run_elsewhere(output, images)
        expected = keras.ops.convert_to_numpy(model(images, training=False))
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert description == model.spec.to_share().as_text()


@pytest.mark.parametrize(("format", "suffix"), _SUFFIXES.items())
def test_another_runtime_gives_the_same_probabilities_for_any_size(
    toy: Path, tmp_path: Path, format: Format, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _check(toy, tmp_path / f"toy{suffix}", format)
    written = {"toy.xml", "toy.bin"} if format == "openvino" else {f"toy{suffix}"}
    assert {file.name for file in tmp_path.iterdir()} == written
    if format != "litert":  # whose interpreter greets when the test itself runs it
        assert capfd.readouterr() == ("", "")


@pytest.mark.long
@pytest.mark.parametrize(("format", "suffix"), _SUFFIXES.items())
def test_the_pretrained_base_goes_into_every_format(tmp_path: Path, format: Format, suffix: str) -> None:
    _check(_UNET6, tmp_path / f"unet6{suffix}", format)


@pytest.mark.parametrize(("name", "format"), [("m.onnx", "litert"), ("m", "onnx"), ("m.bin", "openvino")])
def test_a_wrong_suffix_is_refused(toy: Path, tmp_path: Path, name: str, format: Format) -> None:
    with pytest.raises(InputError, match=rf"{name}: does not end in {_SUFFIXES[format]}"):
        export_format(toy, tmp_path / name, format)


@pytest.mark.parametrize("there", ["m.xml", "m.bin"])
def test_what_exists_is_kept(toy: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(InputError, match=rf"{there}: exists already; remove it"):
        export_format(toy, tmp_path / "m.xml", "openvino")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "mine")]


def test_a_missing_folder_is_named(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/m.onnx: its folder does not exist"):
        export_format(toy, tmp_path / "absent" / "m.onnx", "onnx")


def test_a_missing_package_is_named_with_its_extra(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "tf2onnx" else object()

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(InputError, match=r"ONNX needs the package tf2onnx; pip install 'segapp\[onnx\]'"):
        export_format(toy, tmp_path / "m.onnx", "onnx")


def test_a_file_that_computes_something_else_never_appears(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = formats._describe_onnx

    def damage(file: Path, description: str) -> None:
        describe(file, description)
        network = onnx.load(file)
        largest = max(network.graph.initializer, key=lambda one: len(one.raw_data))
        largest.raw_data = bytes(len(largest.raw_data))
        onnx.save(network, file)

    damaged = formats._RUNTIMES["onnx"].__class__(**{**vars(formats._RUNTIMES["onnx"]), "describe": damage})
    monkeypatch.setitem(formats._RUNTIMES, "onnx", damaged)
    with pytest.raises(InputError, match=r"gives other probabilities in ONNX"):
        export_format(toy, tmp_path / "m.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_a_format_cannot_hold_is_refused_in_one_line(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **keywords: Any) -> None:
        raise NotImplementedError("no such operation\nand more")

    monkeypatch.setattr(keras.Model, "export", fail)
    with pytest.raises(InputError, match=r"cannot be written for ONNX \(NotImplementedError: no such operation\);"):
        export_format(toy, tmp_path / "m.onnx", "onnx")
    assert not list(tmp_path.iterdir())
