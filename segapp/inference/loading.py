"""From a model directory to a predictor: which engine, at which precision, with which tiles."""

from __future__ import annotations

from pathlib import Path

from segapp.inference.engine import Engine
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.inference.tensorflow_engine import TensorFlowEngine
from segapp.model.bundle import load
from segapp.model.model_spec import ModelSpec
from segapp.nets.precision import choose_precision, computing_in


def open_predictor(folder: Path, settings: RunSettings) -> tuple[Predictor, ModelSpec]:
    """Load the model directory and make it ready; raises InputError as `load` and the engines do."""
    engine: Engine
    precision = choose_precision(settings.precision)
    if settings.engine == "openvino":
        from segapp.inference.openvino_engine import OpenVINOEngine

        model = load(folder)
        engine = OpenVINOEngine(model, "bfloat16" if precision == "float16" else precision)
    else:
        with computing_in(precision):
            model = load(folder)
        engine = TensorFlowEngine(model)
    predictor = Predictor(engine, settings.test_time_augmentation, tile=settings.tile, blend=settings.blend)
    return predictor, model.spec
