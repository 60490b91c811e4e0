"""Ask a server by gRPC, TensorFlow Serving's PredictionService."""

from __future__ import annotations

import os

import numpy as np

from segapp.client.endpoint import Credentials, Endpoint, token_for
from segapp.client.transport import ServerError
from segapp.errors import InputError

_RECONNECT = 1000
"""Milliseconds between attempts to connect; gRPC's own pauses grow to two minutes, beyond our patience."""


class GrpcTransport:
    """A `Transport` over gRPC, whose messages have at most `largest` bytes; each request takes `deadline` seconds.

    Raises InputError where the packages that it needs are not installed.
    """

    in_flight = 4
    bytes_held = 12
    bytes_sent = 4

    def __init__(self, endpoint: Endpoint, credentials: Credentials, deadline: float, largest: int) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it logs each connection that ends, which we report
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise InputError(
                f"{endpoint}: gRPC needs a package that is not installed ({error.name}); "
                "pip install 'segapp[serving]', or use the server's REST interface, http://HOST:8501/MODEL"
            ) from None
        options = [
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT),
            ("grpc.min_reconnect_backoff_ms", _RECONNECT),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT),
            ("grpc.enable_http_proxy", 0),  # as by REST: what is meant for this machine never leaves it
        ]
        if endpoint.encrypted:
            trusted = grpc.ssl_channel_credentials(root_certificates=credentials.authority)
            channel = grpc.secure_channel(endpoint.address, trusted, options)
        else:
            channel = grpc.insecure_channel(endpoint.address, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._request, self._failure = predict_pb2.PredictRequest, grpc.RpcError
        self._endpoint, self._deadline = endpoint, deadline

    def describe(self, schema: int) -> tuple[int | None, str]:
        # With a first axis, since a server that batches requests takes none without.
        version, model = self._call("describe", "schema", np.array([schema], np.int32), "model")
        return version, model.item().decode()

    def run(self, image: np.ndarray, output: str) -> np.ndarray:
        return self._call("serving_default", "reflectance", image, output)[1]

    def _call(self, signature: str, name: str, value: np.ndarray, output: str) -> tuple[int | None, np.ndarray]:
        """The version that answered, if it says so, and the output."""
        import tensorflow as tf

        request = self._request(output_filter=[output])
        request.model_spec.name = self._endpoint.model
        request.model_spec.signature_name = signature
        if self._endpoint.version is not None:
            request.model_spec.version.value = self._endpoint.version
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            token = token_for(self._endpoint)
            metadata = [("authorization", f"Bearer {token}")] if token else []
            answer = self._service.Predict(request, timeout=self._deadline, metadata=metadata)
        except self._failure as error:
            code, details = error.code().name, error.details() or ""
            if "CERTIFICATE_VERIFY_FAILED" in details:
                code = "UNTRUSTED"
            elif code == "RESOURCE_EXHAUSTED" and "larger than max" in details:  # of a message, not of the memory
                code = "TOO_LARGE"
            raise ServerError(code, details) from None
        if output not in answer.outputs:
            raise ServerError("INVALID_ARGUMENT", f"its signature {signature} has no output {output}")
        version = answer.model_spec.version.value if answer.model_spec.HasField("version") else None
        return version, tf.make_ndarray(answer.outputs[output])
