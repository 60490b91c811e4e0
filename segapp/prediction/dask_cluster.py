"""Many scenes over the workers of a Dask cluster, a scene a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from segapp.errors import InputError
from segapp.maps.record import MapRecord
from segapp.prediction.job import Job
from segapp.scenes.band_files import Source


def map_on_cluster(
    address: str, job: Job, todo: Sequence[tuple[Source, Path]]
) -> Iterator[tuple[Source, MapRecord | Exception]]:
    """Have the workers of the scheduler at `address` map each scene to its file; yields them as they end.

    A scene whose worker dies is given to another. Workers must see the same files by the same paths. Raises
    InputError when Dask is not installed or the scheduler does not answer.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise InputError("--dask needs the package distributed; install segapp[dask]") from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: no Dask scheduler answers there ({error}); check the address") from None
    with client:
        scenes = {
            client.submit(job.run, file.resolve(), target.resolve(), key=f"segapp-{uuid4()}"): file
            for file, target in todo
        }
        for future in as_completed(scenes):
            try:
                yield scenes[future], future.result()
            except KilledWorker as error:
                yield scenes[future], error
