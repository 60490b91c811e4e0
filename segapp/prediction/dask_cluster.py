"""Many scenes over the workers of a Dask cluster, a scene a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from segapp.errors import InputError
from segapp.inference.engine import EngineLostError
from segapp.maps.record import MapRecord
from segapp.prediction.job import Job
from segapp.scenes.band_files import Source


def map_on_cluster(
    address: str, job: Job, todo: Sequence[tuple[Source, Path]], say: Callable[[str], object] = lambda line: None
) -> Iterator[tuple[Source, MapRecord | Exception]]:
    """Have the workers of the scheduler at `address` map each scene to its file; yields them as they end.

    A scene whose worker dies is given to another. Workers must see the same files by the same absolute paths. While
    there is no worker, `say` is told so. Raises InputError when Dask is not installed or the scheduler does not answer,
    and EngineLostError when it is lost on the way.
    """
    try:
        from distributed import CancelledError, Client, KilledWorker, as_completed
    except ImportError:
        raise InputError("--dask needs the package distributed; install segapp[dask]") from None
    if isinstance(job.model, Path):
        job = replace(job, model=job.model.resolve())
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: no Dask scheduler answers there ({error}); check the address") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told here, in one line
    with client:
        if not client.scheduler_info()["workers"]:
            say(f"{address}: the scheduler has no worker yet; start one with: dask worker {address}")
        scenes = {
            client.submit(job.run, file.resolve(), target.resolve(), key=f"segapp-{uuid4()}"): file
            for file, target in todo
        }
        try:
            for future in as_completed(scenes):
                try:
                    yield scenes[future], future.result()
                except KilledWorker as error:
                    yield scenes[future], error
        except (CancelledError, OSError):
            raise EngineLostError(f"{address}: the Dask scheduler is lost; start it, and go on with --resume") from None
