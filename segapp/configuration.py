"""Strict configuration: TOML and JSON into pydantic models, every mistake as one clear line."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from segapp.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

LARGEST_TEXT = 1 << 26
"""Bytes of the longest file of settings that is read; a network of a thousand layers is described in a hundredth."""


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
        first = _most_telling(error.errors(include_url=False), data)
        location = ".".join(map(str, _keys_of(first, data)))
        place = f"{source}: {location}" if location else source
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            valid = _keys_beside(model, first["loc"])
            near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
            remedy = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(sorted(valid))}"
            raise InputError(f"{source}: unknown key '{location}'; {remedy}") from None
        if first["type"] == "missing":
            raise InputError(f"{place} is missing; add it") from None
        message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
        message = re.sub("a valid dictionary or instance of .*", "a table", message)
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
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a UTF-8 TOML file") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deep; give the tables that the README names") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of thousands of digits
        raise InputError(f"{path}: is no valid TOML: {error}; mend it there") from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most `LARGEST_TEXT` bytes; raises InputError where it is longer or no file.

    Raises OSError and UnicodeDecodeError as `Path.read_text` does.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a device or a pipe; give a file")
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        content = file.read(min(length, LARGEST_TEXT))
    if length > LARGEST_TEXT:
        raise InputError(f"{path}: is longer than {LARGEST_TEXT >> 20} MiB, so no file of settings; give another")
    return content.decode("utf-8")


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file, by rename; raises OSError naming it, and leaves nothing, where it cannot be written."""
    temporary = file.with_name(f".{file.name}.writing")
    try:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from None


def _most_telling(mistakes: list[Any], data: Any) -> Any:
    """The mistake to report: an unknown key before all others, else the first.

    Where a value may take several forms, each form complains; the one that got furthest into the value is meant.
    """
    unknown = [mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"]
    if unknown:
        return unknown[0]
    place = _keys_of(mistakes[0], data)
    same_value = [mistake for mistake in mistakes if _keys_of(mistake, data)[: len(place)] == place]
    return max(same_value, key=lambda mistake: len(_keys_of(mistake, data)))


def _keys_of(mistake: Any, data: Any) -> list[int | str]:
    """Where a mistake stands in `data`, without pydantic's names for the forms that a value may take."""
    keys: list[int | str] = []
    for number, part in enumerate(mistake["loc"], start=1):
        inside = part in data if isinstance(data, dict) else isinstance(data, list | tuple) and isinstance(part, int)
        if inside:
            data = data[part]
        if inside or (mistake["type"] == "missing" and number == len(mistake["loc"])):
            keys.append(part)
    return keys


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
