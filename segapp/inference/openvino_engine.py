"""Run a network with OpenVINO, which is faster than TensorFlow on CPUs."""

from __future__ import annotations

import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.inference.engine import MEMORY
from segapp.nets.graph import analyse, bytes_per_pixel
from segapp.nets.precision import Precision, choose_precision
from segapp.windows import Window

if TYPE_CHECKING:
    import openvino

CpuPrecision = Literal["float32", "bfloat16"]


def cpu_precision(precision: Precision) -> CpuPrecision:
    """What OpenVINO computes in on this CPU when asked for `precision`: bfloat16 only where the CPU has units for it,
    and in place of float16. Raises InputError if OpenVINO is not installed.
    """
    reduced = choose_precision(precision, on_cpu=True) != "float32"
    capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if reduced and "BF16" in capabilities else "float32"


class OpenVINOEngine:
    """An `Engine` that runs a Keras model (N, H, W, C) to class probabilities on the CPU through OpenVINO.

    The model is converted as it stands, by way of a SavedModel; later changes of its weights have no effect. The model
    itself must compute in float32; what OpenVINO computes in is what `cpu_precision` makes of `precision`.

    Raises InputError if OpenVINO is not installed, or the network's layers do not allow mapping by pieces.
    """

    in_flight = 1
    memory = MEMORY

    def __init__(self, model: keras.Model, precision: Precision = "float32") -> None:
        openvino = _openvino()
        graph = analyse(model)
        self.stride = graph.stride
        self.halo = graph.halo
        self.classes = int(model.output_shape[-1])
        self.bytes_per_pixel = bytes_per_pixel(model)
        self._core = openvino.Core()
        self.precision = cpu_precision(precision)
        self._options = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision]}
        with tempfile.TemporaryDirectory(prefix="segapp-") as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            self._network = self._core.read_model(folder)
        self._network.reshape([1, -1, -1, model.input_shape[-1]])

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        return _run(self._probabilities, image)[place.slices].copy()

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        return _run(self._indexes, image)[place.slices].copy()

    @cached_property
    def _probabilities(self) -> openvino.CompiledModel:
        return self._core.compile_model(self._network, "CPU", self._options)

    @cached_property
    def _indexes(self) -> openvino.CompiledModel:
        import openvino
        from openvino import opset13 as ops

        # Over the first axis of a pixel's numbers, OpenVINO finds the largest twice as fast as over the last.
        network = self._network.clone()
        probabilities = network.output(0).get_node().input_value(0)
        classes_first = ops.transpose(probabilities, [0, 3, 1, 2])
        largest: Any = ops.topk(classes_first, np.int64(1), axis=1, mode="max", sort="none")
        indexes = ops.convert(ops.squeeze(largest.output(1), [1]), "u8")
        first = ops.gather(classes_first, np.int64(0), np.int64(1))
        indexes = ops.select(ops.is_nan(first), np.uint8(IGNORED_INDEX), indexes)
        return self._core.compile_model(openvino.Model([indexes], network.get_parameters()), "CPU", self._options)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise InputError("the openvino engine needs the package openvino; install segapp[openvino]") from None
    return openvino


def _run(network: openvino.CompiledModel, image: np.ndarray) -> np.ndarray:
    """What `network` makes of one image; valid until it runs again."""
    image = np.ascontiguousarray(image)[np.newaxis]
    return network([image], share_inputs=True, share_outputs=True)[0][0]
