"""Where a server is, and what may be sent to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.prediction.conftest
from segapp.client.endpoint import Credentials, Endpoint, credentials_for, parse_endpoint, token_for
from segapp.errors import InputError
from segapp.prediction.predict import map_scenes
from tests.serving.service import Model
from tests.serving.stand_in import PROTOCOLS, classify, serving

write_scene = tests.prediction.conftest.write_scene


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whoever runs the tests stay out of them."""
    for name in ("SEGAPP_TOKEN", "SEGAPP_CA_CERTIFICATE"):
        monkeypatch.delenv(name, raising=False)


WRONG_ENDPOINTS = {
    "host:8500/unet6": "begins with none of grpc://",
    "ftp://host:8500/unet6": "begins with none of grpc://",
    "grpc://:8500/unet6": "names no host",
    "grpc://host/unet6": "names no port",
    "grpc://host:0/unet6": "names no port",
    "grpc://host:99999/unet6": "is no endpoint",
    "grpc://[::1:8500/unet6": "is no endpoint",
    "grpc://host:port/unet6": "is no endpoint",
    "grpc://host:8500": "names no model",
    "grpc://host:8500/": "names no model",
    "http://host:8501/v1/models/unet6": "names no model",
    "http://host:8501/unet6/versions/latest": "names no model",
    "http://host:8501/unet6:predict": "names no model",
    "http://me:secret@host:8501/unet6": "holds more than host, port and model",
    "http://host:8501/unet6?a=b": "holds more than host, port and model",
}


@pytest.mark.parametrize("text", WRONG_ENDPOINTS)
def test_an_endpoint_that_is_none_is_told_with_the_right_form(text: str) -> None:
    with pytest.raises(InputError, match=rf"{WRONG_ENDPOINTS[text]}.*write grpc://HOST:8500/MODEL"):
        parse_endpoint(text)


@given(
    st.sampled_from(["grpc", "grpcs", "http", "https"]),
    st.sampled_from(["localhost", "127.0.0.1", "::1", "models.example.org", "10.0.0.7"]),
    st.integers(1, 65535),
    st.text("abcXYZ019_.-", min_size=1),
    st.none() | st.integers(0, 2**40),
)
def test_an_endpoint_says_what_it_was_made_of(
    scheme: str, host: str, port: int, model: str, version: int | None
) -> None:
    endpoint = Endpoint(scheme, host, port, model, version)  # type: ignore[arg-type]
    assert parse_endpoint(str(endpoint)) == endpoint
    assert endpoint.on_this_machine == (host in ("localhost", "127.0.0.1", "::1"))


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_token_never_crosses_a_network_unencrypted(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGAPP_TOKEN", "s3cret")
    for host in ("models.example.org", "10.0.0.7", "localhost.example.org"):
        with pytest.raises(InputError, match=f"unencrypted; use {scheme}s?s://{host}:8500/unet6"):
            credentials_for(parse_endpoint(f"{scheme}://{host}:8500/unet6"))
    for text in (f"{scheme}://127.0.0.1:8500/unet6", f"{scheme}s://models.example.org:443/unet6"):
        assert credentials_for(parse_endpoint(text)).token == "s3cret"
    assert "s3cret" not in repr(Credentials("s3cret", None))


def test_variables_that_hold_no_token_or_no_certificate_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = parse_endpoint("grpcs://127.0.0.1:8500/unet6")
    monkeypatch.setenv("SEGAPP_TOKEN", "two words")
    with pytest.raises(InputError, match="SEGAPP_TOKEN: holds blanks"):
        credentials_for(endpoint)
    monkeypatch.delenv("SEGAPP_TOKEN")
    (tmp_path / "text.pem").write_text("no certificate")
    for file in ("none.pem", "text.pem"):
        monkeypatch.setenv("SEGAPP_CA_CERTIFICATE", str(tmp_path / file))
        with pytest.raises(InputError, match=f"{file}: holds no certificates in PEM .*correct SEGAPP_CA_CERTIFICATE"):
            credentials_for(endpoint)


def test_a_token_is_taken_from_a_file_as_it_is_at_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, file = parse_endpoint("grpcs://127.0.0.1:8500/unet6"), tmp_path / "token"
    monkeypatch.setenv("SEGAPP_TOKEN_FILE", str(file))
    with pytest.raises(InputError, match=r"token: cannot be read as a token .*correct SEGAPP_TOKEN_FILE"):
        token_for(endpoint)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert token_for(endpoint) == token


def test_comments_between_certificates_are_skipped(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Autorité de Genève\n".encode() + certificate.with_name("certificate.pem").read_bytes())
    monkeypatch.setenv("SEGAPP_CA_CERTIFICATE", str(bundle))
    authority = credentials_for(parse_endpoint("https://127.0.0.1:8501/unet6")).authority
    assert authority is not None and authority.startswith(b"-----BEGIN CERTIFICATE-----") and authority.isascii()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and its certificate for 127.0.0.1, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (Debian: openssl)")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=segapp test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_over_tls_a_token_is_sent_and_a_private_authority_must_be_named(
    protocol: str,
    certificate: Path,
    write_scene: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = write_scene(tmp_path / "scene.tif", (40, 50))
    with serving(protocol, Model(classify, token="s3cret"), certificate) as endpoint:
        with pytest.raises(InputError, match=r"its certificate is not trusted .*set SEGAPP_CA_CERTIFICATE"):
            map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)
        monkeypatch.setenv("SEGAPP_CA_CERTIFICATE", str(certificate.with_name("certificate.pem")))
        for token in (None, "another"):
            if token:
                monkeypatch.setenv("SEGAPP_TOKEN", token)
            with pytest.raises(InputError, match=r"who are you\?\); set SEGAPP_TOKEN"):
                map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True)
        monkeypatch.setenv("SEGAPP_TOKEN", "s3cret\n")
        (record,) = map_scenes(endpoint, scene, tmp_path / "map.tif", quiet=True).records
    assert "s3cret" not in record.model_dump_json()
