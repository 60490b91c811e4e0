"""Classifiers serve as encoders: on any bands and sizes, with their own weights, and with none of a wrong file."""

from __future__ import annotations

import functools
import io
import json
import pickle
import re
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from keras import applications, layers

from segapp.bands import Band
from segapp.configuration import validate
from segapp.errors import InputError
from segapp.inference.predictor import Predictor
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import load, write_model
from segapp.model.model_spec import ModelSpec
from segapp.nets.adapt import first_kernels
from segapp.nets.config import UNetConfig
from segapp.nets.encoders.features import classifier_layers
from segapp.nets.encoders.registry import ENCODERS
from segapp.nets.encoders.weights import EncoderWeights, load_encoder_weights, read_encoder_weights
from segapp.nets.graph import analyse
from segapp.windows import round_up
from tests.nets.vgg16_weights import fetch_or_skip
from tests.toy import random_scene

every_encoder = pytest.mark.parametrize("encoder", list(ENCODERS))
SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
PREPROCESSING = {
    "vgg16": applications.vgg16.preprocess_input,
    "resnet50v2": applications.resnet_v2.preprocess_input,
    "mobilenetv2": applications.mobilenet_v2.preprocess_input,
}
IMAGENET_MEAN, IMAGENET_STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])  # red, green, blue


@functools.cache
def _classifier(encoder: str) -> keras.Model:
    """As `keras.applications` builds it, with random weights and statistics; not to be changed."""
    keras.utils.set_random_seed(3)
    model = getattr(applications, ENCODERS[encoder].application)(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    _randomise(model)
    return model


def _randomise(model: keras.Model) -> None:
    """Biases and what batch normalisation learns, which are 0 and 1 at first."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))


@functools.cache
def _spec(encoder: str, bands: tuple[str, ...] = SIX) -> ModelSpec:
    data = {
        "schema": 2,
        "name": encoder,
        "network": {"encoder": encoder, "filters": 4, "dropout": 0.3},
        "bands": [{"name": name, "unit": "reflectance"} for name in bands],
        "classes": {"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]},
        "normalization": {"mean": [0.1] * len(bands), "std": [0.05] * len(bands)},
        "patch_size": 64,
    }
    return validate(ModelSpec, data, "model.json")


@functools.cache
def _network(encoder: str) -> keras.Model:
    """On six bands; not to be changed."""
    keras.utils.set_random_seed(2)
    model = _spec(encoder).build()
    _randomise(model)
    return model


@functools.cache
def _file(encoder: str) -> bytes:
    """A .weights.h5 file of the classifier."""
    return _saved(_classifier(encoder), ".weights.h5")


def _saved(model: keras.Model, suffix: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"file{suffix}"
        if suffix == ".weights.h5":
            model.save_weights(file)
        else:
            model.save(file)
        return file.read_bytes()


@functools.cache
def _weights(encoder: str) -> EncoderWeights:
    found = {layer.name: layer.get_weights() for layer in _classifier(encoder).layers if layer.weights}
    return EncoderWeights(encoder, "test", "", found)


@every_encoder
def test_layers_are_named_for_their_blocks_and_the_decoder_mirrors_the_encoder(encoder: str) -> None:
    model = _network(encoder)
    graph = analyse(model)
    depth = ENCODERS[encoder].depth
    for name, block in graph.blocks.items():
        place = re.match(r"(encoder|decoder)_stage_\d|bridge", name)
        assert block == (place[0] if place else "head" if name in ("final_conv", "softmax") else "input")
    stages = {f"{kind}_stage_{stage}" for kind in ("encoder", "decoder") for stage in range(1, depth + 1)}
    assert set(graph.blocks.values()) == stages | {"bridge", "input", "head"}
    assert graph.stride == 2**depth and graph.halo is not None
    for stage in range(1, depth + 1):
        _, skip = model.get_layer(f"decoder_stage_{stage}_concat").input
        assert graph.blocks[skip._keras_history.operation.name] == f"encoder_stage_{depth + 1 - stage}"


@every_encoder
def test_every_resolution_has_the_last_map_of_that_size_as_its_skip(encoder: str) -> None:
    last = {
        "vgg16": ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"],
        "resnet50v2": ["conv1_conv", "conv2_block3_1_relu", "conv3_block4_1_relu", "conv4_block6_1_relu", "post_relu"],
        "mobilenetv2": [*(f"block_{number}_expand_relu" for number in (1, 3, 6, 13)), "out_relu"],
    }[encoder]
    seen = {
        layer.name: layer.input._keras_history.operation.name.partition(f"_{encoder}_")[2]
        for layer in _network(encoder).layers
        if layer.name.endswith("_skip_bn")
    }
    first = ENCODERS[encoder].depth + 2 - len(last)  # two begin with a stride
    names = [f"encoder_stage_{stage}" for stage in range(first, ENCODERS[encoder].depth + 1)]
    assert seen == {f"{block}_skip_bn": name for block, name in zip([*names, "bridge"], last, strict=True)}


@every_encoder
@pytest.mark.parametrize("shape", [(64, 97), (255, 257)])
def test_maps_have_the_size_of_the_image(encoder: str, shape: tuple[int, int]) -> None:
    indexes = Predictor(TensorFlowEngine(_network(encoder))).class_map(random_scene(shape, bands=6))
    assert indexes.shape == shape and indexes.max() < 3


@every_encoder
def test_it_builds_on_three_bands(encoder: str) -> None:
    model = _spec(encoder, ("red", "green", "blue")).build()
    assert model.output_shape == (None, None, None, 3)
    assert [layer.kernel.shape[2] for layer in first_kernels(model)] in ([3], [3, 3])


@every_encoder
def test_it_comes_back_from_its_directory(encoder: str, tmp_path: Path) -> None:
    model = _network(encoder)
    write_model(tmp_path / "model", model, _spec(encoder))
    again = load(tmp_path / "model")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for found, expected in zip(again.layers, model.layers, strict=True):
        for ours, theirs in zip(found.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=found.name)


@every_encoder
def test_statistics_are_those_of_all_replicas(encoder: str) -> None:
    normalisations = [layer for layer in _network(encoder).layers if isinstance(layer, layers.BatchNormalization)]
    assert normalisations and all(layer.get_config()["synchronized"] for layer in normalisations)


@functools.cache
def _shallow(encoder: str) -> tuple[keras.Model, TensorFlowEngine]:
    """Up to the logits, at a depth whose halo is small."""
    from segapp.nets.unet import unet

    keras.utils.set_random_seed(2)
    model = unet(2, 3, UNetConfig(encoder=encoder, depth=3, filters=2))
    _randomise(model)
    logits = keras.Model(model.input, model.get_layer("softmax").input)
    return logits, TensorFlowEngine(logits)


@every_encoder
@given(st.data())
@settings(max_examples=3, phases=[Phase.reuse, Phase.generate])
def test_tiles_see_what_the_whole_image_shows(encoder: str, data: st.DataObject) -> None:
    model, engine = _shallow(encoder)
    halo = round_up(engine.halo or 0, engine.stride)
    core = engine.stride * data.draw(st.integers(2, 4))
    shape = data.draw(st.integers(halo + core + 1, 2 * (halo + core))), data.draw(st.integers(5, halo + 2 * core))
    scene = random_scene(shape, seed=data.draw(st.integers(0, 9)))
    padding = [(0, round_up(size, engine.stride) - size) for size in shape]
    image = np.pad(scene.pixels, (*padding, (0, 0)), constant_values=np.nan)
    expected = np.array(model(image[np.newaxis], training=False))[0, : shape[0], : shape[1]]
    assert expected.std() > 0.1
    tiled = np.full_like(expected, np.nan)
    pieces = list(Predictor(engine, tile=2 * halo + core).probabilities(scene))
    assert len(pieces) > 1
    for window, logits in pieces:
        tiled[window.slices] = logits
    np.testing.assert_allclose(tiled, expected, rtol=0, atol=1e-4)


@every_encoder
@given(st.permutations(range(6)))
@settings(max_examples=2, phases=[Phase.reuse, Phase.generate])
def test_features_are_the_classifiers_own_wherever_the_colours_stand(encoder: str, order: list[int]) -> None:
    """Red, green and blue among six bands; the others are at their mean."""
    bands = tuple(SIX[place] for place in order)
    model, classifier = _network(encoder), _classifier(encoder)
    load_encoder_weights(model, _weights(encoder), [Band(name=name) for name in bands])
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    preprocess = PREPROCESSING[encoder]
    seen = preprocess(pixels.copy())
    image = np.full((1, 64, 64, 6), 0.1, np.float32)
    for index, colour in enumerate(("red", "green", "blue")):
        brighter = pixels.copy()
        brighter[..., index] += 50
        channel = int(np.abs(preprocess(brighter) - seen).sum((0, 1, 2)).argmax())
        image[..., bands.index(colour)] += 0.05 * seen[..., channel] / ENCODERS[encoder].spread
    names = [name for name, layer in classifier_layers(model, encoder).items() if len(layer.output.shape) == 4]
    chosen = [*names[:: max(1, len(names) // 8)], names[-1]]
    ours = keras.Model(model.input, [classifier_layers(model, encoder)[name].output for name in chosen])
    theirs = keras.Model(classifier.input, [classifier.get_layer(name).output for name in chosen])
    for name, found, expected in zip(chosen, ours(image), theirs(seen), strict=True):
        found, expected = np.asarray(found), np.asarray(expected)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name)
        assert expected.std() > 1e-3 * np.abs(expected).max()


@every_encoder
def test_bands_reach_the_classifier_as_spread_as_imagenets_pixels(encoder: str) -> None:
    """Pixels of ImageNet's mean and deviation through the classifier's own preprocessing, against reflectance here."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(IMAGENET_MEAN, IMAGENET_STD, (1, 200, 200, 3)).astype(np.float32)
    wanted = PREPROCESSING[encoder](pixels)
    model = _network(encoder)
    reflectance = rng.normal(0.1, 0.05, (1, 200, 200, 6)).astype(np.float32)
    found = keras.Model(model.input, model.get_layer("input_scaling").output)(reflectance).numpy()
    np.testing.assert_allclose(found.std((0, 1, 2)), wanted.std(), rtol=0.05)
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=0.02 * wanted.std())
    assert np.abs(wanted.mean((0, 1, 2))).max() < 0.5 * wanted.std()


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("nir", "red", "green"), [None, "red", "green"]),
        (("B8", "B4"), ["mean", "mean"]),
        (("band_1", "band_2", "band_3", "band_4"), ["mean"] * 4),
        (("Blue", "NIR"), ["blue", None]),
    ],
)
def test_bands_get_the_filters_of_their_colour_zero_or_the_mean(
    bands: tuple[str, ...], expected: list[str | None]
) -> None:
    model = _spec("mobilenetv2", bands).build()
    load_encoder_weights(model, _weights("mobilenetv2"), [Band(name=name) for name in bands])
    base = _weights("mobilenetv2").layers["Conv1"][0]
    (kernel,) = (layer.kernel.numpy() for layer in first_kernels(model) if layer.name.endswith("Conv1"))
    for place, source in enumerate(expected):
        filters = {
            None: 0 * base[:, :, 0],
            "mean": base.mean(axis=2) * 3 / len(bands),
            **{colour: base[:, :, index] for index, colour in enumerate(("red", "green", "blue"))},
        }[source]
        np.testing.assert_allclose(kernel[:, :, place], filters, rtol=1e-6)


def test_a_wavelength_tells_the_colour_as_well() -> None:
    model = _spec("mobilenetv2", ("B8", "B4")).build()
    load_encoder_weights(model, _weights("mobilenetv2"), [Band(name="B8"), Band(name="B4", wavelength_nm=665)])
    (kernel,) = (layer.kernel.numpy() for layer in first_kernels(model) if layer.name.endswith("Conv1"))
    np.testing.assert_array_equal(kernel[:, :, 1], _weights("mobilenetv2").layers["Conv1"][0][:, :, 0])
    assert not kernel[:, :, 0].any()


def test_the_depth_is_the_encoders_unless_less_is_asked_for() -> None:
    assert [UNetConfig(encoder=name).depth for name in ("plain", *ENCODERS)] == [4, 4, 5, 5]
    assert UNetConfig(encoder="resnet50v2", depth=2).depth == 2
    with pytest.raises(InputError, match="vgg16 halves the image 4 times; give a smaller depth"):
        validate(UNetConfig, {"encoder": "vgg16", "depth": 5}, "recipe")
    with pytest.raises(
        InputError, match=r"recipe: encoder: there is no encoder 'vgg'; choose plain, vgg16, resnet50v2"
    ):
        validate(UNetConfig, {"encoder": "vgg"}, "recipe")


def test_networks_written_before_there_were_encoders_are_plain() -> None:
    assert (
        validate(UNetConfig, {"depth": 4, "filters": 16, "dropout": 0.2, "batch_norm": False}, "x").encoder == "plain"
    )


def _legacy(encoder: str = "mobilenetv2", full: bool = False) -> bytes:
    """The layout of the files that keras.applications fetches, or that of a whole network in Keras' old format."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        root = file.create_group("model_weights") if full else file
        model = _classifier(encoder)
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            names = [
                f"{layer.name}/{weight.name}:0" if full else f"{layer.name}_W_{i}:0"
                for i, weight in enumerate(layer.weights)
            ]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group[name] = weight
    return stream.getvalue()


def _nested() -> bytes:
    """A classifier whose encoder is a network within the network, as people fine-tune them."""
    image = keras.Input((64, 64, 3))
    x = layers.Dense(5, name="classes")(layers.GlobalAveragePooling2D()(_classifier("mobilenetv2")(image)))
    return _saved(keras.Model(image, x), ".keras")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".weights.h5", lambda: _file("mobilenetv2")),
        (".keras", lambda: _saved(_classifier("mobilenetv2"), ".keras")),
        (".keras", _nested),
        (".h5", lambda: _saved(_classifier("mobilenetv2"), ".h5")),
        (".h5", _legacy),
        (".h5", lambda: _legacy(full=True)),
    ],
    ids=["weights", "keras", "nested", "h5", "fetched", "old"],
)
@pytest.mark.filterwarnings("ignore")
def test_each_of_keras_formats_gives_the_same_weights(
    suffix: str, content: Callable[[], bytes], tmp_path: Path
) -> None:
    file = tmp_path / f"file{suffix}"
    file.write_bytes(content())
    found, expected = read_encoder_weights("mobilenetv2", str(file)).layers, _weights("mobilenetv2").layers
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        for ours, theirs in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_a_table_tells_what_went_where() -> None:
    from rich.console import Console

    model = _spec("mobilenetv2").build()
    table = load_encoder_weights(model, _weights("mobilenetv2"), [Band(name=name) for name in SIX])
    console = Console(width=120, file=io.StringIO(), highlight=False)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f"encoder_stage_{stage}" in text for stage in (2, 3, 4, 5)) and "encoder_stage_1" not in text
    assert "Conv_1_bn" in text and "red: red; nir: zero" in text


def _vgg19() -> bytes:
    return _saved(applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3)), ".weights.h5")


def _with_lambda(suffix: str) -> bytes:
    classifier = _classifier("vgg16")
    x = layers.Lambda(lambda y: y * 2, name="trick", output_shape=(None, None, 512))(classifier.output)
    return _saved(keras.Model(classifier.input, x), suffix)


def _changed(change: Callable[[h5py.File], None]) -> bytes:
    stream = io.BytesIO(_file("vgg16"))
    with h5py.File(stream, "a") as file:
        change(file)
    return stream.getvalue()


def _place(file: h5py.File, layer: str) -> h5py.Group:
    found: list[h5py.Group] = []
    file.visititems(lambda _, item: found.append(item) if item.attrs.get("name") == layer else None)
    return found[0]


def _spoil(file: h5py.File) -> None:
    _place(file, "block3_conv2")["0"][0, 0, 0, 0] = np.nan


def _drop(file: h5py.File) -> None:
    del _place(file, "block3_conv2")["0"], _place(file, "block3_conv2")["1"]


def _widen(file: h5py.File) -> None:
    group = _place(file, "block1_conv1")
    del group["0"]
    group["0"] = np.zeros((3, 3, 6, 64), np.float32)


def _elsewhere(file: h5py.File) -> None:
    group = _place(file, "block1_conv1")
    del group["0"]
    group.create_dataset("0", (3, 3, 3, 64), np.float32, external=[("/etc/passwd", 0, 6912)])


def _linked(file: h5py.File) -> None:
    group = _place(file, "block1_conv1")
    del group["0"]
    group["0"] = h5py.ExternalLink("/tmp/other.h5", "/numbers")


def _zip(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _keras(config: object, weights: bytes) -> bytes:
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    return _zip(**{"config.json": text, "model.weights.h5": weights})


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "another.weights.h5": (
        lambda: _file("mobilenetv2"),
        "holds none of the 13 layers of vgg16, but .*; give weights of",
    ),
    "relative.weights.h5": (_vgg19, r"holds a layer block\d_conv4, which vgg16 does not have"),
    "incomplete.weights.h5": (lambda: _changed(_drop), "lacks 1 of the 13 layers of vgg16, as block3_conv2"),
    "wide.weights.h5": (lambda: _changed(_widen), r"layer block1_conv1 has weights of \[\(3, 3, 6, 64\)"),
    "spoilt.weights.h5": (lambda: _changed(_spoil), "layer block3_conv2 holds what is no number"),
    "elsewhere.weights.h5": (lambda: _changed(_elsewhere), "is external, its numbers lie elsewhere"),
    "linked.weights.h5": (lambda: _changed(_linked), "is damaged"),
    "truncated.weights.h5": (lambda: _file("vgg16")[: 1 << 20], "is damaged .*; save or copy it again"),
    "truncated.keras": (lambda: _keras({}, _file("vgg16"))[:-100], "is no file of Keras, or is damaged"),
    "half.keras": (lambda: _keras({}, _file("vgg16")[: 1 << 20]), "is damaged"),
    "pickled.h5": (lambda: pickle.dumps({"block1_conv1": np.zeros(3)}), "is no file of Keras, or is damaged; give a"),
    "torch.pt": (lambda: _zip(**{"archive/data.pkl": b"x"}), "is a zip file, but none of Keras"),
    "lambda.keras": (lambda: _with_lambda(".keras"), r"layer 'trick' \(Lambda\) may hold code"),
    "lambda.h5": (lambda: _with_lambda(".h5"), r"layer 'trick' \(Lambda\) may hold code"),
    "scribble.keras": (lambda: _keras(b"{", _file("vgg16")), "what it says of its network cannot be read"),
    "empty.h5": (lambda: b"", "is no file of Keras, or is damaged"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = WRONG[name]
    file = tmp_path / name
    file.write_bytes(content())
    with pytest.raises(InputError, match=message) as error:
        read_encoder_weights("vgg16", str(file))
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.h5: no such file; give a file of weights, 'imagenet' or 'none'"):
        read_encoder_weights("vgg16", str(tmp_path / "none.h5"))
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be read"):
        read_encoder_weights("vgg16", str(tmp_path))


@every_encoder
def test_a_download_that_fails_names_the_file_to_fetch_by_hand_and_its_place(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.backend import config
    from keras.src.utils import file_utils

    asked: list[str] = []

    def refuse(url: str, *_: object) -> None:
        asked.append(url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    with pytest.raises(InputError) as error:
        read_encoder_weights(encoder, "imagenet")
    text = str(error.value)
    (url,) = asked
    assert f"fetch {url} by hand" in text and f".keras/models of your home as {url.rsplit('/', 1)[1]}" in text
    assert "(no network)" in text and not list(tmp_path.rglob("*.h5"))


def test_real_weights_of_vgg16_find_their_layers() -> None:
    weights = read_encoder_weights("vgg16", str(fetch_or_skip()))
    assert sum(array.size for arrays in weights.layers.values() for array in arrays) == 14_714_688
    model = _spec("vgg16").build()
    load_encoder_weights(model, weights, [Band(name=name) for name in SIX])
    kernel = model.get_layer("encoder_stage_1_vgg16_block1_conv1").kernel.numpy()
    assert not kernel[:, :, 3:].any() and kernel[:, :, :3].any(axis=(0, 1, 3)).all()
    np.testing.assert_array_equal(kernel[:, :, :3], weights.layers["block1_conv1"][0])
