"""A pretrained network that others start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segapp.model.model_spec import ModelSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Base:
    """A pretrained network. `source` is the path that was read.

    Where not `known_classes`, its file does not tell what the bands and the classes are called.
    """

    model: keras.Model
    spec: ModelSpec
    source: str
    known_classes: bool
