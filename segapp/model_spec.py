"""What a model is, apart from its weights: the contents of `model.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.configuration import Strict
from segapp.nets.config import UNetConfig

if TYPE_CHECKING:
    import keras


class Normalization(Strict):
    """What the network's first layer subtracts and divides by, one number a band in the band's units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class WeightsFile(Strict):
    """How the weights are stored, and the SHA-256 of the file."""

    dtype: Literal["float32", "float16"] = "float32"
    sha256: str = ""


class ModelSpec(Strict):
    """Everything about a model but its weights, as `model.json` holds it.

    `network` shapes the U-Net; `provenance` says how the model was made; `scores` holds what was measured, by role.
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    network: UNetConfig
    bands: tuple[Band, ...] = Field(min_length=1)
    classes: ClassTable
    normalization: Normalization
    head: str = "final_conv"
    """The name of the classifier layer."""
    patch_size: int
    provenance: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    limits: str = ""
    weights: WeightsFile = WeightsFile()

    @model_validator(mode="after")
    def _normalizes_each_band(self) -> ModelSpec:
        if not len(self.normalization.mean) == len(self.normalization.std) == len(self.bands):
            raise ValueError(f"normalization needs one mean and one std for each of the {len(self.bands)} bands")
        return self

    def build(self) -> keras.Model:
        """The network with fresh weights: (N, H, W, C) float32 in the bands' units to (N, H, W, K) probabilities."""
        from segapp.nets.unet import unet

        return unet(
            len(self.bands),
            len(self.classes),
            self.network,
            mean=self.normalization.mean,
            std=self.normalization.std,
            head=self.head,
        )
