"""ONNX operators that put pixels together or apart: pooling, resizing, padding, reductions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import keras
import numpy as np
from keras import layers

from segapp.conversion.onnx_convolutions import padded
from segapp.conversion.onnx_node import CHANNELS, Map, Node, Operator
from segapp.conversion.onnx_padding import Pads, read_pads
from segapp.nets.resampling import Resampling2D, rounded, source_positions

_LEAST = -1e30
"""What maxima take for nothing; -inf is no JSON."""


def _pooling(node: Node) -> Map:
    x, settings = node.image(), node.settings
    if node.outputs > 1 or set(settings.get("dilations", (1, 1))) != {1}:
        raise ValueError("it is dilated, or also gives the places of its maxima")
    size, strides = tuple(settings["kernel_shape"]), tuple(settings.get("strides", (1, 1)))
    sizes = x.tensor.shape[1:3]
    pads = read_pads(settings, size, strides, sizes)
    average = node.kind == "AveragePool"
    counted = bool(average and settings.get("count_include_pad", 0))
    if pads is None and counted:
        if set(strides) != {1} or not all(side % 2 for side in size):
            raise ValueError("it counts pixels beyond the image")
        pads = Pads(size[0] // 2, size[1] // 2, size[0] // 2, size[1] // 2)
    more = (0, 0) if pads is None or not settings.get("ceil_mode") else _more(sizes, size, strides, pads)
    if pads is None:
        kind = layers.AveragePooling2D if average else layers.MaxPooling2D
        made = node.layer(kind, pool_size=size, strides=strides, padding="same")(x.tensor)
        return x.with_tensor(made, x.positive)
    whole = Pads(pads.top, pads.left, pads.bottom + more[0], pads.right + more[1])
    if not average:
        x = padded(node, x, whole) if x.positive or not any(whole) else _filled(node, x, whole, _LEAST)
        made = node.layer(layers.MaxPooling2D, pool_size=size, strides=strides)(x.tensor)
        return x.with_tensor(made, x.positive)
    mean = node.layer(layers.AveragePooling2D, pool_size=size, strides=strides)(padded(node, x, whole).tensor)
    if any(more) or (any(pads) and not counted):  # of each window, only what lies in the image counts
        one = node.call(keras.ops.ones_like, node.call(keras.ops.mean, x.tensor, axis=-1, keepdims=True))
        inside = x.with_tensor(one)
        if counted:
            inside = _filled(node, inside, pads, 1.0)
        inside = padded(node, inside, Pads(0, 0, *more) if counted else whole)
        share = node.layer(layers.AveragePooling2D, "_share", pool_size=size, strides=strides)(inside.tensor)
        mean = node.call(keras.ops.true_divide, mean, share)
    return x.with_tensor(mean, x.positive)


def _more(sizes: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], pads: Pads) -> tuple[int, int]:
    """How many pixels are to be added at the end of each axis for `ceil_mode`."""
    found = []
    for size, side, stride, (before, after) in zip(sizes, kernel, strides, pads.sides, strict=True):
        steps = -(-(size + before + after - side) // stride)
        if steps * stride >= size + before:  # such a window would begin beyond the image
            steps -= 1
        found.append(max(steps * stride + side - size - before - after, 0))
    return found[0], found[1]


def _filled(node: Node, x: Map, pads: Pads, value: float = 0, mode: str = "constant") -> Map:
    """`x` with `pads` around the image of a value other than 0, or of what `mode` mirrors."""
    if not any(pads):
        return x
    widths = ((0, 0), *pads.sides, (0, 0))
    more = {"constant_values": value} if mode == "constant" else {}
    return x.with_tensor(node.call(keras.ops.pad, x.tensor, widths, mode=mode, **more), x.positive and value >= 0)


def _pad(node: Node) -> Map:
    x, pads, value = node.map(), node.numbers(1, "pads"), node.numbers(2, "value")
    axes = node.numbers(3)
    mode = node.settings.get("mode", b"constant").decode()
    rank = len(x.axes)
    named = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    if pads is None or len(pads) != 2 * len(named):
        raise ValueError("its padding is not understood")
    by_axis = dict.fromkeys(range(4), (0, 0))
    for axis, before, after in zip(named, pads[: len(named)], pads[len(named) :], strict=True):
        by_axis[x.axes[axis]] = int(before), int(after)
    if by_axis[0] != (0, 0) or by_axis[CHANNELS] != (0, 0):
        raise ValueError("it pads more than the height and width")
    (top, bottom), (left, right) = by_axis[1], by_axis[2]
    sides = Pads(top, left, bottom, right)
    constant = 0.0 if value is None or not np.size(value) else float(np.ravel(value)[0])
    if not any(sides):
        return x
    if mode == "constant" and constant == 0:
        return padded(node, x, sides)
    if min(sides) < 0:
        raise ValueError("it pads and cuts off")
    if mode == "edge":  # mirroring one pixel repeats it
        for step in range(max(sides)):
            x = _filled(node, x, Pads(*(int(step < side) for side in sides)), mode="symmetric")
        return x
    if mode not in ("constant", "reflect"):
        raise ValueError(f"it pads by {mode}")
    return _filled(node, x, sides, constant, mode)


def _resize(node: Node) -> Map:
    x = node.inputs[0]
    if not isinstance(x, Map) or x.view is not None:
        raise ValueError("its input is no map")
    old = node.kind == "Upsample" or node.opset < 11
    scales, sizes = node.numbers(1 if old else 2, "scales"), None if old else node.numbers(3)
    before = x.shape
    axes = node.settings.get("axes") or list(range(len(before)))
    ratios = {axis: Fraction(1) for axis in range(4)}
    if sizes is not None and np.size(sizes):
        for axis, size in zip(axes, sizes, strict=True):
            ratios[x.axes[axis]] = Fraction(int(size), before[axis])
    elif scales is not None and np.size(scales):
        for axis, scale in zip(axes, scales, strict=True):
            ratios[x.axes[axis]] = Fraction(float(scale)).limit_denominator(64)
            if abs(float(ratios[x.axes[axis]]) - float(scale)) > 1e-6:
                raise ValueError(f"it resizes by {float(scale):g}")
    else:
        raise ValueError("its scale is not constant")
    if (
        ratios[0] != 1
        or ratios[CHANNELS] != 1
        or node.settings.get("keep_aspect_ratio_policy", b"stretch") != b"stretch"
    ):
        raise ValueError("it resizes more than the height and width")
    rows, columns = ratios[1], ratios[2]
    if rows == columns == 1:
        return x
    if x.is_summary:
        height, width = x.spread or (1, 1)
        return replace(x, spread=(int(height * rows), int(width * columns)))
    if x.spread is not None:
        raise ValueError("it works on a number that is spread over the image")
    if max(rows.numerator, rows.denominator, columns.numerator, columns.denominator) > 64:
        raise ValueError(f"it resizes by {rows} and {columns}")
    return replace(x, tensor=_resized(node, x, rows, columns))


def _resized(node: Node, x: Map, rows: Fraction, columns: Fraction) -> keras.KerasTensor:
    settings = node.settings
    mode = {"bilinear": "linear"}.get(name := settings.get("mode", b"nearest").decode(), name)
    first = "asymmetric" if node.kind == "Upsample" or node.opset < 11 else "half_pixel"
    coordinates = settings.get("coordinate_transformation_mode", first.encode()).decode()
    coordinates = {"pytorch_half_pixel": "half_pixel"}.get(coordinates, coordinates)
    rounding = settings.get("nearest_mode", b"floor" if first == "asymmetric" else b"round_prefer_floor").decode()
    if (
        coordinates == "tf_half_pixel_for_nn" and rounding == "floor"
    ):  # positions are half a pixel further on, rounded down
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    if coordinates == "half_pixel_symmetric":  # differs where a size is rounded, which no ratio here is
        coordinates = "half_pixel"
    downscales = min(rows, columns) < 1 and settings.get("antialias")
    if coordinates not in ("half_pixel", "asymmetric", "align_corners") or mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"it resizes by {mode}, {coordinates}")
    if downscales or settings.get("exclude_outside"):
        raise ValueError("it resizes with antialias or exclude_outside")
    if rows.denominator == columns.denominator == 1:
        size = rows.numerator, columns.numerator
        if mode == "nearest" and all(_repeats(factor, coordinates, rounding) for factor in size):
            return node.layer(layers.UpSampling2D, size=size)(x.tensor)
    layer = node.layer(
        Resampling2D,
        factors=[(rows.numerator, rows.denominator), (columns.numerator, columns.denominator)],
        interpolation=mode,
        coordinates=coordinates,
        rounding=rounding,
        cubic_coefficient=float(settings.get("cubic_coeff_a", -0.75)),
    )
    return layer(x.tensor)


def _repeats(factor: int, coordinates: str, rounding: str) -> bool:
    """Whether nearest pixels are each pixel `factor` times, whatever the size."""
    if coordinates == "align_corners":
        return factor == 1
    index = np.arange(4 * factor)
    places = np.clip(rounded(source_positions(index, 4, 4 * factor, factor, coordinates), rounding), 0, 3)
    return bool(np.array_equal(places, index // factor))


def _reduction(node: Node) -> Map:
    """The mean or maximum of the whole image, or the mean, maximum or sum of all channels."""
    x = node.map()
    rank, kind = len(x.axes), node.kind.removeprefix("Reduce").removeprefix("Global").removesuffix("Pool")
    axes = [2, 3] if node.kind.startswith("Global") else node.numbers(1, "axes")
    if axes is None:
        raise ValueError("it reduces all axes")
    reduced = {x.axes[int(axis) % rank] for axis in axes}
    if x.is_summary:
        reduced -= {1, 2}
    places = {1: "rows", 2: "columns"}
    if reduced == {1, 2} and kind in ("Average", "Mean", "Max"):
        layer = layers.GlobalMaxPooling2D if kind == "Max" else layers.GlobalAveragePooling2D
        made = node.layer(layer, keepdims=True)(x.tensor)
    elif reduced == {CHANNELS} and kind in ("Mean", "Max", "Sum"):
        operation = {"Mean": keras.ops.mean, "Max": keras.ops.max, "Sum": keras.ops.sum}[kind]
        made = node.call(operation, x.tensor, axis=-1, keepdims=True)
    elif not reduced:
        made = x.tensor
    else:
        what = " and ".join(places.get(axis, "channels") for axis in sorted(reduced))
        raise ValueError(f"it reduces {what}")
    made_map = x.with_tensor(made, x.positive)
    if node.settings.get("keepdims", 1) or node.kind.startswith("Global"):
        return made_map
    gone = {int(axis) % rank for axis in axes}
    return replace(made_map, axes=tuple(axis for place, axis in enumerate(x.axes) if place not in gone))


OPERATORS: dict[str, Operator] = {
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"), _reduction),
}
