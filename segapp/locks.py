"""What one process at a time may make or change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segapp.errors import InputError


@contextmanager
def locked(place: Path, wait: bool = False, flags: int = os.O_RDONLY) -> Iterator[bool | None]:
    """Inside, the file or folder `place`, opened with `flags`, is this process's; the lock goes with the process.

    Gives True; False where another process has it, unless `wait`; None where no lock can be had: Windows and some file
    systems have none.
    """
    descriptor, held = _take(place, wait, flags)
    try:
        yield held
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def only_maker(output: Path) -> Iterator[None]:
    """Inside, no other process makes the file or folder `output`; raises InputError where one does.

    The lock is a hidden file beside `output`, which is gone in the end.
    """
    file = output.with_name(f".{output.name}.lock")
    with locked(file, flags=os.O_RDWR | os.O_CREAT) as held:
        if held is False:
            raise InputError(f"{output}: is being made by another run; wait for that, or give another --output")
        try:
            yield
        finally:
            if held:
                file.unlink(missing_ok=True)


def _take(place: Path, wait: bool, flags: int) -> tuple[int | None, bool | None]:
    try:
        import fcntl
    except ImportError:
        return None, None
    while True:
        try:
            descriptor = os.open(place, flags, 0o666)
        except OSError:
            return None, None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), place.stat()):
                return descriptor, True
        except FileNotFoundError:  # who had it has removed it meanwhile
            pass
        except BlockingIOError:
            return descriptor, False
        except OSError:
            return descriptor, None
        os.close(descriptor)
