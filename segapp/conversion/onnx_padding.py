"""How ONNX says that an operator pads its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Pads(NamedTuple):
    """Pixels added on each side, in ONNX's order; negative ones are cut off."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    @property
    def sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)), as Keras takes them."""
        return (self.top, self.bottom), (self.left, self.right)


def read_pads(
    settings: dict[str, Any], extent: Sequence[int], strides: Sequence[int], sizes: Sequence[int]
) -> Pads | None:
    """What the attributes of a node ask for; None for what Keras calls "same".

    `extent` is how many pixels the kernel spans along each axis of an image of the `sizes` (H, W).
    """
    automatic = settings.get("auto_pad", b"NOTSET").decode()
    if automatic == "SAME_UPPER":
        return None
    centred = set(strides) == {1} and all(side % 2 for side in extent)  # as much on one side as on the other
    if automatic == "SAME_LOWER":
        if centred:
            return None
        totals = [
            max((-(-size // stride) - 1) * stride + side - size, 0)
            for size, stride, side in zip(sizes, strides, extent, strict=True)
        ]
        return Pads(-(-totals[0] // 2), -(-totals[1] // 2), totals[0] // 2, totals[1] // 2)
    pads = Pads() if automatic == "VALID" else Pads(*settings.get("pads", Pads()))
    return None if centred and pads == tuple(side // 2 for side in extent) * 2 and any(pads) else pads
