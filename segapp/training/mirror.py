"""Model directories that are trained into a remote place, as ``s3://bucket/models/x``."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segapp.errors import InputError
from segapp.remote import LAST, Function, States, download, file_system, remote_errors, state_of, upload, where_remote

_WAIT_SECONDS = 300.0  # after a failed upload: to find out that a store is away takes minutes


def makes_remote(function: Function) -> Function:
    """Decorates a training with the arguments `output`, `resume` and `callbacks`: a remote output is mirrored.

    ``<output>.partial`` gets what is there after every checkpoint, from where `resume` takes it, and what is whole gets
    its place in the end. Raises InputError where something lies there already, or nothing can be written; OSError,
    with everything kept in a local folder, where it can no longer be written in the end.
    """
    return where_remote("output", _mirrored)(function)


@contextmanager
def _mirrored(address: str, arguments: dict[str, Any]) -> Iterator[str]:
    import keras

    from segapp.training.cluster import read_cluster

    if not read_cluster().chief:  # which alone writes
        with tempfile.TemporaryDirectory(prefix="segapp-") as folder:
            arguments["output"] = Path(folder, Path(address).name)
            yield address
        return
    gfile, waiting = file_system(address), f"{address}.partial"
    if gfile.exists(f"{address}/model.json"):
        raise InputError(f"{address}: exists already; remove it or give another --output")
    if gfile.exists(waiting) and not arguments.get("resume"):
        raise InputError(f"{waiting}: holds an interrupted run; go on with --resume, or remove it")
    output = Path(tempfile.mkdtemp(prefix="segapp-"), Path(address).name)
    partial = output.with_name(f"{output.name}.partial")
    with remote_errors(waiting):
        download(waiting, partial)
        gfile.makedirs(waiting)
        with gfile.GFile(f"{waiting}/.claimed", "w") as claim:  # fails early where it cannot be written
            claim.write(address)
    uploaded: States = {}
    retry_at = 0.0

    class AfterCheckpoint(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            nonlocal retry_at
            newest = max((state_of(file) for file in partial.rglob(LAST[0])), default=None)
            if newest is None or newest in uploaded.values() or time.monotonic() < retry_at:
                return
            try:
                upload(partial, waiting, uploaded)
            except OSError as error:  # a training need not end because a store is away
                retry_at = time.monotonic() + _WAIT_SECONDS
                print(f"warning: {error}; this is tried again", file=sys.stderr)

    arguments |= {"output": output, "callbacks": [*arguments.get("callbacks", ()), AfterCheckpoint()]}
    try:
        with remote_errors(address, output):
            yield address
    except BaseException:
        if partial.exists():
            upload(partial, waiting, uploaded)
        else:
            gfile.rmtree(waiting)
        shutil.rmtree(output.parent)
        raise
    upload(output, address, {})
    gfile.rmtree(waiting)
    shutil.rmtree(output.parent)
    print(f"uploaded: {address}", file=sys.stderr)
