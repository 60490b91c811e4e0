"""From a model directory to a predictor: which engine, at which precision, with which tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segapp.inference.engine import Engine
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import load
from segapp.model.model_spec import ModelSpec
from segapp.nets.hardware import take_memory_as_needed
from segapp.nets.precision import choose_precision, computing_in


def resolved(settings: RunSettings) -> RunSettings:
    """The settings with the precision that the engine computes in on this machine, in place of "auto"."""
    if settings.engine == "openvino":
        from segapp.inference.openvino_engine import cpu_precision

        return replace(settings, precision=cpu_precision(settings.precision))
    return replace(settings, precision=choose_precision(settings.precision))


def open_predictor(folder: Path, settings: RunSettings) -> tuple[Predictor, ModelSpec]:
    """Load the model directory and make it ready; raises InputError as `load` and the engines do."""
    engine: Engine
    take_memory_as_needed()
    if settings.engine == "openvino":
        from segapp.inference.openvino_engine import OpenVINOEngine

        with computing_in("float32"):
            model = load(folder)
        engine = OpenVINOEngine(model, settings.precision)
    else:
        with computing_in(choose_precision(settings.precision)):
            model = load(folder)
        engine = TensorFlowEngine(model)
    predictor = Predictor(engine, settings.test_time_augmentation, tile=settings.tile, blend=settings.blend)
    return predictor, model.spec
