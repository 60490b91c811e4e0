"""A server will load what `segapp export` writes, and answer as local prediction does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
import pytest
import rasterio
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from segapp.client.description import from_json
from segapp.inference.loading import open_predictor
from segapp.inference.settings import RunSettings
from segapp.model.bundle import read_spec
from segapp.model.model_scene import open_for_model
from segapp.model.model_spec import ModelSpec
from segapp.serving.patches import made_up
from segapp.windows import whole
from tests.serving.c_api import INVALID_ARGUMENT
from tests.serving.conftest import Answer, Ask, Exported, Request

TIE = 1e-5
_IMAGES = np.zeros((1, 8, 8, 6), np.float32)
UNFIT = {
    "float64 reflectance": Request("serving_default", "reflectance", _IMAGES.astype(np.float64)),
    "counts as reflectance": Request("serving_default", "reflectance", _IMAGES.astype(np.uint16)),
    "reflectance as counts": Request("classes", "counts", _IMAGES),
    "five bands": Request("serving_default", "reflectance", _IMAGES[..., :5]),
    "one band": Request("serving_default", "reflectance", _IMAGES[..., :1]),
    "seven bands": Request("counts", "counts", np.zeros((1, 8, 8, 7), np.uint16)),
    "empty batch": Request("serving_default", "reflectance", _IMAGES[:0]),
    "empty batch of counts": Request("classes", "counts", np.zeros((0, 8, 8, 6), np.uint16)),
    "no rows": Request("serving_default", "reflectance", _IMAGES[:, :0]),
    "no batch axis": Request("serving_default", "reflectance", _IMAGES[0]),
    "another schema": Request("describe", "schema", np.array(2, np.int32)),
}


@dataclass(frozen=True)
class Conversation:
    """A scene, what local prediction makes of it, and the answers to requests about it, by name."""

    exported: Exported
    spec: ModelSpec
    pixels: np.ndarray
    """(H, W, C) float32, NaN where there is no data."""
    probabilities: np.ndarray
    """(H, W, K) float32 by local prediction."""
    answers: dict[str, Answer]


@pytest.fixture(scope="session")
def conversation(exported: Exported, ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Conversation:
    """All requests of this file are put to one loaded model: loading takes most of the time."""
    spec = read_spec(exported.model)
    counts = np.random.default_rng(5).integers(1, 4000, (6, 45, 70)).astype(np.uint16)
    counts[:, :6, :30] = 0
    counts[2, 20:22] = 0
    scene_file = tmp_path_factory.mktemp("scene") / "scene.tif"
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 6, "height": 45, "width": 70, "nodata": 0}
    with rasterio.open(scene_file, "w", **profile, transform=rasterio.Affine.scale(30, -30)) as target:
        target.write(counts)
        target.descriptions = [band.name for band in spec.bands]
    scene = open_for_model(scene_file, spec)
    pixels = scene.read(whole(scene.shape))
    predictor, _ = open_predictor(exported.model, RunSettings(precision="float32"))
    local = np.empty((*scene.shape, len(spec.classes)), np.float32)
    for window, found in predictor.probabilities(scene):
        local[window.slices] = found

    single_nan = pixels.copy()
    single_nan[np.isnan(pixels).any(-1)] = 0.1
    single_nan[np.isnan(pixels).any(-1), 3] = np.nan
    as_sent = np.moveaxis(counts, 0, -1)[np.newaxis]
    batch = np.stack([made_up(spec, (1, 45, 70))[0], pixels])
    requests = {
        "reflectance": Request("serving_default", "reflectance", pixels[np.newaxis]),
        "one band missing": Request("serving_default", "reflectance", single_nan[np.newaxis]),
        "batch": Request("serving_default", "reflectance", batch),
        "one pixel": Request("serving_default", "reflectance", pixels[np.newaxis, 9:10, :1]),
        "counts": Request("counts", "counts", as_sent),
        "classes": Request("classes", "counts", as_sent),
        "describe": Request("describe", "schema", np.array(1, np.int32)),
        **{f"warm-up {one.signature}": one for one in _warmup_of(exported)},
        **UNFIT,
    }
    answers = dict(zip(requests, ask(exported, list(requests.values())), strict=True))
    return Conversation(exported, spec, pixels, local, answers)


def _warmup_of(exported: Exported) -> list[Request]:
    """The requests of the warm-up file, as a server reads them."""
    file = exported.version / "assets.extra" / "tf_serving_warmup_requests"
    requests = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == exported.version.parent.name
        [(name, tensor)] = request.inputs.items()
        requests.append(Request(request.model_spec.signature_name, name, tf.make_ndarray(tensor)))
    return requests


def _assert_same_classes(found: np.ndarray, conversation: Conversation) -> None:
    """Equal ids but for ties; nodata where and only where the scene has none."""
    table, local = conversation.spec.classes, conversation.probabilities
    missing = np.isnan(conversation.pixels[..., 0])
    assert found.dtype == table.dtype
    np.testing.assert_array_equal(found == table.nodata, missing)
    chosen = np.searchsorted(np.sort(table.ids), found[~missing])
    chance = np.take_along_axis(local[~missing], np.argsort(table.ids)[chosen][:, np.newaxis], 1)[:, 0]
    assert (chance >= local[~missing].max(-1) - TIE).all()


@pytest.mark.parametrize("request_name", ["reflectance", "one band missing", "counts"])
def test_probabilities_and_classes_are_those_of_local_prediction(conversation: Conversation, request_name: str) -> None:
    answer = conversation.answers[request_name]
    assert set(answer.outputs) == {"probabilities", "classes"}, answer.message
    np.testing.assert_allclose(answer.outputs["probabilities"][0], conversation.probabilities, rtol=0, atol=TIE)
    _assert_same_classes(answer.outputs["classes"][0], conversation)


def test_the_small_answer_holds_classes_and_confidence_in_bytes(conversation: Conversation) -> None:
    answer = conversation.answers["classes"]
    assert set(answer.outputs) == {"classes", "confidence"}, answer.message
    _assert_same_classes(answer.outputs["classes"][0], conversation)
    found, missing = answer.outputs["confidence"][0], np.isnan(conversation.pixels[..., 0])
    assert found.dtype == np.uint8 and (found[missing] == 255).all()
    exact = conversation.probabilities[~missing].max(-1) * 254
    assert np.abs(found[~missing] - exact).max() <= 0.5 + 254 * TIE


def test_images_of_a_batch_do_not_touch_each_other(conversation: Conversation) -> None:
    found = conversation.answers["batch"].outputs["probabilities"]
    np.testing.assert_allclose(found[1], conversation.probabilities, rtol=0, atol=TIE)


def test_an_image_of_one_pixel_is_served(conversation: Conversation) -> None:
    outputs = conversation.answers["one pixel"].outputs
    assert outputs["classes"].shape == (1, 1, 1) and outputs["classes"][0, 0, 0] in conversation.spec.classes.ids
    assert outputs["probabilities"].sum() == pytest.approx(1)


def test_the_model_describes_itself(conversation: Conversation) -> None:
    description = from_json(conversation.answers["describe"].outputs["model"].item(), "the server")
    assert description.model == conversation.spec.to_share()
    assert not {"command", "folder"} & set(description.model.provenance) and description.model.provenance["recipe"]
    assert description.stride == 2**conversation.spec.network.depth
    assert description.counts is not None and description.counts.nodata == 0


def test_warm_up_requests_are_answered(conversation: Conversation) -> None:
    names = {name: answer for name, answer in conversation.answers.items() if name.startswith("warm-up ")}
    assert set(names) == {f"warm-up {name}" for name in ("serving_default", "counts", "classes", "describe")}
    for answer in names.values():
        assert answer.outputs, answer.message
        for pixels in (array for array in answer.outputs.values() if array.ndim > 1):
            assert pixels.shape[:3] == (1, 64, 64)
    classes = names["warm-up classes"].outputs["classes"]
    assert len(np.unique(classes)) > 1, "made-up pixels should look like an image"


@pytest.mark.parametrize("what", UNFIT)
def test_what_does_not_fit_gets_a_clear_invalid_argument(conversation: Conversation, what: str) -> None:
    answer, asked = conversation.answers[what], UNFIT[what]
    assert (answer.outputs, answer.code) == ({}, INVALID_ARGUMENT), answer.message
    if asked.signature == "describe":
        assert "schema must be 1" in answer.message
    elif asked.array.dtype != {"reflectance": np.float32, "counts": np.uint16}[asked.name]:
        assert {"reflectance": "float", "counts": "uint16"}[asked.name] in answer.message
    else:
        assert f"{asked.name} must be (N, H, W, 6)" in answer.message and "blue, green, red, nir" in answer.message
        assert " ".join(map(str, asked.array.shape)) in answer.message


def test_openvino_reads_the_directory_and_agrees(conversation: Conversation) -> None:
    core = openvino.Core()
    network = core.compile_model(conversation.exported.version, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = network({"reflectance": conversation.pixels[np.newaxis]})
    np.testing.assert_allclose(found["probabilities"][0], conversation.probabilities, rtol=0, atol=1e-5)
    _assert_same_classes(found["classes"][0], conversation)


def _saved_model_cli(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_saved_model_cli_shows_scans_and_runs_it(exported_unet6: Exported, tmp_path: Path) -> None:
    version = exported_unet6.version
    shown = _saved_model_cli("show", "--dir", version, "--tag_set", "serve", "--signature_def", "serving_default")
    assert "inputs['reflectance'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, -1, -1, 6)" in shown
    assert "outputs['probabilities'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, -1, -1, 7)" in shown
    assert "outputs['classes'] tensor_info:\n      dtype: DT_UINT8\n      shape: (-1, -1, -1)" in shown
    assert "does not contain the default denylisted ops" in _saved_model_cli("scan", "--dir", version)
    np.save(tmp_path / "counts.npy", np.full((2, 33, 20, 6), 900, np.uint16))
    run = ("run", "--dir", version, "--tag_set", "serve", "--signature_def", "classes", "--outdir", tmp_path)
    _saved_model_cli(*run, "--inputs", f"counts={tmp_path / 'counts.npy'}")
    assert np.load(tmp_path / "classes.npy").shape == (2, 33, 20)
    assert np.load(tmp_path / "confidence.npy").dtype == np.uint8


def test_the_graph_holds_nothing_of_training_and_no_python(exported: Exported) -> None:
    saved = SavedModel.FromString((exported.version / "saved_model.pb").read_bytes())
    [graph] = [meta.graph_def for meta in saved.meta_graphs]
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    unwanted = (
        "Random",
        "Dropout",
        "Py",
        "Gradient",
        "GradV",
        "Apply",
        "Iterator",
        "BackpropFilter",
        "FusedBatchNormG",
    )
    assert not {node.op for node in nodes if any(word in node.op for word in unwanted)}
    assert not [node.name for node in nodes if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b]
    changing = [
        function.signature.name
        for function in graph.library.function
        if any(node.op.startswith("Assign") for node in function.node_def)
    ]
    assert len(changing) == 1 and "restore" in changing[0]


def test_the_reloaded_object_tells_moving_statistics_from_trainable_variables(exported_trained: Exported) -> None:
    loaded = tf.saved_model.load(str(exported_trained.version))
    trainable = {variable.name for variable in loaded.trainable_variables}
    others = {variable.name for variable in loaded.non_trainable_variables}
    assert others and all("moving" in name for name in others) and not trainable & others
    assert len(loaded.variables) == len(loaded.trainable_variables) + len(loaded.non_trainable_variables)


def test_model_json_and_configurations_come_along(exported: Exported) -> None:
    version = exported.version
    saved = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    assert [asset.filename for asset in saved.meta_graphs[0].asset_file_def] == ["model.json"]
    assert (version / "assets" / "model.json").read_text("utf-8") == read_spec(exported.model).to_share().as_text()
    config = text_format.Parse((version.parent / "models.config").read_text(), ModelServerConfig())
    [model] = config.model_config_list.config
    assert (model.name, model.base_path) == (version.parent.name, f"/models/{version.parent.name}")
    names = {path.name for path in version.parent.iterdir()}
    assert names - {"here.config"} == {"1", "models.config", "batching.config", "monitoring.config"}
