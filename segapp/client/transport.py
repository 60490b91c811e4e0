"""How a server is spoken to: one interface, whatever the protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class ServerError(Exception):
    """A request that got no answer: gRPC's name for the reason (REST's are translated), and the server's words.

    Reasons beside gRPC's are UNTRUSTED, the server's certificate, and TOO_LARGE, a message beyond a limit.
    `retry_after` is how many seconds the server wants to be left alone, where it says so.
    """

    def __init__(self, code: str, details: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {details}")
        self.code, self.details, self.retry_after = code, details, retry_after


class Transport(Protocol):
    """A connection to one model of a server. Its methods raise `ServerError`, and are called by several threads."""

    in_flight: int
    """How many requests it is good to have under way at once."""
    bytes_held: int
    """About what a number of the image or of the answer takes in memory while a request is under way."""
    bytes_sent: int
    """At most what a number takes in a message."""

    def describe(self, schema: int) -> tuple[int | None, str]:
        """The version that answers, if it says so, and what its signature `describe` gives."""
        ...

    def run(self, image: np.ndarray, output: str) -> np.ndarray:
        """One output, (1, h, w, ...), of the signature `serving_default` for `image`, (1, h, w, C) float32."""
        ...
