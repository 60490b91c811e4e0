"""Builds small ONNX graphs node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

CHANNELS, HEIGHT, WIDTH = 6, 32, 48


class Builder:
    """A graph in the making: `op` adds a node, whose inputs are tensors' names or arrays, and returns its output."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.numbers: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: Any, outputs: int = 1, domain: str = "", **settings: Any) -> Any:
        number = len(self.nodes)
        names = [self.constant(one) if not isinstance(one, str) else one for one in inputs]
        made = [f"{kind}_{number}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=f"/net/{kind}_{number}", domain=domain, **settings))
        return made[0] if outputs == 1 else made

    def constant(self, values: Any) -> str:
        name = f"number_{len(self.numbers)}"
        self.numbers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int, scale: float = 0.4) -> np.ndarray:
        return (scale * self.rng.normal(size=shape)).astype(np.float32)

    def conv(self, x: str, channels: int, filters: int, side: int = 3, **settings: Any) -> str:
        groups = settings.get("group", 1)
        kernel = self.random(filters, channels // groups, side, side)
        if not {"pads", "auto_pad"} & settings.keys():
            settings["pads"] = [side // 2] * 4
        return self.op("Conv", x, kernel, self.random(filters), **settings)

    def size(self, x: str) -> tuple[str, str]:
        """The height and width as PyTorch's exporter computes them where they are open."""
        shape = self.op("Shape", x)
        return tuple(self.op("Gather", shape, np.array(axis, np.int64), axis=0) for axis in (2, 3))


Kind = Callable[[Builder, str], str]


def f(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)
