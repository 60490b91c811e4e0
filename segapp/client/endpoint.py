"""Where a model is served, and with which credentials it is asked."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from segapp.errors import InputError

Scheme = Literal["grpc", "grpcs", "http", "https"]

TOKEN, TOKEN_FILE, AUTHORITY = "SEGAPP_TOKEN", "SEGAPP_TOKEN_FILE", "SEGAPP_CA_CERTIFICATE"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)
"""The environment's variables for the bearer token, and for a private authority's certificate file."""
_FORM = "write grpc://HOST:8500/MODEL or http://HOST:8501/MODEL, and /versions/NUMBER behind it for one version"


@dataclass(frozen=True)
class Endpoint:
    """A model on a server, as in grpc://host:8500/unet6; without `version`, the latest that is served."""

    scheme: Scheme
    host: str
    port: int
    model: str
    version: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.scheme}://{self.address}/{self.model}{version}"

    @property
    def address(self) -> str:
        """HOST:PORT, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        """Whether what is sent goes through TLS."""
        return self.scheme in ("grpcs", "https")

    @property
    def on_this_machine(self) -> bool:
        """Whether what is sent stays on the loopback interface."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def at(self, version: int) -> Endpoint:
        """The same model in one version."""
        return replace(self, version=version)


@dataclass(frozen=True)
class ServerSettings:
    """How a server is asked: seconds that a request may take, and that it is tried again while nothing answers."""

    deadline: float = 120.0
    patience: float = 60.0


@dataclass(frozen=True)
class Credentials:
    """The bearer token that proves who asks, and the certificates (PEM) of the authorities that servers answer to.

    Without `authority` those are the authorities that the system trusts.
    """

    token: str | None = field(repr=False)
    authority: bytes | None


def is_endpoint(model: str | Path) -> bool:
    """Whether `model` means a server and not a model directory, here or in a store."""
    return isinstance(model, str) and "://" in model and not model.startswith(("s3://", "gs://", "file://"))


def parse_endpoint(text: str) -> Endpoint:
    """What `text`, SCHEME://HOST:PORT/MODEL[/versions/NUMBER], means; raises InputError that says what is wrong."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{text}: is no endpoint ({error}); {_FORM}") from None
    if "://" not in text or parts.scheme not in get_args(Scheme):
        raise InputError(f"{text}: begins with none of grpc://, grpcs://, http://, https://; {_FORM}")
    if not parts.hostname:
        raise InputError(f"{text}: names no host; {_FORM}")
    if not port:
        raise InputError(f"{text}: names no port; {_FORM}")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(f"{text}: holds more than host, port and model; {_FORM}, and set {TOKEN} to give a token")
    path = re.fullmatch(r"/([^/:\s]+)(?:/versions/(\d+))?/?", parts.path)
    if path is None:
        raise InputError(f"{text}: names no model; {_FORM}")
    model, version = path.groups()
    return Endpoint(cast(Scheme, parts.scheme), parts.hostname, port, model, None if version is None else int(version))


def token_for(endpoint: Endpoint) -> str | None:
    """The token in the environment, or in the file that it names; a file may get another while a run goes on.

    Raises InputError where the token would cross a network unencrypted, or is none.
    """
    name, file = TOKEN, os.environ.get(TOKEN_FILE)
    token = os.environ.get(TOKEN, "").strip()
    if file:
        name = TOKEN_FILE
        try:
            token = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read as a token ({error}); correct {TOKEN_FILE}") from None
    if token and not re.fullmatch(r"[!-~]+", token):
        raise InputError(f"{name}: holds blanks or other characters that no token has; set it to the token alone")
    if token and not (endpoint.encrypted or endpoint.on_this_machine):
        secure = replace(endpoint, scheme="grpcs" if endpoint.scheme == "grpc" else "https")
        raise InputError(
            f"{endpoint}: the token in {name} would cross the network unencrypted; use {secure}, or unset {name}"
        )
    return token or None


def credentials_for(endpoint: Endpoint) -> Credentials:
    """The credentials in the environment.

    Raises InputError where the token would cross a network unencrypted, or a variable does not hold what it should.
    """
    token = token_for(endpoint)
    file = os.environ.get(AUTHORITY)
    authority = None
    if file and endpoint.encrypted:
        try:
            authority = b"\n".join(_CERTIFICATE.findall(Path(file).read_bytes()))  # bundles have comments in between
            if not authority:
                raise ValueError("there is no BEGIN CERTIFICATE in it")
            ssl.create_default_context(cadata=authority.decode("ascii"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: holds no certificates in PEM ({error}); correct {AUTHORITY}") from None
    return Credentials(token, authority)
