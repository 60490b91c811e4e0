"""A pretrained network to start a transfer from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segapp.model.model_spec import ModelSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Base:
    """A pretrained network, read from the path `source`.

    `known_classes` is False where the file gives no names of bands and classes.
    """

    model: keras.Model
    spec: ModelSpec
    source: str
    known_classes: bool
