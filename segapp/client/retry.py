"""Patience with a server that does not answer for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from segapp.client.transport import ServerError

Answer = TypeVar("Answer")

_FIRST, _LONGEST = 0.2, 5.0


def with_retries(
    request: Callable[[], Answer], patience: float, say: Callable[[ServerError], None] = lambda error: None
) -> Answer:
    """The answer of `request`, which is tried again while it raises UNAVAILABLE, for `patience` seconds.

    `say` is called the first time. Pauses double from 0.2 s to 5 s and are drawn at random up to that, so that the
    requests of many callers do not come back together ("full jitter", Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015). Raises what `request` raises otherwise, and its last error when patience is over.
    """
    longest = _FIRST
    started: float | None = None
    while True:
        try:
            return request()
        except ServerError as error:
            now = time.monotonic()
            if started is None:
                started = now
                if error.code == "UNAVAILABLE" and patience > 0:
                    say(error)
            left = started + patience - now
            if error.code != "UNAVAILABLE" or left <= 0:
                raise
            time.sleep(min(random.uniform(0, longest), left))
            longest = min(2 * longest, _LONGEST)
