"""Strict configuration: TOML and JSON into pydantic models, every mistake as one clear line."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from segapp.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A frozen table of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def validate(model: type[Model], data: Any, source: str) -> Model:
    """`data` as a `model`; raises InputError with the first mistake, its place, and the nearest valid key.

    `source` is the file (or option) that the message names.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        # In a union of table forms every form complains; an unknown key is the most telling of the complaints.
        first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
        location = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "tagged-")))
        place = f"{source}: {location}" if location else source
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            valid = _keys_beside(model, first["loc"])
            near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
            remedy = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(sorted(valid))}"
            raise InputError(f"{source}: unknown key '{location}'; {remedy}") from None
        if first["type"] == "missing":
            raise InputError(f"{place} is missing; add it") from None
        message = first["msg"].removeprefix("Value error, ")
        given = first.get("input")
        shown = (
            f", not {given!r}"
            if isinstance(given, str | int | float | bool) and "Value error" not in first["msg"]
            else ""
        )
        raise InputError(f"{place}: {message[:1].lower()}{message[1:]}{shown}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises InputError naming file and line when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a UTF-8 TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no valid TOML: {error}") from None


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the table in which the unknown key at the end of `location` stands."""
    current: Any = model
    for part in location[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = _model_inside(current.model_fields[str(part)].annotation)
        elif isinstance(part, str) and isinstance(current, list):
            current = next((m for m in current if m.__name__ == part), current)
    models = current if isinstance(current, list) else [current]
    keys = [field.alias or name for m in models if m is not None for name, field in m.model_fields.items()]
    return list(dict.fromkeys(keys))


def _model_inside(annotation: Any) -> Any:
    """The pydantic model or models that an annotation such as ``tuple[Model, ...] | None`` is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        inner = _model_inside(argument)
        found.extend(inner if isinstance(inner, list) else [inner] if inner is not None else [])
    return found[0] if len(found) == 1 else (found or None)
