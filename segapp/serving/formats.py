"""A model for runtimes other than TensorFlow: ONNX, LiteRT and OpenVINO files, through Keras' own exporters."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from segapp.errors import InputError
from segapp.model.bundle import MODEL_FILE, load, read_spec
from segapp.model.model_spec import ModelSpec

if TYPE_CHECKING:
    import keras

Format = Literal["onnx", "litert", "openvino"]

LARGEST_DIFFERENCE = 1e-4
"""How far a written file's probabilities may be from the Keras model's."""

_INPUT, _OUTPUT = "image", "probabilities"


def export_format(model: Path, output: Path, format: Format) -> None:
    """Write the model directory `model` as one file for another runtime.

    | format | `output` | `model.json` is found in it as |
    |---|---|---|
    | onnx | ``.onnx`` | the metadata property ``model.json`` |
    | litert | ``.tflite`` | the file ``model.json`` that ``unzip`` finds behind it, as LiteRT's label files |
    | openvino | ``.xml``, and its weights beside it in ``.bin`` | the runtime information ``model_json`` |

    Each takes "image", (N, H, W, C) float32 in the bands' units, NaN where there is no data, and gives "probabilities",
    (N, H, W, K) float32 in the order of the classes. N, H and W are open, H and W a multiple of what the network pools
    by; of a LiteRT interpreter they are set with ``resize_tensor_input``, and its tensors bear LiteRT's own names.

    What was written is run in its own runtime on synthetic patches and compared with the Keras model; it gets its name
    when it is whole and within `LARGEST_DIFFERENCE`. Raises InputError when that is exceeded, when `output` exists or
    has another suffix, when the runtime is not installed, and when the network cannot be written so.
    """
    runtime = _RUNTIMES[format]
    files = [output.with_suffix(suffix) for suffix in runtime.suffixes]
    if output.suffix != runtime.suffixes[0]:
        raise InputError(f"{output}: does not end in {runtime.suffixes[0]}, as {runtime.title} files do; rename it")
    for file in files:
        if file.exists():
            raise InputError(f"{file}: exists already; remove it or give another --output")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: its folder does not exist; make it first")
    for package in runtime.packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{output}: {runtime.title} needs the package {package}; pip install 'segapp[{runtime.extra}]'"
            )
    spec = read_spec(model)
    network, patches, expected = _network_and_sample(model, spec)
    description = spec.to_share().as_text()
    try:
        temporary = tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".writing-")
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); name a place you may write to") from None
    with temporary as folder:
        written = Path(folder) / output.name
        try:
            with _quiet():
                network.export(str(written), format=format, verbose=False)
                runtime.describe(written, description)
                found = [runtime.run(written, images) for images in patches]
        except OSError:
            raise
        except Exception as error:  # exporters and runtimes have no base class for what they raise
            reason = next(iter(str(error).splitlines()), "")
            raise InputError(
                f"{model}: cannot be written for {runtime.title} ({type(error).__name__}: {reason}); "
                "choose another format"
            ) from None
        for wanted, given in zip(expected, found, strict=True):
            difference = _difference(wanted, given)
            if not difference <= LARGEST_DIFFERENCE:
                raise InputError(
                    f"{model}: gives other probabilities in {runtime.title} (by {difference:.2g}); "
                    "choose another format"
                )
        for file in reversed(files):  # weights before the file that asks for them
            (Path(folder) / file.name).rename(file)


def _network_and_sample(model: Path, spec: ModelSpec) -> tuple[keras.Model, list[np.ndarray], list[np.ndarray]]:
    """The network in float32, batches of two sizes, and what it makes of them."""
    import keras

    from segapp.nets.precision import computing_in

    with computing_in("float32"):
        network = load(model)
    sample = _sample(spec)
    expected = [keras.ops.convert_to_numpy(network(images, training=False)) for images in sample]
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is not None:
            # As tensors, which Keras holds them in, tf2onnx takes them for inputs of the network; arrays are constants.
            layer.mean, layer.variance = (keras.ops.convert_to_numpy(v) for v in (layer.mean, layer.variance))
    return network, sample, expected


def _sample(spec: ModelSpec) -> list[np.ndarray]:
    """Batches (N, H, W, C) of two sizes with the bands' means and spreads, correlated as bands are, a part no data."""
    rng = np.random.default_rng(0)
    mean, std = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    side = spec.patch_size
    batches = []
    for shape in ((2, side, side), (1, side, 2 * side)):
        noise = 0.8 * rng.normal(size=(*shape, 1)) + 0.6 * rng.normal(size=(*shape, len(mean)))
        images = (mean + std * noise).astype(np.float32)
        images[:, : side // 4, : side // 3] = np.nan
        batches.append(images)
    return batches


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest absolute difference; infinite where the shapes differ or only one holds no number."""
    if expected.shape != found.shape or not np.array_equal(np.isnan(expected), np.isnan(found)):
        return float("inf")
    return float(np.nanmax(np.abs(expected - found)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed: converters write to stdout and stderr, from Python and from below it."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        try:
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
            yield
        finally:
            for number, former in zip((1, 2), kept, strict=True):
                os.dup2(former, number)
                os.close(former)


def _describe_onnx(file: Path, description: str) -> None:
    import onnx

    network = onnx.load(file)
    former = network.graph.output[0].name
    for node in network.graph.node:
        node.output[:] = [_OUTPUT if name == former else name for name in node.output]
    network.graph.output[0].name = _OUTPUT
    for tensor in (network.graph.input[0], network.graph.output[0]):
        for dimension, name in zip(tensor.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
            dimension.dim_param = name
    onnx.helper.set_model_props(network, {MODEL_FILE: description})
    onnx.checker.check_model(network)
    onnx.save(network, file)


def _run_onnx(file: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run([_OUTPUT], {_INPUT: images})[0]


def _describe_litert(file: Path, description: str) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(MODEL_FILE, description)


def _run_litert(file: Path, images: np.ndarray) -> np.ndarray:
    if importlib.util.find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(file))
    else:  # the copy that TensorFlow still has
        import tensorflow as tf

        interpreter = tf.lite.Interpreter(str(file))
    taken = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(taken, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _describe_openvino(file: Path, description: str) -> None:
    import openvino

    network = openvino.Core().read_model(file)
    network.inputs[0].tensor.set_names({_INPUT})
    network.outputs[0].tensor.set_names({_OUTPUT})
    network.set_rt_info(description, ["model_json"])
    whole = file.with_name("described") / file.name
    whole.parent.mkdir()
    openvino.serialize(network, whole)
    del network  # it holds the weights' file open
    for suffix in (".bin", ".xml"):
        whole.with_suffix(suffix).replace(file.with_suffix(suffix))


def _run_openvino(file: Path, images: np.ndarray) -> np.ndarray:
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([images])[_OUTPUT]


@dataclass(frozen=True)
class _Runtime:
    """One format: its suffixes, the first of which is asked for, what it needs, and how it is labelled and run."""

    title: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    describe: Callable[[Path, str], None]
    run: Callable[[Path, np.ndarray], np.ndarray]


_RUNTIMES: dict[str, _Runtime] = {
    "onnx": _Runtime("ONNX", (".onnx",), ("onnx", "tf2onnx", "onnxruntime"), "onnx", _describe_onnx, _run_onnx),
    "litert": _Runtime("LiteRT", (".tflite",), (), "litert", _describe_litert, _run_litert),
    "openvino": _Runtime("OpenVINO", (".xml", ".bin"), ("openvino",), "openvino", _describe_openvino, _run_openvino),
}
