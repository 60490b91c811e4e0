"""What a served model says of itself to a caller that asks its signature `describe`."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from segapp.configuration import Strict
from segapp.errors import InputError
from segapp.model.model_spec import ModelSpec

SCHEMA = 1
"""The version of the description; callers send the one that they read."""
CountType = Literal["uint16", "int16", "uint8"]


class CountInput(Strict):
    """What the signatures `counts` and `classes` take: numbers of this type, one of which means no data."""

    dtype: CountType
    nodata: int | None


class Description(Strict):
    """A served model: its `model.json`, and what a caller needs to cut scenes into tiles for it.

    `stride`, `halo` and `bytes_per_pixel` are as in `segapp.inference.engine.Engine`. `counts` is None where the model
    takes physical values only.
    """

    model: ModelSpec
    stride: int
    halo: int | None
    bytes_per_pixel: int
    counts: CountInput | None = None


def to_json(description: Description) -> str:
    """The description as a server gives it."""
    return description.model_dump_json(by_alias=True)


def from_json(text: str | bytes, source: str) -> Description:
    """What a server gave; `source` names it in the InputError where that is no description of this schema."""
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise InputError(
            f"{source}: describes its model in a way this segapp does not read ({reason}); export the model again"
        ) from None
