"""What a served model answers: TensorFlow functions that take images of any number, height and width.

| signature | takes | gives |
|---|---|---|
| `serving_default` | `reflectance` float32 (N, H, W, C) in the bands' units, NaN where there is no data | `probabilities` float32 (N, H, W, K), NaN without data; `classes` (N, H, W), file ids |
| `counts` | `counts` (N, H, W, C) as the sensor delivers them | the same |
| `classes` | `counts` | `classes`; `confidence` uint8 (N, H, W), 0 to 254 for 0 to 1, 255 without data |
| `describe` | `schema` int32 of any shape, 1 | `model` of that shape: JSON, as `segapp.client.description` reads it |

What does not fit gets INVALID_ARGUMENT.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.bands import names_of
from segapp.classes import ClassTable
from segapp.client.description import SCHEMA, Description, to_json
from segapp.maps.layers import format_of
from segapp.model.model_spec import ModelSpec

Answer = dict[str, tf.Tensor]


def signatures_of(model: keras.Model, description: Description) -> dict[str, Any]:
    """The functions by their names; `counts` and `classes` only where `description` says which counts there are.

    They follow the weights of `model`, which computes in float32 and takes sides that divide by `description.stride`.
    """
    spec, stride, counted = description.model, description.stride, description.counts
    images = (None, None, None, len(spec.bands))

    def serving_default(reflectance: tf.Tensor) -> Answer:
        probabilities, classes = _mapped(model, _checked(reflectance, "reflectance", spec), spec.classes, stride)
        return {"probabilities": probabilities, "classes": classes}

    def describe(schema: tf.Tensor) -> Answer:
        message = f"schema must be {SCHEMA}, that of the description which this model has; found"
        check = tf.raw_ops.Assert(condition=tf.reduce_all(schema == SCHEMA), data=[message, schema])
        with tf.control_dependencies([check]):
            return {"model": tf.fill(tf.shape(schema), to_json(description))}

    found = {
        "serving_default": _function(serving_default, images, tf.float32),
        # A scalar suits most callers; a server that batches requests takes nothing without a first axis.
        "describe": _function(describe, None, tf.int32),
    }
    if counted is not None:

        def mapped_counts(counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels = _physical(_checked(counts, "counts", spec), spec, counted.nodata)
            return _mapped(model, pixels, spec.classes, stride)

        def from_counts(counts: tf.Tensor) -> Answer:
            probabilities, classes = mapped_counts(counts)
            return {"probabilities": probabilities, "classes": classes}

        def classes_only(counts: tf.Tensor) -> Answer:
            probabilities, classes = mapped_counts(counts)
            return {"classes": classes, "confidence": _confidence(probabilities, spec.classes)}

        dtype = tf.as_dtype(counted.dtype)
        found["counts"] = _function(from_counts, images, dtype)
        found["classes"] = _function(classes_only, images, dtype)
    return found


def _function(function: Callable[..., Answer], shape: tuple[int | None, ...] | None, dtype: tf.DType) -> Any:
    [name] = (name for name in function.__code__.co_varnames[: function.__code__.co_argcount])
    return tf.function(function, input_signature=[tf.TensorSpec(shape, dtype, name)], autograph=False)


def _checked(images: tf.Tensor, name: str, spec: ModelSpec) -> tf.Tensor:
    """`images`, once it is known that they have four axes, the model's bands, and at least one pixel."""
    bands = len(spec.bands)
    # By way of this operation, since optimizers believe the signature's shape and would do without the check.
    shape = tf.shape(tf.raw_ops.PlaceholderWithDefault(input=images, shape=tf.TensorShape(None)))
    sizes = tf.concat([shape, [0] * 4], 0)[:4]
    fits = (tf.size(shape) == 4) & (sizes[3] == bands) & tf.reduce_all(sizes[:3] > 0)
    message = (
        f"{name} must be (N, H, W, {bands}), at least one image of one pixel, with the bands "
        f"{', '.join(names_of(spec.bands))}; found the shape"
    )
    with tf.control_dependencies([tf.raw_ops.Assert(condition=fits, data=[message, shape], summarize=8)]):
        return tf.identity(images)


def _physical(counts: tf.Tensor, spec: ModelSpec, nodata: int | None) -> tf.Tensor:
    """Counts in the bands' units, in the arithmetic of `segapp.scenes.raster_scene`, NaN where a band has no data."""
    scale = np.array([band.scale for band in spec.bands], np.float32)
    offset = np.array([band.offset for band in spec.bands], np.float32)
    pixels = tf.cast(counts, tf.float32) * scale
    if offset.any():
        pixels += offset
    if nodata is None:
        return pixels
    # Compared as int32: not every device compares the smaller types.
    return tf.where(tf.cast(counts, tf.int32) == nodata, tf.constant(np.nan, tf.float32), pixels)


def _mapped(model: keras.Model, pixels: tf.Tensor, classes: ClassTable, stride: int) -> tuple[tf.Tensor, tf.Tensor]:
    """(N, H, W, C) to probabilities (N, H, W, K) and file ids (N, H, W); no data where a band holds no number."""
    nan = tf.constant(np.nan, tf.float32)
    missing = tf.reduce_any(~tf.math.is_finite(pixels), -1, keepdims=True)
    pixels = tf.where(missing, nan, pixels)
    height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
    padding = [[0, 0], [0, -height % stride], [0, -width % stride], [0, 0]]
    padded = tf.pad(pixels, padding, constant_values=np.float32(np.nan))
    probabilities = model(padded, training=False)[:, :height, :width]
    probabilities = tf.where(missing, nan, probabilities)
    ids = tf.gather(tf.constant(classes.ids, tf.int32), tf.argmax(probabilities, -1, tf.int32))
    ids = tf.where(tf.math.is_nan(probabilities[..., 0]), classes.nodata, ids)
    return probabilities, tf.cast(ids, tf.as_dtype(classes.dtype))


def _confidence(probabilities: tf.Tensor, classes: ClassTable) -> tf.Tensor:
    """The largest probability, (N, H, W) uint8 in the numbers in which maps hold probabilities."""
    numbers = format_of("probabilities", classes)
    largest = tf.reduce_max(probabilities, -1)
    # Not every device rounds NaN to the same byte.
    found = tf.where(tf.math.is_nan(largest), np.float32(numbers.nodata), largest * np.float32(1 / numbers.scale) + 0.5)
    return tf.cast(found, tf.uint8)
