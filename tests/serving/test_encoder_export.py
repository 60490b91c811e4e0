"""Networks with pretrained encoders are served as any: a fresh process finds their answers equal before they appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from segapp.configuration import validate
from segapp.model.bundle import write_model
from segapp.model.model_spec import ModelSpec
from segapp.serving.export import export


@pytest.mark.parametrize(
    "encoder",
    ["mobilenetv2", pytest.param("vgg16", marks=pytest.mark.long), pytest.param("resnet50v2", marks=pytest.mark.long)],
)
def test_a_network_with_an_encoder_is_exported_and_answers(encoder: str, tmp_path: Path) -> None:
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    data = {
        "schema": 2,
        "name": encoder,
        "network": {"encoder": encoder, "filters": 4},
        "bands": [{"name": name, "unit": "reflectance", "scale": 1e-4} for name in bands],
        "classes": {"classes": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]},
        "normalization": {"mean": [0.1] * len(bands), "std": [0.05] * len(bands)},
        "patch_size": 64,
    }
    spec = validate(ModelSpec, data, "test")
    model = spec.build()
    write_model(tmp_path / "model", model, spec)
    version = export(tmp_path / "model", tmp_path / "served", next=True, quiet=True)
    loaded = tf.saved_model.load(str(version))
    counts = np.random.default_rng(1).integers(1, 4000, (1, 70, 53, len(bands)), dtype=np.uint16)
    answer = loaded.signatures["classes"](counts=tf.constant(counts))
    assert answer["classes"].shape == (1, 70, 53)
    assert set(np.unique(answer["classes"])) <= {3, 7}
