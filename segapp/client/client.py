"""Map scenes with a model on a server: the tiles, their halo and so the map are those of the model at home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from segapp.client.description import SCHEMA, Description, from_json
from segapp.client.endpoint import Endpoint, ServerSettings, credentials_for
from segapp.client.grpc_transport import GrpcTransport
from segapp.client.rest_transport import RestTransport
from segapp.client.retry import with_retries
from segapp.client.transport import ServerError, Transport
from segapp.errors import InputError
from segapp.inference.engine import EngineLostError
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.model.model_spec import ModelSpec
from segapp.windows import Window

Answer = TypeVar("Answer")

_TRANSPORTS: dict[str, type[GrpcTransport] | type[RestTransport]] = {
    "grpc": GrpcTransport,
    "grpcs": GrpcTransport,
    "http": RestTransport,
    "https": RestTransport,
}
_MESSAGES = {
    "UNAVAILABLE": "did not answer for {patience:g} s ({details}); start it, check host and port, or give a longer "
    "--patience",
    "DEADLINE_EXCEEDED": "a request took longer than {deadline:g} s, or than the server allows ({details}); give a "
    "longer --deadline or a smaller --tile-size",
    "TOO_LARGE": "a tile is too large for it ({details}); give a smaller --tile-size",
    "RESOURCE_EXHAUSTED": "has no room for a request ({details}); give a longer --patience or a smaller --tile-size",
    "NOT_FOUND": "serves no model '{model}' in {version} ({details}); check name and version",
    "INVALID_ARGUMENT": "refuses the request: {details}",
    "FAILED_PRECONDITION": "refuses the request: {details}",
    "UNAUTHENTICATED": "wants to know who asks ({details}); set SEGAPP_TOKEN to a token that it knows",
    "PERMISSION_DENIED": "does not let you ask ({details}); set SEGAPP_TOKEN to a token that may",
    "UNTRUSTED": "its certificate is not trusted ({details}); set SEGAPP_CA_CERTIFICATE to its authority's PEM file",
}
_OF_ALL_SCENES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNTRUSTED"}
"""Reasons that the next scene would only find again, some of them after a long wait."""
_OTHER = "failed ({code}: {details}); see the server's log"
_SHOWN = 500
"""Characters of the server's words: of a refused JSON request it repeats all numbers."""
_OVERHEAD = 1 << 20
_LARGEST_DESCRIPTION = 16 << 20
_LARGEST_MESSAGE = 1 << 31
"""Bytes that a protocol buffer stays below."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model on a server, in the version that described itself so."""

    endpoint: Endpoint
    settings: ServerSettings
    description: Description

    def open(self, run: RunSettings) -> tuple[Predictor, ModelSpec]:
        """Connect; raises InputError as the transports and `Predictor` do."""
        engine = ServerEngine(self)
        predictor = Predictor(engine, run.test_time_augmentation, tile=run.tile, blend=run.blend)
        engine.connect(predictor.tile)
        return predictor, self.description.model


def find_served(
    endpoint: Endpoint, settings: ServerSettings, say: Callable[[str], None] = lambda line: None
) -> ServedModel:
    """Ask a server what it serves at `endpoint`.

    Where `endpoint` has no version, the one that answers is kept: a map is never made with two. `say` is called when
    the server has to be waited for. Raises InputError where it does not answer, or not as `segapp export` taught it.
    """
    transport = _connect(endpoint, settings, _LARGEST_DESCRIPTION)

    def waiting(error: ServerError) -> None:
        say(f"{endpoint}: does not answer ({error.details[:_SHOWN]}); trying for {settings.patience:g} s")

    try:
        version, text = with_retries(lambda: transport.describe(SCHEMA), settings.patience, waiting)
    except ServerError as error:
        if error.code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
            raise InputError(
                f"{endpoint}: does not describe its model ({error.details[:_SHOWN]}); serve one that segapp exported"
            ) from None
        raise _explained(error, endpoint, settings) from None
    description = from_json(text, str(endpoint))
    return ServedModel(endpoint if version is None else endpoint.at(version), settings, description)


class ServerEngine:
    """An `Engine` that has a server map the tiles, `in_flight` of them at once. Connect it before the first."""

    precision = None
    memory = 400 << 20

    def __init__(self, served: ServedModel) -> None:
        transport, described = _TRANSPORTS[served.endpoint.scheme], served.description
        bands, self.classes = len(described.model.bands), len(described.model.classes)
        self.in_flight = transport.in_flight
        self.stride, self.halo = described.stride, described.halo
        messages = self.in_flight * transport.bytes_held * (bands + self.classes)
        self.bytes_per_pixel = max(described.bytes_per_pixel, messages)
        self._served = served
        self._largest_of_a_pixel = transport.bytes_sent * (max(bands, self.classes) + 1)

    def connect(self, tile: int) -> None:
        """Open a connection whose messages hold tiles of `tile` pixels a side, and no larger ones.

        Raises InputError where the protocol has no messages of that size.
        """
        largest = tile**2 * self._largest_of_a_pixel + _OVERHEAD
        if largest >= _LARGEST_MESSAGE:
            raise InputError(f"a tile of {tile} pixels makes messages beyond 2 GB; give a smaller --tile-size")
        self._transport = _connect(self._served.endpoint, self._served.settings, largest)

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        found = self._run(image, "probabilities", (self.classes,))
        return found[place.slices].astype(np.float32)

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        classes = self._served.description.model.classes
        found = self._run(image, "classes", ())[place.slices]
        return classes.to_indexes(found.astype(classes.dtype), str(self._served.endpoint), of_map=True)

    def _run(self, image: np.ndarray, output: str, of_a_pixel: tuple[int, ...]) -> np.ndarray:
        """(h, w, ...): an output for an image (h, w, C)."""
        endpoint, settings = self._served.endpoint, self._served.settings
        batch = np.ascontiguousarray(image, np.float32)[np.newaxis]
        try:
            found = with_retries(lambda: self._transport.run(batch, output), settings.patience)
        except ServerError as error:
            raise _explained(error, endpoint, settings) from None
        wanted = (1, *image.shape[:2], *of_a_pixel)
        if found.shape != wanted:
            raise InputError(f"{endpoint}: its {output} have the shape {found.shape}, not {wanted}; export it again")
        return found[0]


def _connect(endpoint: Endpoint, settings: ServerSettings, largest: int) -> Transport:
    return _TRANSPORTS[endpoint.scheme](endpoint, credentials_for(endpoint), settings.deadline, largest)


def _explained(error: ServerError, endpoint: Endpoint, settings: ServerSettings) -> InputError:
    """What the user can do about it."""
    reason = _MESSAGES.get(error.code, _OTHER).format(
        code=error.code,
        details=error.details[:_SHOWN],
        model=endpoint.model,
        version="any version" if endpoint.version is None else f"version {endpoint.version}",
        deadline=settings.deadline,
        patience=settings.patience,
    )
    return (EngineLostError if error.code in _OF_ALL_SCENES else InputError)(f"{endpoint}: {reason}")
