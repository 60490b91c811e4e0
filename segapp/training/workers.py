"""Training on several machines: what the workers of a cluster tell each other.

Every worker reads the same data and takes the same steps, each with its own share of the patches, and validates as the
others do, so that all decide alike when to stop. The chief alone writes to the output; the others work in a folder of
their own that vanishes. What they must know of the chief is sent to them, so no folder has to be shared.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segapp.errors import InputError
from segapp.model.bundle import MODEL_FILE, WEIGHTS_FILE, load
from segapp.patches.pipeline import PatchStream, Stream
from segapp.training.cluster import Cluster
from segapp.training.devices import make_strategy, show_devices
from segapp.training.fit import CHECKPOINT_FILE
from segapp.training.output import claimed
from segapp.training.versions import versions

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
"""What TensorFlow raises where another worker is gone."""
_VERSIONS = ("segapp", "tensorflow", "keras")


class Workers:
    """The workers of a training, of which this process is one, or the only one; none may leave out a call."""

    def __init__(self, cluster: Cluster, strategy: tf.distribute.Strategy) -> None:
        self.cluster, self.strategy = cluster, strategy

    def share(self, stream: Stream) -> Stream:
        """The stream of this worker's part of each batch."""
        if self.cluster.size == 1:
            return stream
        assert isinstance(stream, PatchStream)
        return replace(stream, worker=self.cluster.index, workers=self.cluster.size)

    def require_same(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError, on every worker, where one was started with other settings than the chief."""
        if self.cluster.size == 1:
            return
        settings = {**settings, "version of segapp, TensorFlow or Keras": [*map(versions().get, _VERSIONS)]}
        texts = (json.dumps(value, sort_keys=True) for value in settings.values())
        table = np.zeros((self.cluster.size, len(settings)), np.int64)
        table[self.cluster.index] = [zlib.crc32(text.encode()) for text in texts]
        for index, row in enumerate(table := self._sum(table)):
            for key, own, chiefs in zip(settings, row, table[0], strict=True):
                if own != chiefs:
                    raise InputError(
                        f"{self.cluster.name(index)}: has another {key} than the chief; start all workers with the "
                        "same command, files and versions"
                    )

    @contextmanager
    def folder(self, output: Path, resume: bool) -> Iterator[Path]:
        """The folder to work in: what the chief has `claimed`, and elsewhere one that vanishes and holds the
        chief's checkpoint. Raises InputError where the chief cannot claim it."""
        if self.cluster.size == 1:
            with claimed(output, resume) as partial:
                yield partial
            return
        with ExitStack() as stack:
            yield from self._shared_folder(lambda: stack.enter_context(claimed(output, resume)))

    def _shared_folder(self, claim: Callable[[], Path]) -> Iterator[Path]:
        partial = Path(os.fsdecode(self._from_chief(lambda: os.fsencode(claim()))))
        file = partial / CHECKPOINT_FILE
        checkpoint = self._from_chief(lambda: file.read_bytes() if file.exists() else b"")
        if self.cluster.chief:
            yield partial
            return
        with tempfile.TemporaryDirectory(prefix="segapp-worker-") as own:
            if checkpoint:
                (Path(own) / CHECKPOINT_FILE).write_bytes(checkpoint)
            try:
                yield Path(own)
            except InputError as error:  # which the chief raises, too, of its folder
                raise InputError(str(error).replace(own, str(partial))) from None

    def delivered(self, deliver: Callable[[], keras.Model], output: Path) -> keras.Model:
        """The model that `deliver` writes to `output` on the chief, on every worker, when it is whole."""
        if self.cluster.size == 1:
            return deliver()
        made: list[keras.Model] = []

        def write() -> bytes:
            made.append(deliver())
            return b""

        self._from_chief(write)
        files = {name: self._from_chief((output / name).read_bytes) for name in (MODEL_FILE, WEIGHTS_FILE)}
        if made:
            return made[0]
        with tempfile.TemporaryDirectory(prefix="segapp-worker-") as own:
            for name, content in files.items():
                (Path(own) / name).write_bytes(content)
            return load(own)

    def _from_chief(self, make: Callable[[], bytes]) -> bytes:
        """What `make` gives on the chief, on every worker; an InputError there is raised on every one."""
        content, failed = b"", False
        if self.cluster.chief:
            try:
                content = make()
            except InputError as error:
                content, failed = os.fsencode(str(error)), True
        size, failures = map(int, self._sum(np.array([len(content), failed], np.int64)))
        numbers = np.zeros(-(-size // 8), np.int64)
        numbers.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        received = self._sum(numbers).tobytes()[:size] if size else b""
        if failures:
            raise InputError(os.fsdecode(received))
        return received

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of all workers' int64 values."""
        return np.asarray(self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values), axis=None))


@contextmanager
def joined(cluster: Cluster, devices: str, say: Callable[[str], None]) -> Iterator[Workers]:
    """The workers of `cluster` with a strategy over the `devices` of each; inside, none may be lost.

    Must come before all else that TensorFlow does in this process. Raises InputError where devices or workers cannot
    be had, and ConnectionError in place of what TensorFlow raises where a worker is lost.
    """
    if cluster.size == 1:
        yield Workers(cluster, make_strategy(devices))
        return
    if show_devices(devices) > 1:
        raise InputError(f"devices '{devices}': each of several workers has one CPU device; give cpu:1 or more workers")
    try:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()])
    except RuntimeError:
        raise InputError("several workers: TensorFlow already runs in this process; train in a fresh one") from None
    cluster.meet(len(tf.config.get_visible_devices("GPU")) or 1, say)
    try:
        with _keeping_sigterm():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        yield Workers(cluster, strategy)
    except _LOST as error:
        raise ConnectionError(
            f"{cluster.blamed(str(error))} no longer answers; start all workers again with --resume"
        ) from None


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Hear SIGTERM as before: TensorFlow takes it to itself where it joins others, and does nothing."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    heard = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if heard is not None:
            signal.signal(signal.SIGTERM, heard)
