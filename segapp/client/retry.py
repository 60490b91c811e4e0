"""Patience with a server that does not answer for a while."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

from segapp.client.transport import ServerError

Answer = TypeVar("Answer")

_FIRST, _LONGEST = 0.2, 5.0
_TIMES = {"UNAVAILABLE": math.inf, "RESOURCE_EXHAUSTED": math.inf, "ABORTED": 3, "INTERNAL": 3}
"""How often a request is tried again after each reason: overload passes, an error of the server mostly stays. A
prediction changes nothing on the server, so it is safe to ask twice."""


def with_retries(
    request: Callable[[], Answer], patience: float, say: Callable[[ServerError], None] = lambda error: None
) -> Answer:
    """The answer of `request`, which is tried again for `patience` seconds while the reason may pass.

    `say` is called the first time. Pauses are those that the server asks for, or double from 0.2 s to 5 s and are drawn
    at random up to that, so that the requests of many callers do not come back together ("full jitter", Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Raises what `request` raises otherwise, and its last
    error when patience is over.
    """
    longest, tries = _FIRST, 0
    started: float | None = None
    while True:
        try:
            return request()
        except ServerError as error:
            now = time.monotonic()
            again = tries < _TIMES.get(error.code, 0)
            if started is None:
                started = now
                if again and patience > 0:
                    say(error)
            left = started + patience - now
            pause = random.uniform(0, longest) if error.retry_after is None else error.retry_after
            if not again or left <= 0 or (error.retry_after or 0) > left:
                raise
            time.sleep(min(pause, left))
            longest, tries = min(2 * longest, _LONGEST), tries + 1
