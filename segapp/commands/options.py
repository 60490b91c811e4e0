"""What several verbs share."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segapp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

FILE = click.Path(path_type=Path)
STDOUT = Path("-")

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of the arithmetic; auto is bfloat16 or float16 where the hardware has units for it, else float32.",
)
_RUN_OPTIONS = (
    click.option("--seed", default=0, show_default=True, help="Seed of weights, patches and dropout."),
    precision_option,
    click.option(
        "--devices", default="auto", show_default=True, help="auto (all GPUs, else the CPU), GPUs as in 0,1, or cpu:N."
    ),
    click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same settings."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
)


def json_option(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option `--json`, given to the command as `json_file`; `what` is written to it with `write_results`."""
    text = f"Write {what} as JSON to this file; to - for standard output, and then no tables."
    return click.option("--json", "json_file", type=FILE, metavar="FILE", help=text)


def results_console(json_file: Path | None, quiet: bool = False) -> Console:
    """What a command prints its results with; quiet where standard output belongs to JSON."""
    from segapp.terminal import console

    return console(quiet=quiet or json_file == STDOUT)


def write_results(json_file: Path | None, value: Any) -> None:
    """Write what `--json` asks for; numbers that are none (NaN, infinite) become null."""
    if json_file == STDOUT:
        click.echo(json.dumps(_plain(value), indent=1, allow_nan=False))
    elif json_file is not None:
        from segapp.configuration import write_json

        write_json(json_file, _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every training, in this order."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def import_tensorflow() -> None:
    """Import TensorFlow with stderr closed: it greets with lines about absent GPUs that no setting silences."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            tf.get_logger().setLevel("ERROR")  # it warns of a new graph for each network that is scored
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def band_choice(text: str) -> int | str:
    """A band of the command line: a 1-based index, or a name."""
    text = text.strip()
    return int(text) if text.isdigit() else text


def require_folder(file: Path | None) -> None:
    """Raise InputError, before any work is done, where `file` has no folder to be written to, or is one.

    Removes an older file of that name: after a run that fails it would be taken for this run's.
    """
    if file is None or file == STDOUT:
        return
    if file.is_dir():
        raise InputError(f"{file}: is a folder; give the name of a file in it")
    if not file.resolve().parent.is_dir():
        raise InputError(f"{file}: its folder does not exist; make it first")
    try:
        if file.is_file() and not file.is_symlink():  # not a device such as /dev/stdout
            file.unlink()
    except OSError as error:
        raise InputError(f"{file}: cannot be replaced ({error.strerror}); name a file that you may write") from None
