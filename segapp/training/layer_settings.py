"""How a layer may be treated in a phase, as data: readable without TensorFlow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from segapp.configuration import Strict

_ZERO = 'a factor of 0 is written "frozen", which also keeps the moving statistics of normalisation'


class LayerFactors(Strict):
    """MATLAB's WeightLearnRateFactor, BiasLearnRateFactor and BiasL2Factor; "weights" is everything but the bias."""

    weights: float = Field(default=1.0, gt=0)
    biases: float = Field(default=1.0, gt=0)
    bias_l2: float = Field(default=0.0, ge=0)

    @field_validator("weights", "biases", mode="before")
    @classmethod
    def _not_zero(cls, value: Any) -> Any:
        if value == 0:
            raise ValueError(_ZERO)
        return value


def _read(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == 0:
            raise ValueError(_ZERO)
        return LayerFactors(weights=value, biases=value)
    return value


LayerSetting = Annotated[Literal["frozen"] | LayerFactors, BeforeValidator(_read)]
"""The word "frozen", a factor of the learning rate for weights and biases alike, or a table of factors."""
