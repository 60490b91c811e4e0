"""Requests that a server answers before it takes others, so that no caller waits for kernels to be prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from segapp.client.description import SCHEMA, Description
from segapp.serving.patches import as_counts, made_up

_SMALLEST, _LARGEST = 64, 256


def warmup_requests(description: Description) -> dict[str, dict[str, np.ndarray]]:
    """One request for each signature: its inputs by name.

    Images have the model's patch size, but between 64 and 256 pixels a side, and the training pixels' means and
    spreads.
    """
    spec = description.model
    side = min(max(spec.patch_size, _SMALLEST), _LARGEST)
    images = made_up(spec, (1, side, side))
    requests = {"serving_default": {"reflectance": images}}
    if description.counts is not None:
        counts = as_counts(images, spec, description.counts)
        requests |= {"counts": {"counts": counts}, "classes": {"counts": counts}}
    return {**requests, "describe": {"schema": np.array([SCHEMA], np.int32)}}


def write_warmup(saved_model: Path, name: str, description: Description) -> bool:
    """Write the requests where TensorFlow Serving looks for them: `assets.extra/tf_serving_warmup_requests`.

    `name` is what the server calls the model. Returns whether tensorflow-serving-api is there to write them.
    """
    try:
        from tensorflow_serving.apis.predict_pb2 import PredictRequest
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
    except ImportError:
        return False
    file = saved_model / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as records:
        for signature, inputs in warmup_requests(description).items():
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, array in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            records.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())
    return True
