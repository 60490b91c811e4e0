"""The Keras layer for each ONNX operator that a U-Net is made of.

Longer than other files: it is one table of operators, each with its few lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import KerasTensor, layers

from segapp.conversion.head import classifier
from segapp.conversion.onnx_padding import Pads, read_pads
from segapp.errors import InputError

if TYPE_CHECKING:
    import onnx

_RELU6 = 6.0


class _Map(NamedTuple):
    """A feature map in Keras, (N, H, W, C), and which axis ONNX has its channels on."""

    tensor: KerasTensor
    channels: int = 1
    positive: bool = False
    """Whether nothing in it is below 0, so that padding with 0 changes no maximum."""


def translate(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    ends: tuple[str, str],
    shape: tuple[int | None, int | None, int],
    opset: int,
) -> tuple[keras.Model, int]:
    """The network of `nodes` from the tensor `ends[0]`, an image of `shape` (H, W, C), to `ends[1]`, with its weights.

    Also gives the axis of the output that its channels are on in ONNX. Raises InputError naming the node that cannot be
    translated.
    """
    image = keras.Input(shape, name="image")
    weighted = [node.output[0] for node in nodes if node.op_type in ("Conv", "ConvTranspose", "BatchNormalization")]
    translation = _Translation(path, constants, opset, last=weighted[-1] if weighted else "")
    maps = {ends[0]: _Map(image)}
    for node in nodes:
        inputs = [name for name in node.input if name]
        if not any(name in maps for name in inputs):
            if set(inputs) <= constants.keys():
                continue  # nothing that the image has a part in
            raise translation.refused(node, "works on what is no map of the image")
        stray = next((name for name in inputs if name not in maps and name not in constants), None)
        if stray is not None:
            raise translation.refused(node, f"takes '{stray}', which is neither constant nor a map of the image")
        maps[node.output[0]] = translation.apply(node, [maps.get(name) for name in node.input])
    if ends[1] not in maps:
        raise InputError(f"{path}: its output '{ends[1]}' does not depend on the image; export it again")
    output = maps[ends[1]]
    return keras.Model(image, output.tensor), output.channels


class _Translation:
    """Calls the Keras layer for a node; `constants` are ONNX's numbers by name, `opset` its version.

    `last` is what the last node with weights makes, of which a head is made if it is a convolution.
    """

    def __init__(self, path: Path, constants: dict[str, np.ndarray], opset: int, last: str) -> None:
        self._path = path
        self._constants = constants
        self._opset = opset
        self._last = last
        self._names: set[str] = set()

    def refused(self, node: onnx.NodeProto, why: str) -> InputError:
        return InputError(
            f"{self._path}: node '{node.name or node.output[0]}' ({node.op_type}) {why}; "
            "export a U-Net of convolutions, poolings, upsampling, batch normalisation and plain activations"
        )

    def apply(self, node: onnx.NodeProto, inputs: list[_Map | None]) -> _Map:
        """What `node` makes of `inputs`, None for those that are constants."""
        from onnx import helper

        translate_node = _OPERATORS.get(node.op_type)
        if translate_node is None or node.domain not in ("", "ai.onnx"):
            raise self.refused(node, "has no counterpart among the layers that segapp converts")
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        try:
            return translate_node(self, node, settings, inputs)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise self.refused(node, f"cannot be built ({reason})") from None

    def numbers(self, node: onnx.NodeProto, position: int) -> np.ndarray | None:
        """A constant input; None where it is left out, ValueError where it depends on the image."""
        if position >= len(node.input) or not node.input[position]:
            return None
        if node.input[position] not in self._constants:
            raise ValueError(f"its input {position} is not constant")
        return self._constants[node.input[position]]

    def layer(self, kind: type[keras.Layer], node: onnx.NodeProto, suffix: str = "", **settings: Any) -> keras.Layer:
        """A layer named after the node."""
        return kind(name=self.name(node, suffix), **settings)

    def name(self, node: onnx.NodeProto, suffix: str = "") -> str:
        """The node's name in Keras' spelling, and no other layer's."""
        stem = re.sub(r"[^a-z0-9]+", "_", (node.name or node.output[0]).lower()).strip("_") or "layer"
        stem = name = f"{stem}{suffix}"
        while name in self._names:
            name = f"{stem}_{len(self._names)}"
        self._names.add(name)
        return name

    def convolution(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x, kernel, bias = _image(inputs), self._kernel(node), self.numbers(node, 2)
        groups = settings.get("group", 1)
        depthwise = groups > 1 and groups == x.tensor.shape[-1]
        if not depthwise:
            _require_plain(settings)
        strides, dilations = tuple(settings.get("strides", (1, 1))), tuple(settings.get("dilations", (1, 1)))
        extent = [(side - 1) * dilation + 1 for side, dilation in zip(kernel.shape[2:], dilations, strict=True)]
        pads = read_pads(settings, extent, strides)
        padding, tensor = "same", x.tensor
        if node.output[0] == self._last and pads is None and set(strides) == set(dilations) == {1}:
            bias = np.zeros(len(kernel), np.float32) if bias is None else bias
            return _Map(classifier(tensor, kernel.transpose(2, 3, 1, 0), bias, self.name(node)))
        if pads is not None and pads.any:
            tensor = self.layer(layers.ZeroPadding2D, node, "_padding", padding=pads.sides)(tensor)
        if pads is not None:
            padding = "valid"
        if depthwise:  # channel c of the input gives the channels c * multiplier and following of the output
            multiplier = len(kernel) // groups
            layer = self.layer(
                layers.DepthwiseConv2D,
                node,
                kernel_size=kernel.shape[2:],
                strides=strides,
                dilation_rate=dilations,
                padding=padding,
                depth_multiplier=multiplier,
                use_bias=bias is not None,
            )
            made = layer(tensor)
            by_channel = kernel[:, 0].reshape(groups, multiplier, *kernel.shape[2:]).transpose(2, 3, 0, 1)
            layer.set_weights([by_channel, *([] if bias is None else [bias])])
            return _Map(made)
        layer = self.layer(
            layers.Conv2D,
            node,
            filters=kernel.shape[0],
            kernel_size=kernel.shape[2:],
            strides=strides,
            dilation_rate=dilations,
            padding=padding,
            use_bias=bias is not None,
        )
        made = layer(tensor)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), *([] if bias is None else [bias])])
        return _Map(made)

    def transposed_convolution(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x, kernel, bias = _image(inputs), self._kernel(node), self.numbers(node, 2)
        _require_plain(settings)
        strides = tuple(settings.get("strides", (1, 1)))
        if settings.get("output_shape") or set(settings.get("dilations", (1, 1))) != {1}:
            raise ValueError("it states an output shape, or is dilated")
        pads = read_pads(settings, list(kernel.shape[2:]), strides)
        too_small = any(side < stride for side, stride in zip(kernel.shape[2:], strides, strict=True))
        if pads is None or too_small:
            raise ValueError("its padding is not understood")
        more = settings.get("output_padding", (0, 0))
        cut = Pads(pads.top, pads.left, pads.bottom - more[0], pads.right - more[1])
        if min(cut) < 0:
            raise ValueError("it pads its output")
        layer = self.layer(
            layers.Conv2DTranspose,
            node,
            filters=kernel.shape[1],
            kernel_size=kernel.shape[2:],
            strides=strides,
            use_bias=bias is not None,
        )
        made = layer(x.tensor)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), *([] if bias is None else [bias])])
        if cut.any:
            made = self.layer(layers.Cropping2D, node, "_cropping", cropping=cut.sides)(made)
        return _Map(made)

    def batch_norm(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        if settings.get("training_mode"):
            raise ValueError("it is exported for training; export it for inference")
        weights = [self.numbers(node, position) for position in range(1, 5)]
        layer = self.layer(layers.BatchNormalization, node, epsilon=settings.get("epsilon", 1e-5))
        made = layer(_image(inputs).tensor)
        layer.set_weights(weights)
        return _Map(made)

    def pooling(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x = _image(inputs)
        if settings.get("ceil_mode") or len(node.output) > 1 or set(settings.get("dilations", (1, 1))) != {1}:
            raise ValueError("it rounds up, is dilated, or also gives the places of its maxima")
        size, strides = tuple(settings["kernel_shape"]), tuple(settings.get("strides", (1, 1)))
        pads = read_pads(settings, list(size), strides)
        kind, tensor = layers.MaxPooling2D, x.tensor
        if node.op_type == "AveragePool":
            kind = layers.AveragePooling2D
        if pads is not None and pads.any:
            if kind is layers.AveragePooling2D or not x.positive:
                raise ValueError("it pads what it pools")
            tensor = self.layer(layers.ZeroPadding2D, node, "_padding", padding=pads.sides)(tensor)
        padding = "same" if pads is None else "valid"
        made = self.layer(kind, node, pool_size=size, strides=strides, padding=padding)(tensor)
        return _Map(made, positive=x.positive)

    def global_pooling(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x = _image(inputs)
        return _Map(self.layer(layers.GlobalAveragePooling2D, node, keepdims=True)(x.tensor), positive=x.positive)

    def upsampling(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x = _image(inputs)
        scales = settings.get("scales") or self.numbers(
            node, 1 if node.op_type == "Upsample" or self._opset < 11 else 2
        )
        if scales is None or len(scales) == 0:
            sizes = self.numbers(node, 3)
            if sizes is None or None in x.tensor.shape[1:3]:
                raise ValueError("its scale is not constant")
            scales = (1, 1, *(size / side for size, side in zip(sizes[2:], x.tensor.shape[1:3], strict=True)))
        factors = [round(float(scale)) for scale in scales]
        mode = settings.get("mode", b"nearest").decode()
        aligned = settings.get("coordinate_transformation_mode", b"half_pixel").decode()
        linear = mode in ("linear", "bilinear")
        understood = aligned in ("half_pixel", "pytorch_half_pixel") if linear else aligned != "align_corners"
        whole = all(abs(factor - scale) < 1e-6 for factor, scale in zip(factors, scales, strict=True))
        if (
            factors[:2] != [1, 1]
            or not whole
            or min(factors) < 1
            or not understood
            or not (linear or mode == "nearest")
        ):
            raise ValueError(f"it resizes by {list(map(float, scales))}, {mode}, {aligned}")
        interpolation = "bilinear" if linear else "nearest"
        layer = self.layer(layers.UpSampling2D, node, size=tuple(factors[2:]), interpolation=interpolation)
        return _Map(layer(x.tensor), positive=x.positive)

    def joined(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        maps = [one for one in inputs if one is not None]
        same = len(maps) == len(inputs) and len({one.channels for one in maps}) == 1
        if not same or (node.op_type == "Concat" and settings["axis"] % 4 != maps[0].channels):
            raise ValueError("it joins other things than maps of the image along their channels")
        kind = {"Concat": layers.Concatenate, "Add": layers.Add, "Mul": layers.Multiply}[node.op_type]
        made = self.layer(kind, node)([one.tensor for one in maps])
        return _Map(made, maps[0].channels, all(one.positive for one in maps))

    def activation(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x, kind = _any_layout(inputs), node.op_type
        if kind == "Relu":
            layer = self.layer(layers.ReLU, node)
        elif kind == "LeakyRelu":
            layer = self.layer(layers.LeakyReLU, node, negative_slope=settings.get("alpha", 0.01))
        elif kind == "Elu":
            layer = self.layer(layers.ELU, node, alpha=settings.get("alpha", 1.0))
        elif kind == "Clip":
            least, most = (
                settings.get(name, self.numbers(node, position)) for name, position in (("min", 1), ("max", 2))
            )
            if least != 0 or most != _RELU6:
                raise ValueError(f"it clips to {least} and {most}, not to 0 and 6")
            layer = self.layer(layers.ReLU, node, max_value=_RELU6)
        else:
            layer = self.layer(layers.Activation, node, activation=kind.lower())
        return _Map(layer(x.tensor), x.channels, kind in ("Relu", "Clip", "Sigmoid"))

    def softmax(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x = _any_layout(inputs)
        axis = settings.get("axis", -1 if self._opset >= 13 else 1) % 4
        if axis != x.channels or (self._opset < 13 and axis != 3):
            # Before version 13 the axis and all behind it make one distribution.
            raise ValueError("its axis is not the channels' alone; in MATLAB export with 'OpsetVersion', 13")
        return _Map(self.layer(layers.Softmax, node)(x.tensor), x.channels, positive=True)

    def transposed(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x, order = _any_layout(inputs), list(settings.get("perm", ()))
        turned = {(1, (0, 2, 3, 1)): 3, (3, (0, 3, 1, 2)): 1}.get((x.channels, tuple(order)))
        if turned is None:
            raise ValueError(f"it orders the axes as {order}")
        return x._replace(channels=turned)

    def cast(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        if settings["to"] not in (1, 10, 11):  # float32, float16, float64; the layers compute in float32
            raise ValueError("it makes whole numbers of a map")
        return _any_layout(inputs)

    def unchanged(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        return _any_layout(inputs)

    def padded(self, node: onnx.NodeProto, settings: dict[str, Any], inputs: list[_Map | None]) -> _Map:
        x = _image(inputs)
        pads = settings.get("pads", self.numbers(node, 1))
        value = settings.get("value", self.numbers(node, 2))
        constant = settings.get("mode", b"constant") == b"constant" and not value
        if pads is None or len(pads) != 8 or not constant or any(pads[position] for position in (0, 1, 4, 5)):
            raise ValueError("it pads otherwise than with zeros around the image")
        if not any(pads):
            return x
        sides = ((int(pads[2]), int(pads[6])), (int(pads[3]), int(pads[7])))
        return _Map(self.layer(layers.ZeroPadding2D, node, padding=sides)(x.tensor), positive=x.positive)

    def _kernel(self, node: onnx.NodeProto) -> np.ndarray:
        kernel = self.numbers(node, 1)
        if kernel is None or kernel.ndim != 4:
            raise ValueError("it is not a convolution of images")
        return kernel


_Operator = Callable[[_Translation, Any, dict[str, Any], list[_Map | None]], _Map]
_OPERATORS: dict[str, _Operator] = {
    "Conv": _Translation.convolution,
    "ConvTranspose": _Translation.transposed_convolution,
    "BatchNormalization": _Translation.batch_norm,
    "MaxPool": _Translation.pooling,
    "AveragePool": _Translation.pooling,
    "GlobalAveragePool": _Translation.global_pooling,
    "Upsample": _Translation.upsampling,
    "Resize": _Translation.upsampling,
    "Concat": _Translation.joined,
    "Add": _Translation.joined,
    "Mul": _Translation.joined,
    "Pad": _Translation.padded,
    "Softmax": _Translation.softmax,
    "Transpose": _Translation.transposed,
    "Cast": _Translation.cast,
    "Identity": _Translation.unchanged,
    "Dropout": _Translation.unchanged,
    **dict.fromkeys(("Relu", "LeakyRelu", "Elu", "Clip", "Sigmoid", "Tanh"), _Translation.activation),
}


def _image(inputs: list[_Map | None]) -> _Map:
    """The first input, which must have its channels on the axis that ONNX's operators for images take them on."""
    x = _any_layout(inputs)
    if x.channels != 1:
        raise ValueError("its channels are on the last axis")
    return x


def _any_layout(inputs: list[_Map | None]) -> _Map:
    if inputs[0] is None:
        raise ValueError("its first input is constant")
    return inputs[0]


def _require_plain(settings: dict[str, Any]) -> None:
    if settings.get("group", 1) != 1:
        raise ValueError("it convolves groups of channels apart")
