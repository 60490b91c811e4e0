"""The contents of `model.json`: everything about a model except its weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, FiniteFloat, Tag, field_validator, model_validator

from segapp.bands import Band, require_usable
from segapp.classes import ClassTable
from segapp.configuration import Strict
from segapp.errors import InputError
from segapp.nets.config import KerasGraph, UNetConfig
from segapp.scenes.rules import ImageReading

if TYPE_CHECKING:
    import keras
    import numpy as np


class Normalization(Strict):
    """Mean and standard deviation of each band, (C,), in the band's unit, for the network's first layer."""

    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    logarithm: bool = False
    """Whether the first layer standardises logarithms, to which brighter light adds a constant. Means are positive."""


class WeightsFile(Strict):
    """Data type of the stored weights, and the SHA-256 of the file."""

    dtype: Literal["float32", "float16"] = "float32"
    sha256: str = ""


def as_rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A matrix (N, M) as nested tuples with six significant digits, for `model.json`."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in matrix)


def _kind_of_network(value: Any) -> str:
    graph = "keras" in value if isinstance(value, dict) else isinstance(value, KerasGraph)
    return KerasGraph.__name__ if graph else UNetConfig.__name__


Network = Annotated[
    Annotated[UNetConfig, Tag(UNetConfig.__name__)] | Annotated[KerasGraph, Tag(KerasGraph.__name__)],
    Discriminator(_kind_of_network),
]


class ModelSpec(Strict):
    """The contents of `model.json`.

    `network` is the configuration of a U-Net, or the layers of another network. `provenance` records how the model was
    trained. `scores` has the scores by role (val, test).
    """

    schema_version: Literal[2] = Field(alias="schema")
    name: str
    network: Network
    bands: tuple[Band, ...] = Field(min_length=1)
    classes: ClassTable
    normalization: Normalization
    head: str = "final_conv"
    """The name of the classifier layer."""
    context: int = Field(default=0, ge=0, le=65_536)
    """Hidden units of the context branch (`segapp.nets.context`) that the head sees beside the last feature map."""
    second_moments: tuple[tuple[FiniteFloat, ...], ...] = ()
    """Second moments of the standardised bands, (C, C), see `segapp.model.second_moments`; empty if unknown."""
    images: ImageReading = ImageReading()
    """How the training images are read, apart from their bands."""
    patch_size: int = Field(ge=1)
    provenance: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    limits: str = ""
    weights: WeightsFile = WeightsFile()

    @field_validator("bands")
    @classmethod
    def _require_usable_bands(cls, bands: tuple[Band, ...]) -> tuple[Band, ...]:
        require_usable(bands)
        return bands

    @model_validator(mode="after")
    def _require_matching_sizes(self) -> ModelSpec:
        if not len(self.normalization.mean) == len(self.normalization.std) == len(self.bands):
            raise ValueError(f"normalization needs one mean and one std for each of the {len(self.bands)} bands")
        if not min(self.normalization.std) > 0:
            raise ValueError("normalization: a standard deviation must be above 0; give those of the training data")
        if self.second_moments and {len(self.second_moments), *map(len, self.second_moments)} != {len(self.bands)}:
            raise ValueError(f"second_moments needs {len(self.bands)} rows of {len(self.bands)} numbers, one per band")
        if self.normalization.logarithm and not min(self.normalization.mean) > 0:
            raise ValueError("normalization: with logarithm every mean must be above 0; give those of training")
        return self

    def to_share(self) -> ModelSpec:
        """Without the command that made the model and the folder it ran in, which are nobody's business elsewhere."""
        kept = {key: value for key, value in self.provenance.items() if key not in ("command", "folder")}
        return self.model_copy(update={"provenance": kept})

    def as_text(self) -> str:
        """What `model.json` holds."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False) + "\n"

    def build(self) -> keras.Model:
        """The network with random weights: (N, H, W, C) float32 in the bands' units to probabilities (N, H, W, K).

        Raises InputError naming the layer when a network other than the U-Net cannot be built.
        """

        from segapp.nets.blocks import with_input_and_head
        from segapp.nets.unet import unet

        network, bands, classes = self.network, len(self.bands), len(self.classes)
        settings = {"head": self.head, "context": self.context, **self.normalization.model_dump()}
        if isinstance(network, UNetConfig):
            return unet(bands, classes, network, **settings)

        from segapp.nets.keras_graph import graph_features

        try:
            return with_input_and_head(lambda x: graph_features(x, network, self.head), bands, classes, **settings)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
