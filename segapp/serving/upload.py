"""Exports that are made in a remote place, as ``s3://bucket/serving/x``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segapp.errors import InputError
from segapp.remote import Function, file_system, remote_errors, state_of, upload, where_remote


def exports_remote(function: Function) -> Function:
    """Decorates an export with the arguments `output` and `next`: what it makes is uploaded to a remote output.

    Files beside a version that are there already stay as they are. Raises InputError as `makes_remote` does.
    """
    return where_remote("output", _uploaded)(function)


@contextmanager
def _uploaded(address: str, arguments: dict[str, Any]) -> Iterator[str]:
    gfile = file_system(address)
    if arguments.get("next"):
        names = [name.rstrip("/") for name in gfile.listdir(address)] if gfile.exists(address) else []
        address = f"{address}/{max((int(name) for name in names if name.isdigit()), default=0) + 1}"
        arguments["next"] = False
    if gfile.exists(address):
        raise InputError(f"{address}: exists already; give another --output")
    beside = address.rpartition("/")[0]
    output = Path(tempfile.mkdtemp(prefix="segapp-"), Path(beside).name, Path(address).name)
    arguments["output"] = output
    try:
        with remote_errors(address, output):
            yield address
    except BaseException:
        shutil.rmtree(output.parents[1])
        raise
    there = {file: state_of(file) for file in output.parent.iterdir() if gfile.exists(f"{beside}/{file.name}")}
    upload(output.parent, beside, there)
    shutil.rmtree(output.parents[1])
    print(f"uploaded: {address}", file=sys.stderr)
