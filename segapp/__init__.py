"""Semantic segmentation of multispectral images, and transfer that never makes a network worse.

Every verb of the command line is a function here, with the same name and defaults: `train`, `finetune`, `evaluate`,
`predict`, `area`, `export`, `convert`, `report`, `view`; `load` gives the network of a model directory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from segapp.version import VERSION

__version__ = VERSION
__all__ = [
    "InputError",
    "area",
    "convert",
    "evaluate",
    "export",
    "finetune",
    "load",
    "predict",
    "read_dataset",
    "report",
    "train",
    "view",
]

if TYPE_CHECKING:
    from segapp.conversion.convert import convert
    from segapp.data.dataset import read_dataset
    from segapp.errors import InputError
    from segapp.estimation.area import area
    from segapp.evaluation.evaluate import evaluate
    from segapp.model.bundle import load
    from segapp.prediction.predict import predict
    from segapp.reporting.report import report
    from segapp.serving.export import export
    from segapp.training.train import train
    from segapp.transfer.finetune import finetune
    from segapp.viewing.view import view

# TensorFlow reads this when it is first imported and leaves oneDNN off on CPUs without AVX-512, where it still makes
# a training step about twice as fast (compare tools/bench_train.py with TF_ENABLE_ONEDNN_OPTS=0).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# An address in somebody's file is not to be given the user's passwords.
os.environ.setdefault("GDAL_HTTP_NETRC", "NO")

_HOME = {
    "InputError": "segapp.errors",
    "area": "segapp.estimation.area",
    "convert": "segapp.conversion.convert",
    "evaluate": "segapp.evaluation.evaluate",
    "export": "segapp.serving.export",
    "finetune": "segapp.transfer.finetune",
    "load": "segapp.model.bundle",
    "predict": "segapp.prediction.predict",
    "read_dataset": "segapp.data.dataset",
    "report": "segapp.reporting.report",
    "train": "segapp.training.train",
    "view": "segapp.viewing.view",
}


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used: TensorFlow takes seconds to load."""
    if name not in _HOME:
        raise AttributeError(f"module 'segapp' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
