"""What a message may not hold."""

from __future__ import annotations

import pytest

from segapp.errors import InputError, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:s3cret@host/a.tif: no such file", "https://***@host/a.tif: no such file"),
        ("s3://key:secret@bucket/a", "s3://***@bucket/a"),
        (
            "https://host/a.tif?X-Amz-Credential=AK/1&X-Amz-Signature=0f1e&x=1: gone",
            "https://host/a.tif?X-Amz-Credential=***&X-Amz-Signature=***&x=1: gone",
        ),
        ("https://acc.blob/a?sv=2024&sig=abc%3D'", "https://acc.blob/a?sv=2024&sig=***'"),
        ("https://host/a.tif?access_token=s3cret", "https://host/a.tif?access_token=***"),
        ("a@b.tif, https://host/a@2.tif and grpc://host:8500/unet6", None),
    ],
)
def test_passwords_keys_and_signatures_become_stars(text: str, shown: str | None) -> None:
    assert str(InputError(text)) == without_secrets(text) == (shown or text)
