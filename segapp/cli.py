"""The command line: parse, call one library function, print. TensorFlow is imported by the functions that need it."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from segapp.commands.area import area
from segapp.commands.convert import convert
from segapp.commands.evaluate import evaluate
from segapp.commands.export import export
from segapp.commands.finetune import finetune
from segapp.commands.inspect import inspect
from segapp.commands.interruption import NOTHING_WRITTEN, exit_code, termination_interrupts
from segapp.commands.predict import predict
from segapp.commands.report import report
from segapp.commands.train import train
from segapp.commands.view import view
from segapp.errors import InputError


class _InterruptedError(Exception):
    """A KeyboardInterrupt on its way past click, which would answer it with an empty line."""


_LESS_MEMORY = "give a smaller batch, patch or tile"


class _Commands(click.Group):
    """Turns mistakes of the user into one line and exit code 2, and an interruption into exit code 130."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # At 2 TensorFlow reports lost workers at length, before the one line that is for the user.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if "TF_CONFIG" in os.environ else "2")
        _open_closed_streams()
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # a class name that a pipe's encoding does not have
        try:
            with termination_interrupts():
                return super().main(*args, **{**kwargs, "standalone_mode": False})
        except InputError as error:
            _fail(str(error), 2)
        except click.ClickException as error:
            _fail(f"{error.format_message()} (see segapp --help)", 2)
        except MemoryError:
            _fail(f"the memory does not suffice; {_LESS_MEMORY}", 3)
        except ConnectionError as error:
            _fail(f"{error}; what was done is kept", 3)
        except OSError as error:
            _fail(f"reading or writing failed on the way: {error}; what was done is kept", 3)
        except (_InterruptedError, click.Abort, KeyboardInterrupt) as error:
            _leave(error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else KeyboardInterrupt())
        except Exception as error:
            if type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's, which is not imported for this
                raise
            shape = re.search(r"shape ?(\[[\d,]+\])", str(error))
            of_what = f" for a tensor of shape {shape[1]}" if shape else ""
            _fail(f"the memory of the device does not suffice{of_what}; {_LESS_MEMORY}", 3)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            raise _InterruptedError from interruption


def _open_closed_streams() -> None:
    """Standard streams that the caller has closed lead nowhere, and not into the next file that is opened."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _leave(interruption: KeyboardInterrupt) -> NoReturn:
    """Leave the terminal as it was found, with one line of what was saved."""
    with suppress(ValueError):  # in a thread that has no say
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends what is still being tidied up
    from rich.control import Control, ControlType

    from segapp.terminal import console

    # Over the terminal's own "^C", and with the cursor back, whatever a bar was doing.
    console(stderr=True).control(
        Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), ControlType.SHOW_CURSOR)
    )
    _fail(f"interrupted; {str(interruption) or NOTHING_WRITTEN}", exit_code(interruption))


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"segapp: {message}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segapp")
def main() -> None:
    """Semantic segmentation of multispectral images with a U-Net.

    \b
    segapp inspect dataset.toml
    segapp train --data dataset.toml --output models/mine
    segapp evaluate --model models/mine --data dataset.toml
    segapp predict --model models/mine scene.tif --output classes.tif

    \b
    Exit codes: 0 done; 1 a fault of segapp; 2 bad usage or bad input; 3 some scenes failed, or
    reading or writing failed on the way; 130 interrupted by Ctrl-C, 143 by SIGTERM.

    Results go to standard output, progress and messages to standard error. NO_COLOR turns colours off, and COLUMNS
    says how wide tables are in a pipe, which otherwise are as wide as need be.
    """


for command in (train, finetune, evaluate, predict, area, export, convert, report, view, inspect):
    main.add_command(command)
