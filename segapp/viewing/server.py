"""The page's server: on this machine's loopback address only, and only for a browser that asks it by that name."""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from segapp.errors import InputError
from segapp.viewing.page_files import page_files
from segapp.viewing.site import Site

LOOPBACK = "127.0.0.1"
# A page of another site may reach this port under a name of its own (DNS rebinding); the port may be forwarded.
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_TILE = re.compile(r"/(scene|map/[01])/(\d{1,2})/(\d{1,6})/(\d{1,6})\.png")
_NUMBER = re.compile(r"\d{1,7}")
_AT_ONCE = max(2, os.cpu_count() or 2)
_LONGEST_WAIT = 10.0  # seconds for what is being answered when the server stops
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingTCPServer):
    """Serves `site` at http://127.0.0.1:`port`/TOKEN/ (0: a free port), where the token is known to who started it.

    Other users of the machine reach the port too, but not the page. Raises InputError where the port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        self.files = page_files()
        self.root = f"/{secrets.token_urlsafe(16)}"
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"--port {port}: cannot be used ({reason}); choose another, or leave it out") from None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}{self.root}/"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One of the few pieces of work that run at once, so that a browser cannot ask for more than there is room."""
        with self._turns:
            yield

    def server_close(self) -> None:
        """Take no more requests, and wait for those being answered: GDAL must not run on while Python ends."""
        super().server_close()
        for _ in range(_AT_ONCE):
            self._turns.acquire(timeout=_LONGEST_WAIT / _AT_ONCE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away while they were answered."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "segapp"
    sys_version = ""
    timeout = 60  # seconds that an idle connection is kept

    def do_GET(self) -> None:
        """Answer a file of the page, its description, a tile, or what lies under a pixel."""
        try:
            self._check()
            body, kind = self._answer()
        except _RefusedError as refusal:
            return self._send(refusal.status, f"{refusal}\n".encode(), "text/plain; charset=utf-8")
        except InputError as error:  # a file that turns out to be damaged
            return self._send(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode(), "text/plain; charset=utf-8")
        self._send(HTTPStatus.OK, body, kind)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no proper request, or not GET; what else comes with it is not looked at."""
        self.close_connection = True
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(status, f"{status.phrase}\n".encode(), "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal is for errors."""

    def _check(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST)

    def _answer(self) -> tuple[bytes, str]:
        try:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, max_num_fields=4)
        except ValueError:
            raise _RefusedError(HTTPStatus.BAD_REQUEST) from None
        root, path = self.server.root, parts.path
        if not hmac.compare_digest(path[: len(root)].encode(), root.encode()):
            raise _RefusedError(HTTPStatus.NOT_FOUND)
        path = path.removeprefix(root)
        if path in self.server.files:
            return self.server.files[path]
        site = self.server.site
        if path == "/view.json":
            return _json(site.description)
        if path == "/pixel":
            row, column = (_whole(query, key) for key in ("row", "column"))
            return _json(self._in_turn(lambda: site.at(row, column)))
        tile = _TILE.fullmatch(path)
        if tile is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND)
        layer, place = tile[1], (int(tile[2]), int(tile[3]), int(tile[4]))
        if layer == "scene":
            bands = _list(query, "bands")
            return self._in_turn(lambda: site.scene_tile(*place, bands)), "image/png"
        hidden = _list(query, "hide")
        return self._in_turn(lambda: site.map_tile(int(layer[-1]), *place, hidden)), "image/png"

    def _in_turn(self, work: Callable[[], Any]) -> Any:
        with self.server.turn():
            try:
                return work()
            except LookupError:
                raise _RefusedError(HTTPStatus.NOT_FOUND) from None

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _json(value: Any) -> tuple[bytes, str]:
    return json.dumps(value, allow_nan=False).encode(), "application/json"


def _whole(query: dict[str, list[str]], key: str) -> int:
    numbers = _list(query, key)
    if len(numbers) != 1:
        raise _RefusedError(HTTPStatus.BAD_REQUEST)
    return numbers[0]


def _list(query: dict[str, list[str]], key: str) -> list[int]:
    """The whole numbers of a query such as "bands=3,2,1"; none where it is left out."""
    parts = ",".join(query.get(key, [])).split(",") if key in query else []
    if not all(_NUMBER.fullmatch(part) for part in parts):
        raise _RefusedError(HTTPStatus.BAD_REQUEST)
    return [int(part) for part in parts]
