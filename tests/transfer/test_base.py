"""A base is read from a model directory or from Keras' own file, unchanged to the bit; all else says what to do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from scipy.io import savemat

import segapp
from segapp.conversion.rebuild import same_features
from segapp.errors import InputError
from segapp.model.bundle import write_model
from segapp.transfer.base import read_base
from tests.scenes.test_mat import write_mat73, write_opaque


@pytest.fixture(autouse=True)
def _names_as_keras_gives_them() -> None:
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)


def _convolved(x: keras.KerasTensor, filters: int, **settings: Any) -> keras.KerasTensor:
    return layers.Conv2D(filters, 3, padding="same", activation="relu", **settings)(x)


def _body(image: keras.KerasTensor) -> keras.KerasTensor:
    """A U-Net of two poolings whose layers have the names that Keras gives."""
    one = _convolved(image, 4)
    two = _convolved(layers.MaxPooling2D()(one), 8)
    x = layers.Dropout(0.5)(_convolved(layers.MaxPooling2D()(two), 8))
    x = layers.Concatenate()([layers.Conv2DTranspose(8, 2, strides=2)(x), two])
    x = layers.Concatenate()([layers.UpSampling2D()(_convolved(x, 8)), one])
    return _convolved(x, 4)


def _saved(folder: Path, model: keras.Model) -> Path:
    """`model` in a file, with no weight at 0 or 1 as fresh biases and statistics are."""
    rng = np.random.default_rng(7)
    for layer in model.layers:
        if not isinstance(layer, layers.Normalization):
            layer.set_weights([w + rng.uniform(0.1, 0.2, w.shape).astype(w.dtype) for w in layer.get_weights()])
    model.save(folder / "foreign.keras")
    return folder / "foreign.keras"


def _u_net(folder: Path, size: int | None = 64, bands: int = 3) -> tuple[Path, keras.Model]:
    image = keras.Input((size, size, bands))
    features = _body(image)
    model = keras.Model(image, layers.Conv2D(5, 1, activation="softmax")(features))
    return _saved(folder, model), model


def _noise(model: keras.Model, side: int = 64) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(1, side, side, model.input_shape[-1])).astype(np.float32)


@pytest.mark.parametrize("size", [None, 64, 32])
def test_a_keras_u_net_is_rebuilt_bit_for_bit(tmp_path: Path, size: int | None) -> None:
    path, original = _u_net(tmp_path, size)
    base = read_base(path)
    image = _noise(original, size or 64)
    np.testing.assert_array_equal(base.model(image), original(image))
    assert same_features(original, "conv2d_5", base.model, base.spec.head)
    assert (base.spec.name, base.spec.head, base.source) == ("foreign", "conv2d_5", str(path))
    assert not base.known_classes and base.model.spec is base.spec
    assert base.model.input_shape == (None, None, None, 3)
    assert [band.name for band in base.spec.bands] == ["band_1", "band_2", "band_3"]
    assert base.spec.classes.names == [f"class_{i}" for i in range(1, 6)] and base.spec.classes.nodata == 0
    assert {layer.name for layer in original.layers[1:]} < {layer.name for layer in base.model.layers}


def test_a_base_from_keras_is_written_and_loaded_as_a_model_directory(tmp_path: Path) -> None:
    path, original = _u_net(tmp_path)
    base = read_base(path)
    write_model(tmp_path / "model", base.model, base.spec)
    loaded = segapp.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded(_noise(original)), original(_noise(original)))
    assert loaded.spec.network == base.spec.network
    again = read_base(tmp_path / "model", "conv2d_5")
    assert again.known_classes and same_features(again.model, "conv2d_5", base.model, "conv2d_5")
    with pytest.raises(InputError, match=r"its head is 'conv2d_5', not 'conv2d'; leave out"):
        read_base(tmp_path / "model", "conv2d")


def test_features_differ_when_one_weight_does(tmp_path: Path) -> None:
    path, original = _u_net(tmp_path)
    model = read_base(path).model
    kernel, bias = model.get_layer("conv2d").get_weights()
    kernel[0, 0, 0, 0] = np.nextafter(kernel[0, 0, 0, 0], 1)
    model.get_layer("conv2d").set_weights([kernel, bias])
    assert not same_features(original, "conv2d_5", model, "conv2d_5")


def test_a_sequential_network(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((None, None, 2)), layers.Conv2D(4, 3, padding="same"), layers.Conv2D(3, 1), layers.Softmax()]
    )
    base = read_base(_saved(tmp_path, model))
    np.testing.assert_array_equal(base.model(_noise(model)), model(_noise(model)))
    assert base.spec.head == "conv2d_1"


def _with_batch_norm(image: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(image)))


def _with_normalization(image: keras.KerasTensor) -> keras.KerasTensor:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (4, 8, 8, 3)).astype(np.float32))
    return _convolved(normalization(image), 4)


def _with_shared_layer(image: keras.KerasTensor) -> keras.KerasTensor:
    shared = layers.Conv2D(3, 3, padding="same", activation="tanh")
    return shared(shared(image))


def _with_operations(image: keras.KerasTensor) -> keras.KerasTensor:
    x = keras.ops.nan_to_num(_convolved(image, 4)) / 3 + 1
    return keras.ops.concatenate([keras.ops.relu(x), x[..., :2], 1 - x], axis=-1)


def _with_segapps_names(image: keras.KerasTensor) -> keras.KerasTensor:
    return _convolved(_convolved(image, 4, name="input_normalization"), 4, name="final_conv")


@pytest.mark.parametrize(
    "body",
    [_with_batch_norm, _with_normalization, _with_shared_layer, _with_operations, _with_segapps_names],
)
def test_networks_of_many_kinds_of_layers(
    tmp_path: Path, body: Callable[[keras.KerasTensor], keras.KerasTensor]
) -> None:
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, layers.Conv2D(4, 1, activation="softmax", use_bias=False, name="softmax")(body(image)))
    path = _saved(tmp_path, model)
    base = read_base(path)
    np.testing.assert_array_equal(base.model(_noise(model)), model(_noise(model)))
    assert base.spec.head == "softmax_head"
    other = base.spec.model_copy(update={"head": "another"}).build()
    assert [layer.name for layer in other.layers[:-2]] == [layer.name for layer in base.model.layers[:-2]]
    write_model(tmp_path / "model", base.model, base.spec)
    np.testing.assert_array_equal(segapp.load(tmp_path / "model")(_noise(model)), model(_noise(model)))


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
def test_features_in_half_precision_are_kept(tmp_path: Path, policy: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        path, original = _u_net(tmp_path)
    finally:
        keras.config.set_dtype_policy(before)
    base = read_base(path)
    assert base.model.get_layer("conv2d_1").dtype_policy.name == policy
    assert same_features(original, "conv2d_5", base.model, "conv2d_5")


def test_a_head_with_sigmoids_keeps_its_logits(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    logits = layers.Conv2D(4, 1)(_convolved(image, 4))
    path = _saved(tmp_path, keras.Model(image, layers.Activation("sigmoid")(logits)))
    model, original = read_base(path).model, keras.Model(image, logits)
    rebuilt = keras.Model(model.inputs[0], model.get_layer("softmax").input)
    np.testing.assert_array_equal(rebuilt(_noise(model)), original(_noise(model)))


def test_a_head_for_one_class_becomes_one_for_two(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    original = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(_convolved(image, 4)))
    base = read_base(_saved(tmp_path, original))
    assert base.spec.classes.names == ["class_1", "class_2"]
    expected = original(_noise(original)).numpy()
    assert expected.std() > 0.01
    rounding = 8 * np.finfo(np.float32).eps  # two formulas of one function
    np.testing.assert_allclose(base.model(_noise(original))[..., 1:], expected, rtol=rounding)


def test_the_head_can_be_named(tmp_path: Path) -> None:
    path, _ = _u_net(tmp_path)
    assert read_base(path, "conv2d_5").spec.head == "conv2d_5"
    with pytest.raises(InputError, match=r"has no layer 'conv'; its last ones are .*conv2d_5"):
        read_base(path, "conv")
    with pytest.raises(InputError, match=r"layer 'conv2d_1' \(Conv2D\) is no 1x1 Conv2D"):
        read_base(path, "conv2d_1")


def _pooled(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.MaxPooling2D(name="pool")(layers.Conv2D(3, 1, name="head")(layers.UpSampling2D()(x)))


def _added(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Add(name="sum")([layers.Conv2D(3, 1, name="head")(x), x])


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (_pooled, r"layer 'pool' \(MaxPooling2D\) follows the head 'head', where only an activation may; save"),
        (_added, r"layer 'sum' \(Add\) follows the head 'head'"),
        (layers.Conv2D(3, 2, padding="same", name="last"), r"layer 'last' \(Conv2D\) is no 1x1 Conv2D"),
        (layers.DepthwiseConv2D(1, name="last"), r"layer 'last' \(DepthwiseConv2D\) is no 1x1 Conv2D"),
        (lambda x: layers.Conv2D(3, 1, name="last")(layers.MaxPooling2D()(x)), "layer 'last' makes a map of .32, 32"),
        (lambda x: layers.Dense(3, name="d")(layers.GlobalAveragePooling2D()(x)), "layer 'd' gives .*, not pixels"),
        (layers.Softmax(), "no layer has weights"),
        (lambda x: [layers.Conv2D(3, 1, name="a")(x), layers.ReLU(name="b")(x)], r"has 1 inputs and 2 outputs .*'b'\)"),
        (layers.Lambda(lambda x: x, name="code"), "layer 'code': Lambda may hold code or read files; replace"),
    ],
)
def test_a_network_that_cannot_be_cut_names_the_layer(
    tmp_path: Path, end: Callable[[keras.KerasTensor], Any], message: str
) -> None:
    image = keras.Input((None, None, 3))
    path = _saved(tmp_path, keras.Model(image, end(image)))
    with pytest.raises(InputError, match=message) as error:
        read_base(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Reshape((8, 8, 3), name="fixed"), "layer 'fixed' makes a map of .8, 8. pixels of an image of any size"),
        (lambda x: layers.Dense(192, name="dense")(layers.Flatten()(x)), r"layer 'dense' \(Dense\) cannot be built"),
    ],
)
def test_a_network_for_one_size_of_image_names_the_layer(
    tmp_path: Path, layer: Callable[[keras.KerasTensor], keras.KerasTensor], message: str
) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1)(layers.Reshape((8, 8, 3))(layer(image)))
    with pytest.raises(InputError, match=message):
        read_base(_saved(tmp_path, keras.Model(image, layers.Conv2D(2, 1)(x))))


def _replace_config(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write the file anew with another config.json: `change` gets the one it has."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    result = change(config)
    members["config.json"] = result if isinstance(result, bytes) else json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _layer(config: dict[str, Any]) -> dict[str, Any]:
    return config["config"]["layers"][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: _layer(c).update(module="os", class_name="system"), r"layer 'conv2d': 'os\.system' is not Keras'"),
        (lambda c: _layer(c).update(module="builtins", class_name="function", config="eval"), "function may hold code"),
        (lambda c: _layer(c)["config"].update(activation={"class_name": "__lambda__"}), "__lambda__ may hold code"),
        (lambda c: _layer(c).update(class_name="deserialize"), r"has no keras\.layers\.deserialize"),
        (lambda c: c.update(module="os", class_name="system"), r"holds a os\.system; save a functional network"),
        (lambda c: c.update(registered_name="mine>Functional"), "is registered as 'mine>Functional'"),
        (lambda c: b"[" * 100_000, "cannot be read as JSON"),
        (lambda c: b"\xff", "cannot be read as JSON"),
        (lambda c: b"[]", "save a functional network"),
        (lambda c: _layer(c)["config"].update(filters=7), "cannot be read by Keras"),
    ],
)
def test_a_file_that_is_damaged_or_wants_to_run_code_is_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = _u_net(tmp_path)
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("code was run"))
    _replace_config(path, change)
    with pytest.raises(InputError, match=message) as error:
        read_base(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_archive_with_other_members_is_not_unpacked(tmp_path: Path) -> None:
    path, _ = _u_net(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped", b"x")
    with pytest.raises(InputError, match=r"holds \['\.\./escaped'.*not what Keras writes"):
        read_base(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path, _ = _u_net(tmp_path)
    _replace_config(path, lambda config: None)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, "config.json": b" " * (1 << 27)}.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"config\.json unpacks to 134,217,728 bytes"):
        read_base(path)


@pytest.mark.parametrize("share", [0, 0.4, 0.9])
def test_a_file_that_is_cut_off_is_one_line(tmp_path: Path, share: float) -> None:
    path, _ = _u_net(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"foreign\.keras: is damaged or no \.keras file .*save or copy it again"):
        read_base(path)


def _network_5(path: Path) -> None:
    write_opaque(path)


def _network_73(path: Path) -> None:
    write_mat73(path, {"net": "DAGNetwork"}, net=np.zeros((1, 6), np.uint32))
    with h5py.File(path, "r+") as file:
        file["net"].attrs["MATLAB_object_decode"] = 3
        file.create_group("#subsystem#")


@pytest.mark.parametrize("write", [_network_5, _network_73])
def test_a_network_of_matlabs_comes_with_the_way_over(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "my_multispectralUnet.mat"
    write(path)
    with pytest.raises(InputError, match="'net' is a MATLAB network object") as error:
        read_base(path)
    for line in (
        'exportONNXNetwork(net, "my_multispectralUnet.onnx")',
        "segapp convert my_multispectralUnet.onnx --bands ... --classes classes.csv --output models/my",
    ):
        assert line in str(error.value)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_mat_file_without_a_network_says_what_it_holds(tmp_path: Path) -> None:
    savemat(tmp_path / "five.mat", {"image": np.zeros((3, 4))})
    write_mat73(tmp_path / "seven.mat", image=np.zeros((3, 4)))
    for name in ("five.mat", "seven.mat"):
        with pytest.raises(InputError, match=rf"{name}: holds no network, but image; give a model directory"):
            read_base(tmp_path / name)
    (tmp_path / "five.mat").write_bytes(b"x" * 200)
    with pytest.raises(InputError, match=r"five\.mat: cannot be read as a MAT file"):
        read_base(tmp_path / "five.mat")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.keras", "no such file or folder; give a model directory or a .keras file"),
        ("net.onnx", "is an ONNX file; convert it with `segapp convert net.onnx --bands ... --classes"),
        ("net.pt", "write net.onnx with torch.onnx.export, then `segapp convert net.onnx"),
        ("net.h5", r"old format; save it in the new one: .*load_model\(\"net.h5\", .*save\(\"net.keras\"\)"),
        ("net.png", "is no pretrained network; give a model directory or a .keras file"),
        ("folder", "is no model directory"),
    ],
)
def test_what_is_no_base_says_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif not name.startswith("absent"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match=message) as error:
        read_base(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
