"""Strict settings: every mistake is one line with its place and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from segapp.configuration import Strict, read_toml, validate
from segapp.errors import InputError


class Inner(Strict):
    learning_rate: float = Field(default=0.1, gt=0)
    kind: Literal["sgd", "adam"] = "adam"


class Other(Strict):
    file: str


class Outer(Strict):
    version: Literal[1] = Field(alias="schema")
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    either: Literal["blocks"] | Other | None = None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"schema": 1, "iner": {}}, "unknown key 'iner'; did you mean 'inner'?"),
        (
            {"schema": 1, "inner": {"learning_rte": 1}},
            "unknown key 'inner.learning_rte'; did you mean 'learning_rate'?",
        ),
        ({"schema": 1, "many": [{}, {"knid": "sgd"}]}, "unknown key 'many.1.knid'; did you mean 'kind'?"),
        ({"schema": 1, "inner": {"zzz": 1}}, "valid keys: kind, learning_rate"),
        ({"schema": 1, "either": {"fiel": "x"}}, "unknown key 'either.fiel'; did you mean 'file'?"),
        ({}, "schema is missing; add it"),
        ({"schema": 1, "either": {}}, "x.toml: either.file is missing; add it"),
        ({"schema": 1, "either": "block"}, "x.toml: either: input should be 'blocks', not 'block'"),
        ({"schema": 1, "either": {"file": 3}}, "x.toml: either.file: input should be a valid string, not 3"),
        ({"schema": 1, "inner": 3}, "x.toml: inner: input should be a table, not 3"),
        ({"schema": 1, "many": 3}, "x.toml: many: input should be a list, not 3"),
        ({"schema": 2}, "schema: input should be 1, not 2"),
        ({"schema": 1, "inner": {"learning_rate": -1}}, "inner.learning_rate: input should be greater than 0, not -1"),
        ({"schema": 1, "inner": {"kind": "adm"}}, "inner.kind: input should be 'sgd' or 'adam', not 'adm'"),
    ],
)
def test_each_mistake_names_its_place_and_a_remedy(data: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        validate(Outer, data, "x.toml")
    assert str(error.value).startswith("x.toml: ") and "\n" not in str(error.value)
    assert message in str(error.value)


def test_valid_settings_pass_unchanged() -> None:
    outer = validate(Outer, {"schema": 1, "inner": {"kind": "sgd"}, "either": {"file": "a.csv"}}, "x.toml")
    assert (outer.version, outer.inner.kind, outer.either) == (1, "sgd", Other(file="a.csv"))


def test_unreadable_toml_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with pytest.raises(InputError, match=r"x\.toml: no such file"):
        read_toml(path)
    path.write_text("a = 1\nb = = 2\n")
    with pytest.raises(InputError, match=r"x\.toml: is no valid TOML: .*line 2"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(InputError, match="UTF-8"):
        read_toml(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path)
