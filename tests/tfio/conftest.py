"""What needs tensorflow-io runs where it loads: in .venv-tfio, which ``./tools/test --all`` makes."""

from __future__ import annotations

import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def tensorflow_io() -> None:
    """Skips where tensorflow-io is not to be had."""
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(
            "tensorflow_io", reason="needs tensorflow-io (tools/test --all makes an environment for it)"
        )
    if "s3" not in tf.io.gfile.get_registered_schemes():
        pytest.skip(f"tensorflow-io does not load on TensorFlow {tf.__version__}, but on 2.17")


@pytest.fixture(scope="session")
def bucket(tensorflow_io: None) -> Iterator[str]:
    """The address of a bucket of moto's stand-in for S3 on this machine."""
    pytest.importorskip("moto.server", reason="needs moto[server]")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    # In a process of its own: TensorFlow holds Python's lock while it waits for an answer.
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    settings = {"S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3_USE_HTTPS": "0", "S3_VERIFY_SSL": "0"}
    settings |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    settings |= {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything"}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            import boto3
            from botocore.config import Config

            with_retries = Config(retries={"max_attempts": 30, "mode": "standard"})
            boto3.client("s3", region_name="us-east-1", config=with_retries).create_bucket(Bucket="bucket")
            yield "s3://bucket"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session", params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An address to write to: of a folder of this machine, as TensorFlow's file systems call it, and of a bucket."""
    if request.param == "file":
        return f"file://{tmp_path_factory.mktemp('place')}"
    return str(request.getfixturevalue("bucket"))
