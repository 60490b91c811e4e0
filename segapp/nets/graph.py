"""A network's graph, read: which block each layer belongs to, what an image's sides must divide by, how far it looks.

Receptive fields follow the index arithmetic of Araujo, Norris and Sim, "Computing receptive fields of convolutional
neural networks" (Distill, 2019), extended to transposed convolutions and to graphs with skips.

Longer than other files: what each kind of layer does to an image is said once, and read by all of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm, log2

import keras
from keras import layers

from segapp.errors import InputError
from segapp.nets.context import HIDDEN, REACH, ContextFeatures
from segapp.nets.resampling import Resampling2D

# What treats each pixel by itself, by class name, since Keras does not export the classes of its operations; where one
# has an axis, it must be the last.
_PREPARATIONS = {"InputLayer", "Identity", "Cast", "Normalization", "Rescaling", "NanToNum", "Isfinite", "Where"}
_PREPARATIONS |= {"Log", "Maximum"}
_WEIGHTED = {
    "BatchNormalization",
    "LayerNormalization",
    "UnitNormalization",
    "Dense",
    "ActivityRegularization",
    "PReLU",
}
_NOISE = {"Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"}
_JOINS = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Divide", "TrueDivide"}
_ARITHMETIC = {"Negative", "Absolute", "Square", "Sqrt", "Power", "Exp", "Log", "Log1p", "Clip", "Erf", "Reciprocal"}
_ARITHMETIC |= {"Mean", "Max", "Sum", "OnesLike", "ZerosLike"}
_RECTIFIERS = {"ReLU", "LeakyReLU", "ELU", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu"}
_ACTIVATIONS = {"Activation", "Softmax", "Sigmoid", "HardSigmoid", "Silu", "HardSilu", "Tanh"}
_PER_PIXEL = _PREPARATIONS.union(_WEIGHTED, _NOISE, _JOINS, _ARITHMETIC, _RECTIFIERS, _ACTIVATIONS)
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLINGS = (layers.MaxPooling2D, layers.AveragePooling2D)
_INTERPOLATION_RADIUS = {"bilinear": 1, "bicubic": 2}
# What sees the whole image: the first make a summary of it, the others a map, and of these the last where they have no
# weights and normalise along more than the channels.
_GLOBAL_POOLINGS = {"GlobalAveragePooling2D", "GlobalMaxPooling2D"}
_GLOBAL_NORMALIZATIONS = {"LayerNormalization", "UnitNormalization"}
_RESHAPES = {"Reshape", "Flatten", "ExpandDims", "GetItem"}
_HELD = 1.75
"""Libraries hold so much for each number in use: pools that keep what is freed, workspaces. Measured 1.4 to 2."""


@dataclass(frozen=True)
class Graph:
    """What `analyse` finds. `blocks` maps the name of each layer to its block, in the U-Net's vocabulary.

    An image's height and width must divide by `stride`; a tile that starts and ends at multiples of it looks `halo`
    pixels beyond itself. `halo` is None where a layer sees the whole image, as squeeze-and-excitation (Hu et al. 2018,
    arXiv 1709.01507) and group normalisation (Wu and He 2018, arXiv 1803.08494) do: no tile's map is the whole's then.
    """

    blocks: Mapping[str, str]
    stride: int
    halo: int | None


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation; tensors are known by their numbers."""

    operation: keras.Operation
    inputs: tuple[int, ...]
    output: int
    shape: tuple[int | None, ...]
    """The output's: (N, H, W, C), or that of a summary of the image, (N, C) or (N, 1, 1, C)."""

    @property
    def kind(self) -> str:
        """The name of the operation's class."""
        return type(self.operation).__name__


@dataclass(frozen=True)
class _Sampling:
    """Which pixels along an axis an operation sees: output pixel i sees the `kernel` pixels from i * down - before on.

    They are pixels of the input after `up` - 1 empty ones have been put behind each.
    """

    kernel: int = 1
    before: int = 0
    down: int = 1
    up: int = 1

    def reach(self, before: int, after: int) -> tuple[int, int]:
        """How far beyond an aligned tile the input is seen, when the output is wanted `before` and `after` it."""
        last = (after - 1) * self.down - self.before + self.kernel - 1
        return (before * self.down + self.before) // self.up, last // self.up + 1


@dataclass(frozen=True)
class Scale:
    """A tensor's size along an axis: the image's size by `stride`, and `extra` pixels.

    A `summary` is no map but has one number a channel for the whole image; its scale is that of the map it is made of.
    """

    stride: Fraction = Fraction(1)
    extra: int = 0
    summary: bool = False


def calls(model: keras.Model) -> list[Call]:
    """What a functional network calls, each after those that it depends on, the input layer first.

    Raises InputError if the network is no graph of layers from one image to one map.
    """
    functional = isinstance(model, keras.Function) and len(model.inputs) == len(model.outputs) == 1
    if not functional or any(len(end.shape) != 4 for end in (*model.inputs, *model.outputs)):
        raise InputError(
            f"network {model.name!r} is not a functional Keras model from one image to one map; build it as "
            "keras.Model(image, map)"
        )
    found = []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if len(node.outputs) != 1:
                raise _unknown(node.operation, "does not make one feature map (N, H, W, C)")
            inputs = tuple(id(tensor) for tensor in node.input_tensors)
            found.append(Call(node.operation, inputs, id(node.outputs[0]), tuple(node.outputs[0].shape)))
    return found


def analyse(model: keras.Model) -> Graph:
    """Walk the graph of a functional network that takes (N, H, W, C) and gives a map of the same height and width.

    Blocks: `input` (normalisation and the like), `encoder_stage_1`, ... down to the coarsest resolution, `bridge` at
    it, `decoder_stage_1`, ... from there up, `context` (a context branch), and `head`, the last layer with weights and
    what follows it. Without pooling all between input and head is `encoder_stage_1`. A layer that is called twice
    belongs where it is first.

    Raises InputError, naming the layer, if one of them is not known.
    """
    graph = calls(model)
    scales = []
    halo: int | None = 0
    for axis in (0, 1):
        along, samplings = _forward(graph, axis)
        scales.append(along)
        if along[graph[-1].output] != Scale():
            raise InputError(
                f"network {model.name!r} gives a map of another size than its image; pad its convolutions with "
                "padding='same' and upsample as often as it pools"
            )
        reach = _reach(graph, samplings)
        halo = None if halo is None or reach is None else max(halo, *reach)
    strides = {tensor: max(along[tensor].stride for along in scales) for tensor in scales[0]}
    blocks = _blocks(graph, strides)
    return Graph(blocks, lcm(*(scale.stride.numerator for along in scales for scale in along.values())), halo)


def live_channels(model: keras.Model) -> int:
    """How many numbers a pixel of the image takes at once while the network runs, at most.

    Layers run in the order of `calls`; what treats each pixel by itself works in the place of its input, where that
    is of the same size. The image stays throughout.
    """
    graph = calls(model)
    scales = [_forward(graph, axis)[0] for axis in (0, 1)]
    home: dict[int, int] = {}  # the tensor whose place another takes
    last: dict[int, int] = {}
    for number, call in enumerate(graph):
        alone = len(call.inputs) == 1 and call.inputs[0] != graph[0].output
        in_place = alone and call.kind in _PER_PIXEL and call.kind != "Dense"
        home[call.output] = home[call.inputs[0]] if in_place else call.output
        for tensor in (*call.inputs, call.output):
            last[home[tensor]] = number
    size = {}
    for call in graph:
        down, across = (along[call.output] for along in scales)
        size[call.output] = 0.0 if down.summary else (call.shape[-1] or 0) / float(down.stride * across.stride)
    last[graph[0].output] = len(graph)
    live: set[int] = set()
    most = 0.0
    for number, call in enumerate(graph):
        live.add(home[call.output])
        most = max(most, sum(size[tensor] for tensor in live))
        live = {tensor for tensor in live if last[tensor] > number}
    return ceil(most)


def bytes_per_pixel(model: keras.Model) -> int:
    """About how many bytes of memory a pixel of the image takes while the network runs in float32 on a CPU."""
    return round(_HELD * live_channels(model) * 4)


def scales_of(graph: Sequence[Call]) -> dict[int, Scale]:
    """The scale of each tensor along the height. Raises InputError, naming the layer, if one is not known."""
    return _forward(graph, axis=0)[0]


def level_of(call: Call, strides: Mapping[int, Fraction]) -> Fraction:
    """The resolution that a call belongs to: a pooling ends a stage, what else changes the resolution begins one."""
    return strides[call.inputs[0] if isinstance(call.operation, _POOLINGS) else call.output]


def _forward(graph: Sequence[Call], axis: int) -> tuple[dict[int, Scale], list[_Sampling | None]]:
    """The scale of each tensor along `axis`, and how each call samples its input; None where it sees all of it."""
    scales: dict[int, Scale] = {}
    samplings: list[_Sampling | None] = []
    for call in graph:
        inputs = [scales[tensor] for tensor in call.inputs]
        maps = [scale for scale in inputs if not scale.summary]
        if len(maps) < len(inputs):
            samplings.append(_Sampling())
            scales[call.output] = _with_summary(call, inputs, maps)
        else:
            sampling, scales[call.output] = _sample(call, axis, maps[0] if maps else Scale())
            samplings.append(sampling)
    return scales, samplings


def _reach(graph: Sequence[Call], samplings: Sequence[_Sampling | None]) -> tuple[int, int] | None:
    """How far before and after an aligned tile of the last call's output the first call's output is seen.

    None where a call sees all of its input.
    """
    wanted = {graph[-1].output: (0, 0)}
    for call, sampling in zip(reversed(graph), reversed(samplings), strict=True):
        if sampling is None:
            return None
        before, after = sampling.reach(*wanted[call.output])
        for tensor in call.inputs:
            known = wanted.get(tensor, (before, after))
            wanted[tensor] = max(before, known[0]), max(after, known[1])
    return wanted[graph[0].output]


def _with_summary(call: Call, inputs: Sequence[Scale], maps: Sequence[Scale]) -> Scale:
    """The scale of what a call makes of summaries, or of a map that it weighs or shifts by them."""
    op = call.operation
    if maps and call.kind in _JOINS:
        return maps[0]
    pointwise = isinstance(op, layers.Conv2D) and op.kernel_size == op.strides == (1, 1)
    known = pointwise or call.kind in _RESHAPES or (call.kind in _PER_PIXEL and _works_along_the_last_axis(op))
    if maps or not known or any(size != 1 for size in call.shape[1:-1]):
        raise _unknown(op, "does with what is known of the whole image what cannot be followed")
    return inputs[0]


def _sample(call: Call, axis: int, scale: Scale) -> tuple[_Sampling | None, Scale]:
    """How a call samples its input of `scale` along `axis`, None for all of it, and the scale of what it makes."""
    op, extra = call.operation, scale.extra
    if getattr(op, "data_format", None) == "channels_first":
        raise _unknown(op, "has its channels first")
    if isinstance(op, layers.Conv2DTranspose):
        if op.output_padding is not None:
            raise _unknown(op, "has an output padding")
        up = op.strides[axis]
        kernel = _extent(op.kernel_size[axis], op.dilation_rate[axis])
        surplus = max(kernel - up, 0)
        cut, grown = (surplus // 2, 0) if op.padding == "same" else (0, surplus)
        return _Sampling(kernel, kernel - 1 - cut, up=up), Scale(scale.stride / up, extra * up + grown)
    if isinstance(op, layers.UpSampling2D):
        up = op.size[axis]
        if op.interpolation == "nearest":
            kernel, cut = up, 0
        elif op.interpolation in _INTERPOLATION_RADIUS:  # a transposed convolution with pixel centres aligned
            radius = _INTERPOLATION_RADIUS[op.interpolation]
            kernel, cut = 2 * radius * up, (radius - 1) * up + up // 2
        else:
            raise _unknown(op, f"interpolates by {op.interpolation!r}")
        return _Sampling(kernel, kernel - 1 - cut, up=up), Scale(scale.stride / up, extra * up)
    if isinstance(op, (*_CONVOLUTIONS, *_POOLINGS)):
        down = op.strides[axis]
        kernel = op.pool_size[axis] if isinstance(op, _POOLINGS) else op.kernel_size[axis]
        kernel = _extent(kernel, 1 if isinstance(op, _POOLINGS) else op.dilation_rate[axis])
        if op.padding == "same":
            # TensorFlow pads as little as the size allows, the odd pixel at the end.
            padding, made = max(kernel - (extra % down or down), 0), -(-extra // down)
        else:
            padding, made = 0, (extra - kernel) // down + 1
        return _Sampling(kernel, padding // 2, down=down), Scale(scale.stride * down, made)
    if isinstance(op, Resampling2D):
        up, down = op.factors[axis]
        made, rest = divmod(extra * up, down)
        if rest:
            raise _unknown(op, "gives a size that is no whole number of pixels")
        sampling = None if op.coordinates == "align_corners" else _Sampling(*op.sampled(axis), down, up)
        return sampling, Scale(scale.stride * down / up, made)
    if isinstance(op, layers.ZeroPadding2D) or call.kind == "Pad":
        before, after = op.padding[axis] if isinstance(op, layers.ZeroPadding2D) else op.pad_width[axis + 1]
        return _Sampling(before=before), Scale(scale.stride, extra + before + after)
    if isinstance(op, layers.Cropping2D):
        before, after = op.cropping[axis]
        return _Sampling(before=-before), Scale(scale.stride, extra - before - after)
    if isinstance(op, ContextFeatures):
        return _Sampling(2 * REACH + 1, REACH), scale
    if call.kind in _GLOBAL_POOLINGS:
        return None, replace(scale, summary=True)
    if call.kind == "GroupNormalization" and _works_along_the_last_axis(op):
        return None, scale
    if call.kind in _PER_PIXEL and _works_along_the_last_axis(op):
        return _Sampling(), scale
    if call.kind in _GLOBAL_NORMALIZATIONS and not op.weights:
        return None, scale
    raise _unknown(op, "may see the whole image")


def _extent(kernel: int, dilation: int) -> int:
    """How many pixels a dilated kernel spans."""
    return (kernel - 1) * dilation + 1


def _works_along_the_last_axis(op: keras.Operation) -> bool:
    axis = getattr(op, "axis", -1)
    return all(one in (-1, 3) for one in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def _unknown(op: keras.Operation, what: str) -> InputError:
    return InputError(
        f"layer {op.name[-60:]!r} ({type(op).__name__}) {what}: no scene can be mapped by pieces; replace it"
    )


def _blocks(graph: Sequence[Call], strides: Mapping[int, Fraction]) -> dict[str, str]:
    """The block of each layer; `strides` are those of the tensors, relative to the image."""
    deepest = max(strides.values())
    prepared: set[int] = set()
    risen: set[int] = set()  # tensors that come from the coarsest resolution, or are at it
    head = _head(graph)
    blocks: dict[str, str] = {}
    for call in graph:
        level = level_of(call, strides)
        if strides[call.output] == deepest or any(tensor in risen for tensor in call.inputs):
            risen.add(call.output)
        if call.kind in _PREPARATIONS and prepared.issuperset(call.inputs):
            prepared.add(call.output)
            block = "input"
        elif call.output in head:
            block = "head"
        elif isinstance(call.operation, ContextFeatures) or call.operation.name == HIDDEN:
            block = "context"
        elif level == deepest > 1:
            block = "bridge"
        elif deepest > 1 and any(tensor in risen for tensor in call.inputs):
            block = f"decoder_stage_{round(log2(deepest)) - round(log2(level))}"
        else:
            block = f"encoder_stage_{round(log2(level)) + 1}"
        blocks.setdefault(call.operation.name, block)
    return blocks


def _head(graph: Sequence[Call]) -> set[int]:
    """What the last layer with weights makes, and the calls after it; no call where the last maps are joined."""
    makers = {call.output: call for call in graph}
    call, head = graph[-1], {graph[-1].output}
    while not getattr(call.operation, "weights", ()):
        if len(call.inputs) != 1:
            return head
        call = makers[call.inputs[0]]
        head.add(call.output)
    return head
