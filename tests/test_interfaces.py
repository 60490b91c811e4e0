"""What the command line takes, the Python functions take under the same names, with the same defaults."""

from __future__ import annotations

import inspect
from typing import Any

import click
import pytest

import segapp
from segapp.cli import main
from segapp.data.dataset import dataset_from_files
from segapp.estimation.area import draw_points

OTHER_NAMES = {"maps": "class_map", "foreign": "source", "map_file": "map", "no_browser": "browser"}
OTHER_NAMES |= {"endpoint": "model"}
"""Options that stand for an argument of another name, or in another form."""
OF_THE_COMMAND_LINE = {"json_file", "dry_run", "check"}
"""What only says what is printed, or what is done before."""
BESIDE = {"train": dataset_from_files, "area": draw_points}
"""Functions that take the options which make what the verb's own function is given."""
VERBS = sorted(set(main.commands) - {"inspect"})


def _arguments(verb: str) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(BESIDE[verb]).parameters) if verb in BESIDE else {}
    return found | dict(inspect.signature(getattr(segapp, verb)).parameters)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_an_argument(verb: str) -> None:
    options = {option.name for option in main.commands[verb].params if option.name} - OF_THE_COMMAND_LINE
    options -= {"quiet"} if verb == "convert" else set()  # the function prints nothing
    assert {OTHER_NAMES.get(name, name) for name in options} <= set(_arguments(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_options_and_arguments_have_the_same_defaults(verb: str) -> None:
    arguments = _arguments(verb)
    for option in main.commands[verb].params:
        if not isinstance(option, click.Option) or option.name not in arguments or option.required:
            continue
        ours, theirs = arguments[option.name].default, _plain(option)
        if ours is not inspect.Parameter.empty:
            assert ours == theirs, option.name


def _plain(option: click.Option) -> Any:
    default = option.to_info_dict()["default"]
    return () if option.multiple and not default else default
