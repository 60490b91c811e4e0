"""What an ONNX operator takes and makes while a graph becomes a Keras network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from segapp.conversion.head import classifier

NCHW = (0, 3, 1, 2)
CHANNELS = 3
"""The axis of channels in Keras."""


@dataclass(frozen=True)
class Head:
    """A classifier (1, 1, C, K) that stands behind a map and has not been called yet."""

    kernel: np.ndarray
    bias: np.ndarray
    name: str


@dataclass(frozen=True)
class Map:
    """A feature map in Keras, `tensor` (N, H, W, C), and what ONNX takes it for.

    `axes` gives, for each of ONNX's axes, that of `tensor`; axes of `tensor` that it leaves out have one element, as
    those of (N, 1, 1, C) that is (N, C) in ONNX. `positive` says that nothing is below 0. `view` is the shape that a
    reshape gave and how its axes were then ordered, for what only a second reshape makes a map again. `spread` is the
    size (H, W) of a map of which each pixel is that of a `tensor` (N, 1, 1, C). `head` waits to be called.
    """

    tensor: KerasTensor
    axes: tuple[int, ...] = NCHW
    positive: bool = False
    view: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    spread: tuple[int, int] | None = None
    head: Head | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in ONNX, of one image."""
        if self.view is not None:
            return tuple(self.view[0][axis] for axis in self.view[1])
        sizes = [1, *(self.spread or self.tensor.shape[1:3]), self.tensor.shape[3]]
        if self.head is not None:
            sizes[CHANNELS] = len(self.head.bias)
        return tuple(sizes[axis] for axis in self.axes)

    @property
    def is_summary(self) -> bool:
        """Whether it has one number a channel for the whole image."""
        return tuple(self.tensor.shape[1:3]) == (1, 1)

    def with_tensor(self, tensor: KerasTensor, positive: bool = False) -> Map:
        """Another map whose axes lie the same way in ONNX."""
        return replace(self, tensor=tensor, positive=positive)

    def called(self) -> Map:
        """The map behind its head, if one waits."""
        if self.head is None:
            return self
        return replace(
            self, tensor=classifier(self.tensor, self.head.kernel, self.head.bias, self.head.name), head=None
        )


Value = Map | np.ndarray


@dataclass
class Names:
    """The names that layers have so far."""

    taken: set[str] = field(default_factory=set)

    def new(self, wanted: str) -> str:
        """`wanted` in Keras' spelling, and no other layer's."""
        stem = name = re.sub(r"[^a-z0-9]+", "_", wanted.lower()).strip("_") or "layer"
        while name in self.taken:
            name = f"{stem}_{len(self.taken)}"
        self.taken.add(name)
        return name


@dataclass(frozen=True)
class Node:
    """One node: its operator, its attributes, and its inputs, None for those that are left out."""

    kind: str
    name: str
    settings: dict[str, Any]
    inputs: list[Value | None]
    outputs: int
    opset: int
    names: Names
    is_head: bool = False

    def map(self, position: int = 0) -> Map:
        """An input that depends on the image; ValueError where it does not, or is a reshaped map."""
        value = self.inputs[position]
        if not isinstance(value, Map):
            raise ValueError(f"its input {position} is constant")
        if value.view is not None:
            raise ValueError("it works on a map that is reshaped")
        return value.called()

    def image(self) -> Map:
        """The first input, whose axes must be (N, C, H, W)."""
        x = self.map()
        if x.axes != NCHW:
            raise ValueError("its input is not (N, C, H, W)")
        if x.spread is not None:
            raise ValueError("it works on a number that is spread over the image")
        return x

    def numbers(self, position: int, setting: str = "") -> np.ndarray | None:
        """A constant input, or what the attribute `setting` says instead; None where both are left out.

        Raises ValueError where it depends on the image.
        """
        if setting and setting in self.settings:
            return np.asarray(self.settings[setting])
        value = self.inputs[position] if position < len(self.inputs) else None
        if isinstance(value, Map):
            raise ValueError(f"its input {position} is not constant")
        return value

    def layer(self, kind: type[keras.Layer], suffix: str = "", **settings: Any) -> keras.Layer:
        """A layer named after the node."""
        return kind(name=self.names.new(f"{self.name}{suffix}"), **settings)

    def call(self, operation: Callable[..., KerasTensor], *inputs: Any, **settings: Any) -> KerasTensor:
        """What one of `keras.ops` makes, named after the node."""
        made = operation(*inputs, **settings)
        made._keras_history.operation.name = self.names.new(self.name)
        return made

    def axis(self, rank: int, default: int | None = None) -> int:
        """The attribute `axis`, counted from the front."""
        axis = self.settings.get("axis", default)
        if axis is None or not -rank <= axis < rank:
            raise ValueError(f"its axis is {axis}")
        return axis % rank


Operator = Callable[[Node], Map | list[Map]]
