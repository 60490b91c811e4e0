"""Which of the base's classes each new class continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segapp.classes import ClassTable, shared_classes
from segapp.model.base import Base


@dataclass(frozen=True, eq=False)
class ClassMatch:
    """For each new class the indexes of the base classes that it continues, and its labelled training pixels, (K,)."""

    sources: tuple[tuple[int, ...], ...]
    pixels: np.ndarray

    @property
    def shared(self) -> np.ndarray:
        """(K,) bool: whether the class continues one of the base's."""
        return np.array([bool(sources) for sources in self.sources])

    @property
    def present(self) -> np.ndarray:
        """(K,) bool: whether a training label has the class."""
        return self.pixels > 0


def match_classes(
    base: Base, classes: ClassTable, pixels: np.ndarray, class_map: Mapping[str, Sequence[str]] | None = None
) -> ClassMatch:
    """Match new classes with the base's by name, or by `class_map`: {new class: base classes}.

    `pixels` (K,) counts the labelled training pixels. Raises InputError where the map names an unknown class.
    """
    if base.known_classes or class_map:
        return ClassMatch(shared_classes(base.spec.classes, classes, class_map), pixels)
    return ClassMatch(((),) * len(classes), pixels)
