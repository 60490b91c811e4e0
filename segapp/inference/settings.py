"""How a network is run: engine, precision, tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from segapp.errors import InputError

if TYPE_CHECKING:
    from segapp.nets.precision import Precision

EngineName = Literal["tensorflow", "openvino"]


@dataclass(frozen=True)
class RunSettings:
    """How a network is run. `tile` is the side in pixels of what it sees at once; None leaves it to the memory."""

    engine: EngineName = "tensorflow"
    precision: Precision = "auto"
    tile: int | None = None
    blend: bool = False
    test_time_augmentation: bool = False

    def check_for_server(self) -> None:
        """Raise InputError where they settle what a server settles."""
        for option in ("engine", "precision"):
            if getattr(self, option) != getattr(RunSettings, option):
                raise InputError(f"--{option} is for a --model on this machine, and a server has its own; leave it out")
