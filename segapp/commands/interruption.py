"""How a verb ends that is interrupted, by Ctrl-C or SIGTERM: what was saved, and how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from segapp.scenes.band_files import Source

NOTHING_WRITTEN = "nothing was written, start again"


class TerminationError(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it before it kills: ends a run as Ctrl-C does."""


def exit_code(interruption: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells have it."""
    return 128 + (signal.SIGTERM if isinstance(interruption, TerminationError) else signal.SIGINT)


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Inside, SIGTERM raises TerminationError where Ctrl-C would raise KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise TerminationError

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def reporting_interruption(what_was_saved: Callable[[], str]) -> Iterator[None]:
    """An interruption that passes says `what_was_saved`; any other says that nothing was written."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        message = "what was done is kept; go on with --resume"
        with suppress(KeyboardInterrupt):  # somebody is impatient
            message = what_was_saved()
        interruption.args = (message,)
        raise


def saved_training(output: Path) -> str:
    """What a run that trains for the model directory `output` has saved."""
    from segapp.remote import address_of
    from segapp.training.checkpoint import read_progress
    from segapp.training.fit import CHECKPOINT_FILE

    if address := address_of(output):
        return f"{address}.partial holds what was mirrored; go on with --resume"
    partial = output.with_name(f"{output.name}.partial")
    checkpoints = sorted(partial.rglob(CHECKPOINT_FILE), key=lambda file: file.stat().st_mtime)
    if checkpoints:
        file = checkpoints[-1]
        phase = "" if file.parent == partial else f" of {file.parent.relative_to(partial).as_posix()}"
        return f"{partial} holds step {read_progress(file).step}{phase}; go on with --resume"
    if partial.exists():
        return f"{partial} holds no step yet; start again with --resume"
    return f"{output} is whole" if output.exists() else NOTHING_WRITTEN


def saved_maps(files: Sequence[Source], output: Path) -> str:
    """How many of the maps of the scenes `files` are written."""
    from segapp.maps.record import read_record
    from segapp.prediction.outputs import outputs_of

    maps = outputs_of(files, output)
    if maps == [output]:
        return f"{output} is whole" if read_record(output) else NOTHING_WRITTEN
    written = sum(read_record(target) is not None for target in maps)
    return f"{written} of {len(maps)} maps are written; go on with --resume"
