"""Nothing in a file is ever run: each kind of file comes here with code in it that would leave a mark."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import segapp
from tests.bad_input.cases import CONVERT, FINETUNE, INSPECT, PREDICT, TRAIN, run
from tests.bad_input.place import dataset, described, repacked, write

MARK = "was-run"
_BASE = FINETUNE.replace("--base model", "--base {}")
_FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)
_seen: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in _FORBIDDEN:
        _seen.append(f"{event} {arguments}")


@pytest.fixture
def nothing_ran(place: Path) -> Any:
    """Fails the test where code left its mark, or the interpreter was asked for what only code from a file asks for."""
    global _seen
    if not getattr(sys, "_segapp_listens", False):  # an audit hook stays for good
        sys.addaudithook(_listen)
        sys._segapp_listens = True  # type: ignore[attr-defined]
    _seen = []
    yield
    found, _seen = _seen, None
    assert not found and not (place / MARK).exists()


class Trap:
    """Leaves the mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(MARK),)


def _pickled(name: str) -> Callable[[Path], object]:
    return write(name, pickle.dumps(Trap()))


def _lambda_model(side: int | None = None) -> keras.Model:
    image = keras.Input((side, side, 3))
    code = layers.Lambda(lambda x: (__import__("pathlib").Path("was-run").touch(), x)[1], name="code")
    return keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(code(image)))


def _lambda_keras(folder: Path) -> None:
    _lambda_model().save(folder / "base.keras")
    (folder / MARK).unlink(missing_ok=True)


def _lambda_h5(folder: Path) -> None:
    _lambda_model(16).save(folder / "old.h5")
    (folder / MARK).unlink(missing_ok=True)


def _layer(**changes: Any) -> Callable[[Path], object]:
    """The first layer in base.keras is something else."""

    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / "base.keras") as archive:
            config = json.loads(archive.read("config.json"))
        config["config"]["layers"][1].update(changes)
        repacked("base.keras", {"config.json": json.dumps(config).encode()})(folder)

    return change


def _network(layer: dict[str, Any]) -> Callable[[Path], object]:
    """The model directory holds a network of this layer."""
    layer = {"config": {"name": "code"}, "name": "code", "inbound_nodes": [], **layer}
    image = {"class_name": "InputLayer", "module": "keras.layers", "config": {"batch_shape": [None] * 3 + [3]}}
    graph = [{**image, "name": "image", "inbound_nodes": []}, layer]
    return described(network={"keras": {"layers": graph, "output_layers": ["code", 0, 0]}})


def _python_vrt(name: str) -> Callable[[Path], object]:
    code = f"import pathlib\ndef f(inputs, output, *rest, **more):\n    pathlib.Path('{MARK}').touch()\n"
    band = f"""<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">
    <PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>
    <PixelFunctionCode><![CDATA[{code}]]></PixelFunctionCode>
    <SimpleSource><SourceFilename relativeToVRT="1">labels.tif</SourceFilename></SimpleSource></VRTRasterBand>"""
    return write(name, f'<VRTDataset rasterXSize="60" rasterYSize="40">{band}</VRTDataset>')


def _linked_weights(folder: Path) -> None:
    """The weights are a link into another file, and `model.json` gives the hash of the file with the link."""
    file = folder / "model" / "model.weights.h5"
    file.rename(folder / "secret.h5")
    with h5py.File(file, "w") as opened:
        opened["layers"] = h5py.ExternalLink(str(folder / "secret.h5"), "/layers")
    described(weights__sha256=hashlib.sha256(file.read_bytes()).hexdigest())(folder)


def _foreign_weights(folder: Path) -> None:
    """The numbers of a layer lie in another file."""
    file = folder / "model" / "model.weights.h5"
    with h5py.File(file, "r+") as opened:
        kernel = opened["layers/conv2d/vars/0"]
        shape, size = kernel.shape, kernel.nbytes
        del opened["layers/conv2d/vars/0"]
        other = [(str(folder / "image.tif"), 0, size)]
        opened["layers/conv2d/vars"].create_dataset("0", shape, np.float32, external=other)
    described(weights__sha256=hashlib.sha256(file.read_bytes()).hexdigest())(folder)


def _linked_keras(folder: Path) -> None:
    """The weights in base.keras are a link into another file."""
    with zipfile.ZipFile(folder / "base.keras") as archive:
        (folder / "secret.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(folder / "linked.h5", "w") as opened:
        opened["layers"] = h5py.ExternalLink(str(folder / "secret.h5"), "/layers")
    repacked("base.keras", {"model.weights.h5": (folder / "linked.h5").read_bytes()})(folder)


def _linked_old(folder: Path) -> None:
    (folder / "old.h5").rename(folder / "secret.h5")
    with h5py.File(folder / "secret.h5") as secret, h5py.File(folder / "old.h5", "w") as opened:
        opened.attrs.update(secret.attrs)
        opened["model_weights"] = h5py.ExternalLink("secret.h5", "/model_weights")


def _external_image(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("image", (40, 60), "u1", external=[(str(folder / "labels.tif"), 0, 2400)])


def _external_mat(folder: Path) -> None:
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        dataset = file.create_dataset("image", (40, 60), "u1", external=[(str(folder / "labels.tif"), 0, 2400)])
        dataset.attrs["MATLAB_class"] = np.bytes_("uint8")


def _onnx_that_reads(where: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        import onnx
        from onnx import TensorProto, helper

        file = onnx.load(folder / "net.onnx")
        tensor = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../place/labels.tif")
        if where == "initializer":
            file.graph.initializer.append(tensor)
        else:
            file.graph.node.insert(0, helper.make_node("Constant", [], ["stolen"], value=tensor))
        (folder / "net.onnx").write_bytes(file.SerializeToString())

    return change


def _onnx_of(domain: str, kind: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        import onnx
        from onnx import helper

        file = onnx.load(folder / "net.onnx")
        last = file.graph.node[-1]
        last.output[0], wanted = "inner", last.output[0]
        file.graph.node.append(helper.make_node(kind, ["inner"], [wanted], name="code", domain=domain))
        file.opset_import.append(helper.make_opsetid(domain, 1))
        (folder / "net.onnx").write_bytes(file.SerializeToString())

    return change


class Sample(NamedTuple):
    """A file with code in it or with a way out of it, the command that is given it, and words of the refusal."""

    name: str
    make: Callable[[Path], object]
    command: str
    words: str


_OBJECTS = np.array([[Trap()]], object)
SAMPLES = [
    Sample("pickle in NPY", lambda f: np.save(f / "a.npy", _OBJECTS), "inspect a.npy", "it holds pickled objects"),
    Sample("pickle in NPZ", lambda f: np.savez(f / "a.npz", a=_OBJECTS), "inspect a.npz", "'a' (1x1 objects)"),
    Sample("pickle as NPY", _pickled("a.npy"), "inspect a.npy", "cannot be read as NPY"),
    Sample("pickle as NPZ", _pickled("a.npz"), "inspect a.npz", "cannot be read as NPZ"),
    Sample("pickle as MAT", _pickled("a.mat"), "inspect a.mat", "cannot be read as a MAT file"),
    Sample("pickle as labels", _pickled("labels.tif"), INSPECT, "labels.tif: cannot be read as a raster"),
    Sample("pickle as recipe", _pickled("recipe.toml"), TRAIN, "recipe.toml: cannot be read"),
    Sample("pickle as model", _pickled("model/model.json"), PREDICT, "model.json: cannot be read as JSON"),
    Sample("pickle as weights", _pickled("model/model.weights.h5"), PREDICT, "does not match model.json"),
    Sample("pickle of PyTorch", _pickled("a.pt"), f"{CONVERT} a.pt", "pickles, which run code"),
    Sample("pickle as safetensors", _pickled("a.safetensors"), f"{CONVERT} a.safetensors", "cannot be read as safete"),
    Sample("pickle as ONNX", _pickled("a.onnx"), f"{CONVERT} a.onnx", "is damaged or no ONNX file"),
    Sample("pickle as Keras", _pickled("a.keras"), _BASE.format("a.keras"), "is damaged or no .keras file"),
    Sample("Python in VRT", _python_vrt("a.vrt"), "inspect a.vrt", "Python code in a.vrt"),
    Sample("Python in VRT called TIFF", _python_vrt("image.tif"), INSPECT, "image.tif: "),
    Sample("commands as paths", dataset("image.tif", f"$(touch {MARK})`touch {MARK}`"), INSPECT, "matches no file"),
    Sample("Lambda in .keras", _lambda_keras, _BASE.format("base.keras"), "layer 'code': Lambda may hold code"),
    Sample("Lambda in .h5", _lambda_h5, f"{CONVERT} old.h5", "layer 'code': Lambda may hold code"),
    Sample(
        "module in .keras",
        _layer(module="os", class_name="system", config=f"touch {MARK}"),
        _BASE.format("base.keras"),
        "'os.system' is not Keras' own",
    ),
    Sample(
        "function in .keras",
        _layer(module="builtins", class_name="function", config="exec"),
        f"{CONVERT} base.keras",
        "function may hold code or read files",
    ),
    Sample(
        "registered class in .keras",
        _layer(registered_name="mine>Conv2D"),
        _BASE.format("base.keras"),
        "is not Keras' own",
    ),
    Sample(
        "file to read in .keras",
        _layer(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
        _BASE.format("base.keras"),
        "StringLookup may hold code or read files",
    ),
    Sample("module that is a list", _layer(module=["os"]), _BASE.format("base.keras"), "base.keras: "),
    Sample(
        "way out of .keras", repacked("base.keras", {f"../{MARK}": b"x"}), _BASE.format("base.keras"), "not what Ke"
    ),
    Sample(
        "way out by root", repacked("base.keras", {f"/tmp/{MARK}": b"x"}), f"{CONVERT} base.keras", "not what Keras"
    ),
    Sample(
        "assets in .keras",
        repacked("base.keras", {"assets/x": b"x"}),
        _BASE.format("base.keras"),
        "not what Keras writes",
    ),
    Sample("link in .keras", _linked_keras, _BASE.format("base.keras"), "base.keras: 'layers' is a link; copy what it"),
    Sample("link in .h5", _linked_old, f"{CONVERT} old.h5", "old.h5: 'model_weights' is a link; copy what it"),
    Sample(
        "Lambda in model.json",
        _network({"class_name": "Lambda", "module": "keras.layers"}),
        PREDICT,
        "layer 'code': Lambda may hold code",
    ),
    Sample(
        "module in model.json",
        _network({"class_name": "system", "module": "os"}),
        PREDICT,
        "'os.system' is not Keras' own",
    ),
    Sample(
        "module that is a list in model.json", _network({"class_name": "a", "module": ["os"]}), PREDICT, "model.json"
    ),
    Sample("link in weights", _linked_weights, PREDICT, "model.weights.h5: 'layers' is a link; copy what it leads to"),
    Sample("weights in another file", _foreign_weights, PREDICT, "is external, its numbers lie elsewhere; copy them"),
    Sample(
        "image in another file", _external_image, "inspect a.h5", "is external, its numbers lie elsewhere; copy them"
    ),
    Sample(
        "image in another file, MAT", _external_mat, "inspect a.mat", "is external, its numbers lie elsewhere; copy"
    ),
    Sample("ONNX that reads", _onnx_that_reads("initializer"), f"{CONVERT} net.onnx", "outside its own folder"),
    Sample("ONNX whose node reads", _onnx_that_reads("node"), f"{CONVERT} net.onnx", "net.onnx: "),
    Sample("ONNX of another domain", _onnx_of("evil", "Relu"), f"{CONVERT} net.onnx", "net.onnx: "),
    Sample("ONNX that computes else", _onnx_of("ai.onnx.ml", "Scaler"), f"{CONVERT} net.onnx", "has no counterpart"),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_it_is_refused_in_one_line_and_nothing_runs(
    sample: Sample, place: Path, nothing_ran: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")  # as some set it up for files of their own
    sample.make(place)
    before = set(place.rglob("*"))
    code, out, err = run(sample.command)
    assert (code, out) == (2, "") and err.startswith("segapp: ") and err.count("\n") == 1, err
    assert sample.words in err
    assert set(place.rglob("*")) == before and not (place.parent / MARK).exists() and not Path("/tmp", MARK).exists()


def test_the_samples_are_armed(place: Path) -> None:
    """What others read without care does leave its mark."""

    def springs(read: Callable[[], object]) -> bool:
        read()
        found = (place / MARK).exists()
        (place / MARK).unlink(missing_ok=True)
        return found

    np.save("a.npy", _OBJECTS)
    assert springs(lambda: np.load("a.npy", allow_pickle=True))
    _lambda_keras(place)
    assert springs(lambda: keras.models.load_model("base.keras", safe_mode=False))
    _linked_weights(place)
    with h5py.File("model/model.weights.h5") as file:
        assert file["layers/conv2d/vars/0"].shape == (3, 3, 3, 2)


def test_a_vrt_of_pixels_alone_is_read(place: Path) -> None:
    source = "<SimpleSource><SourceFilename relativeToVRT='1'>image.tif</SourceFilename></SimpleSource>"
    band = f"<VRTRasterBand dataType='UInt16' band='1'>{source}</VRTRasterBand>"
    (place / "a.vrt").write_text(f"<VRTDataset rasterXSize='60' rasterYSize='40'>{band}</VRTDataset>")
    assert run("inspect a.vrt")[0] == 0


def test_code_beside_a_model_is_left_alone(place: Path, nothing_ran: None) -> None:
    for name in ("model.py", "__init__.py", "conftest.py", "sitecustomize.py"):
        (place / "model" / name).write_text(f"from pathlib import Path\nPath('{MARK}').touch()\n")
    _pickled("model/model.pkl")(place)
    assert run(PREDICT)[0] == 0


def test_weights_that_were_changed_are_loaded_only_on_demand(place: Path) -> None:
    image = np.full((1, 16, 16, 3), 90, np.float32)
    before = segapp.load("model")(image)
    with h5py.File("model/model.weights.h5", "r+") as file:
        file["layers/conv2d/vars/1"][()] += 1
    with pytest.raises(segapp.InputError, match="SHA-256 differs"):
        segapp.load("model")
    assert not np.array_equal(segapp.load("model", verify=False)(image), before)
