"""What shapes a network, as data: readable without Keras."""

from __future__ import annotations

from pydantic import Field

from segapp.configuration import Strict


class UNetConfig(Strict):
    """What shapes a U-Net: `depth` encoder stages, `filters` in the first of them, doubled in each that follows.

    `dropout` is the share of features dropped at the deepest encoder stage and the bridge while training.
    """

    depth: int = Field(default=4, ge=1, le=6)
    filters: int = Field(default=16, ge=1, le=256)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    batch_norm: bool = False
