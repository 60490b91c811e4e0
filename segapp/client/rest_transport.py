"""Ask a server by REST, TensorFlow Serving's JSON over HTTP: needs no package, and takes more time and memory."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from segapp.client.endpoint import Credentials, Endpoint, token_for
from segapp.client.transport import ServerError

Picked = TypeVar("Picked")

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "TOO_LARGE",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What TensorFlow Serving makes of gRPC's codes, and gateways before it of theirs."""


_PART = 1 << 16


class RestTransport:
    """A `Transport` over HTTP, whose answers have at most `largest` bytes.

    `deadline` is how many seconds a request may take. No proxy is used and no redirection followed.
    """

    in_flight = 2
    bytes_held = 80
    bytes_sent = 32

    def __init__(self, endpoint: Endpoint, credentials: Credentials, deadline: float, largest: int) -> None:
        self._endpoint, self._deadline, self._largest = endpoint, deadline, largest
        self._context: ssl.SSLContext | None = None
        if endpoint.encrypted:
            authority = credentials.authority
            self._context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)

    def describe(self, schema: int) -> tuple[int, str]:
        version = self._endpoint.version
        if version is None:
            version = self._call("GET", "", None, _latest)
        request = {"signature_name": "describe", "instances": [{"schema": schema}]}
        path = f"/versions/{version}:predict"
        return version, self._call("POST", path, request, lambda answer: str(answer["predictions"][0]))

    def run(self, image: np.ndarray, output: str) -> np.ndarray:
        version = "" if self._endpoint.version is None else f"/versions/{self._endpoint.version}"
        # Asked for "instances", the server leaves out the line breaks and blanks with which it answers "inputs".
        request = {"signature_name": "serving_default", "instances": [{"reflectance": image[0].tolist()}]}
        path = f"{version}:predict"
        return self._call("POST", path, request, lambda answer: np.array([answer["predictions"][0][output]]))

    def _call(self, method: str, path: str, request: object, pick: Callable[[Any], Picked]) -> Picked:
        """What `pick` takes of the server's JSON, in which NaN is a number as TensorFlow Serving writes it."""
        body = None if request is None else json.dumps(request)
        where = f"/v1/models/{quote(self._endpoint.model)}{path}"
        host, port = self._endpoint.host, self._endpoint.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=self._deadline)
            if self._context is None
            else http.client.HTTPSConnection(host, port, timeout=self._deadline, context=self._context)
        )
        headers = {"Content-Type": "application/json"}
        if token := token_for(self._endpoint):
            headers["Authorization"] = f"Bearer {token}"
        until = time.monotonic() + self._deadline
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # one that finds a request too large says why
                connection.request(method, where, body, headers)
            answer = connection.getresponse()
            text = _read(answer, self._largest + 1, until)
        except TimeoutError as error:
            raise ServerError("DEADLINE_EXCEEDED", str(error)) from None
        except ssl.SSLCertVerificationError as error:
            raise ServerError("UNTRUSTED", error.verify_message) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerError("UNAVAILABLE", str(error) or type(error).__name__) from None
        finally:
            connection.close()
        if answer.status != 200:
            details = _reason(text) or answer.reason
            code, after = _CODES.get(answer.status, "UNKNOWN"), _seconds(answer.getheader("Retry-After"))
            raise ServerError(code, f"HTTP status {answer.status}, {details}", after)
        if len(text) > self._largest:
            raise ServerError("TOO_LARGE", f"the answer is larger than {self._largest} bytes")
        try:
            return pick(json.loads(text))
        except (ValueError, TypeError, LookupError) as error:
            raise ServerError("UNKNOWN", f"its answer is none of TensorFlow Serving ({error!r})") from None


def _read(answer: http.client.HTTPResponse, most: int, until: float) -> bytes:
    """The first `most` bytes of an answer; raises TimeoutError where it still trickles in at `until`."""
    parts, size = [], 0
    while size < most and (part := answer.read1(min(_PART, most - size))):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError("the answer was still on its way")
    return b"".join(parts)


def _seconds(header: str | None) -> float | None:
    """What Retry-After says, where it does so in seconds."""
    return float(header) if header is not None and header.strip().isdecimal() else None


def _latest(status: Any) -> int:
    """The version that answers where none is asked for."""
    available = [int(one["version"]) for one in status["model_version_status"] if one["state"] == "AVAILABLE"]
    if not available:
        raise ServerError("UNAVAILABLE", "no version of the model is loaded")
    return max(available)


def _reason(text: bytes) -> str:
    """What the server says of an error, {"error": "..."}; empty where it does not."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
