"""Commands in processes of their own, on a terminal of their own, which may be interrupted."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CURSOR_SHOWN, CURSOR_HIDDEN = "\x1b[?25h", "\x1b[?25l"

_HELD = """
import pathlib, sys, time
from unittest import mock
from segapp.cli import main
target, call, ready = sys.argv[1:4]
del sys.argv[1:4]
calls = 0
def held(*arguments, **options):
    global calls
    calls += 1
    if calls < int(call):
        return real(*arguments, **options)
    pathlib.Path(ready).touch()
    while True:
        time.sleep(0.05)
patch = mock.patch(target, held)
real, _ = patch.get_original()
with patch:
    main()
"""


def hear_interruptions() -> None:
    """For `preexec_fn`: a shell's background jobs ignore SIGINT, and so would what they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def held_at(target: str, call: int, ready: Path, arguments: Sequence[str | Path]) -> list[str]:
    """The command for segapp with `arguments` which stops in the given call of the function `target`.

    Then it makes the file `ready`, and waits.
    """
    return [sys.executable, "-c", _HELD, target, str(call), str(ready), *map(str, arguments)]


def segapp(*arguments: str | Path) -> list[str]:
    """The command for segapp with `arguments`."""
    return [sys.executable, "-m", "segapp", *map(str, arguments)]


def on_a_terminal(
    command: list[str],
    interrupt_when: Callable[[], bool] = lambda: False,
    by: signal.Signals = signal.SIGINT,
    **environment: str,
) -> tuple[int, str]:
    """Run `command` on a terminal of 100 columns; returns its exit code and all that it wrote there.

    As soon as `interrupt_when` says so, Ctrl-C is typed, which the terminal passes to all its processes, or another
    signal than SIGINT is sent to the command.
    """
    given = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    given |= {"TERM": "xterm-256color", "COLUMNS": "100", **environment}
    terminal, its_end = pty.openpty()

    def take_terminal() -> None:
        os.login_tty(its_end)
        hear_interruptions()

    process = subprocess.Popen(command, env=given, preexec_fn=take_terminal, pass_fds=[its_end])
    os.close(its_end)
    written, interrupted = b"", False
    try:
        while True:
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    written += os.read(terminal, 1 << 16)
                except OSError:  # nobody has the other end any more
                    break
            if not interrupted and interrupt_when():
                interrupted = True
                if by == signal.SIGINT:
                    os.write(terminal, b"\x03")
                else:
                    process.send_signal(by)
        return process.wait(), written.decode(errors="replace")
    finally:
        process.kill()
        os.close(terminal)
