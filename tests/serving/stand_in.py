"""A served model without a network, in this process: for what goes on between a client and its server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.client.description import Description, to_json
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig
from tests.prediction.conftest import CLASSES, NAMES
from tests.serving.c_api import SessionError
from tests.serving.service import Model, Run, serve_grpc, serve_rest

Outputs = dict[str, np.ndarray]

PROTOCOLS = ("grpc", "http")


def described(classes: ClassTable = CLASSES) -> bytes:
    """What the model says of itself: six bands, no halo."""
    spec = ModelSpec(
        schema=2,
        name="small",
        network=UNetConfig(depth=2, filters=4),
        bands=tuple(Band(name=name, scale=1e-4, unit="reflectance") for name in NAMES),
        classes=classes,
        normalization=Normalization(mean=(0.2,) * 6, std=(0.1,) * 6),
        patch_size=32,
    )
    return to_json(Description(model=spec, stride=4, halo=0, bytes_per_pixel=100)).encode()


def classify(signature: str, inputs: Outputs, classes: ClassTable = CLASSES) -> Outputs:
    """What an export answers whose network finds the class by a pixel's brightness."""
    if signature == "describe":
        return {"model": np.array([described(classes)] * inputs["schema"].size, object)}
    mean = inputs["reflectance"].mean(-1)
    missing = np.isnan(mean)
    indexes = np.clip(np.nan_to_num(mean) * 10 - 1, 0, len(classes) - 1).astype(int)
    probabilities = np.eye(len(classes), dtype=np.float32)[indexes]
    probabilities[missing] = np.nan
    return {
        "classes": np.where(missing, classes.nodata, classes.ids[indexes]).astype(classes.dtype),
        "probabilities": probabilities,
    }


def failing(code: int, words: str = "its words") -> Run:
    """A server that describes its model, and fails at every tile."""

    def run(signature: str, inputs: Outputs) -> Outputs:
        if signature != "describe":
            raise SessionError(code, words)
        return classify(signature, inputs)

    return run


@contextmanager
def serving(protocol: str, served: Run | Model = classify, certificate: Path | None = None) -> Iterator[str]:
    """The endpoint of a running server; `certificate` is the PEM file of one and of its key."""
    model = served if isinstance(served, Model) else Model(served)
    if protocol == "grpc":
        content = certificate.read_bytes() if certificate else b""
        server, port = serve_grpc(model, certificate=(content, content) if certificate else None)
    else:
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        server = serve_rest(model, context=context)
        port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{protocol}{'s' if certificate else ''}://127.0.0.1:{port}/{model.name}"
    finally:
        server.stop(None) if protocol == "grpc" else server.shutdown()
