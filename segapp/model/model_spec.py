"""What a model is, apart from its weights: the contents of `model.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, FiniteFloat, Tag, field_validator, model_validator

from segapp.bands import Band, require_usable
from segapp.classes import ClassTable
from segapp.configuration import Strict
from segapp.errors import InputError
from segapp.nets.config import KerasGraph, UNetConfig

if TYPE_CHECKING:
    import keras
    import numpy as np


class Normalization(Strict):
    """What the network's first layer subtracts and divides by, one number a band in the band's units."""

    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    logarithm: bool = False
    """Whether it takes the bands' logarithms first: light, slope and haze then add a constant. Means are positive."""


class WeightsFile(Strict):
    """How the weights are stored, and the SHA-256 of the file."""

    dtype: Literal["float32", "float16"] = "float32"
    sha256: str = ""


def as_rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A matrix as `model.json` holds it, to six digits."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in matrix)


def _kind_of_network(value: Any) -> str:
    graph = "keras" in value if isinstance(value, dict) else isinstance(value, KerasGraph)
    return KerasGraph.__name__ if graph else UNetConfig.__name__


Network = Annotated[
    Annotated[UNetConfig, Tag(UNetConfig.__name__)] | Annotated[KerasGraph, Tag(KerasGraph.__name__)],
    Discriminator(_kind_of_network),
]


class ModelSpec(Strict):
    """Everything about a model but its weights, as `model.json` holds it.

    `network` shapes the U-Net, or lists the layers of another network; `provenance` says how the model was made;
    `scores` holds what was measured, by role.
    """

    schema_version: Literal[2] = Field(alias="schema")
    name: str
    network: Network
    bands: tuple[Band, ...] = Field(min_length=1)
    classes: ClassTable
    normalization: Normalization
    head: str = "final_conv"
    """The name of the classifier layer."""
    second_moments: tuple[tuple[FiniteFloat, ...], ...] = ()
    """How the bands go together, (C, C), as in `segapp.model.second_moments`; empty where that is unknown."""
    patch_size: int = Field(ge=1)
    provenance: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    limits: str = ""
    weights: WeightsFile = WeightsFile()

    @field_validator("bands")
    @classmethod
    def _bands_can_be_read(cls, bands: tuple[Band, ...]) -> tuple[Band, ...]:
        require_usable(bands)
        return bands

    @model_validator(mode="after")
    def _normalizes_each_band(self) -> ModelSpec:
        if not len(self.normalization.mean) == len(self.normalization.std) == len(self.bands):
            raise ValueError(f"normalization needs one mean and one std for each of the {len(self.bands)} bands")
        if not min(self.normalization.std) > 0:
            raise ValueError("normalization: a standard deviation of 0 or less divides no band; give those of training")
        if self.second_moments and {len(self.second_moments), *map(len, self.second_moments)} != {len(self.bands)}:
            raise ValueError(f"second_moments: {len(self.bands)} bands have {len(self.bands)} rows of as many numbers")
        if self.normalization.logarithm and not min(self.normalization.mean) > 0:
            raise ValueError("normalization: a band whose mean is not positive has no logarithm")
        return self

    def build(self) -> keras.Model:
        """The network with fresh weights: (N, H, W, C) float32 in the bands' units to (N, H, W, K) probabilities.

        Raises InputError naming the layer where another network than the U-Net cannot be built.
        """
        from segapp.nets.blocks import with_input_and_head
        from segapp.nets.unet import unet

        network, bands, classes = self.network, len(self.bands), len(self.classes)
        normalization = self.normalization.model_dump()
        if isinstance(network, UNetConfig):
            return unet(bands, classes, network, head=self.head, **normalization)

        from segapp.nets.keras_graph import graph_features

        try:
            return with_input_and_head(
                lambda x: graph_features(x, network, self.head), bands, classes, head=self.head, **normalization
            )
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
