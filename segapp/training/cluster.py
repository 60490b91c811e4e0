"""The machines of a training, as TF_CONFIG describes them, and how they meet."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from segapp.configuration import validate
from segapp.errors import InputError

VARIABLE = "TF_CONFIG"
JOIN_SECONDS = 600.0
"""How long workers wait for each other: a batch system may start them minutes apart."""
_ADDRESS = re.compile(r"(\S+):([0-9]{1,5})")
_JOBS = ("chief", "worker")
_GREETING = "segapp worker"


class _Lenient(BaseModel):
    """A table of TF_CONFIG, in which batch systems write more than segapp reads."""

    model_config = ConfigDict(frozen=True)


class _Task(_Lenient):
    type: str
    index: int = Field(ge=0)


class _TfConfig(_Lenient):
    cluster: dict[str, list[str]] = Field(default_factory=dict)
    task: _Task | None = None

    @field_validator("cluster")
    @classmethod
    def _addresses(cls, cluster: dict[str, list[str]]) -> dict[str, list[str]]:
        addresses = [address for job in cluster.values() for address in job]
        for address in addresses:
            found = _ADDRESS.fullmatch(address)
            if not found or not 0 < int(found[2]) < 1 << 16:
                raise ValueError(f"'{address}' is no address; write host:port")
            if addresses.count(address) > 1:
                raise ValueError(f"{address} is there twice; give each worker a host or a port of its own")
        return cluster


@dataclass(frozen=True)
class Cluster:
    """The workers by address, host:port, the chief first; `index` is the place of this one among them."""

    addresses: tuple[str, ...] = ("localhost:0",)
    index: int = 0
    chief_apart: bool = False
    """Whether the chief is a job of its own in TF_CONFIG, so that TensorFlow's worker 0 is the second."""

    @property
    def size(self) -> int:
        """How many workers there are; 1 where nothing is said of a cluster."""
        return len(self.addresses)

    @property
    def chief(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A worker in messages."""
        return f"worker {index} of {self.size} ({self.addresses[index]})"

    def blamed(self, error: str) -> str:
        """The worker that an error of TensorFlow names, or that it is one of the others."""
        for job, task in re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", error):
            index = int(task) + (job == "worker" and self.chief_apart)
            if index != self.index and index < self.size:
                return self.name(index)
        return f"another worker than {self.name(self.index)}"

    def meet(self, devices: int, say: Callable[[str], None], seconds: float = JOIN_SECONDS) -> None:
        """Wait until all workers are there, each with the given number of devices.

        TensorFlow would wait for an hour, deaf to Ctrl-C and SIGTERM, without saying for whom; and for ever where one
        has more devices than another. Raises InputError, on all that are there, naming the workers that do not come
        within `seconds` or have other devices; and where this worker's port is taken.
        """
        deadline = time.monotonic() + seconds
        with closing(self._door()) as door:
            if self.chief:
                self._receive(door, devices, say, deadline)
                return
        while not self._report(devices, deadline):
            if time.monotonic() > deadline:
                raise InputError(self._late(0))
            time.sleep(0.2)

    def _door(self) -> socket.socket:
        port = int(self.addresses[self.index].rpartition(":")[2])
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            door = socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=4 * self.size)
        except OSError as error:
            raise InputError(
                f"{VARIABLE}: {self.name(self.index)} cannot listen there ({error.strerror}); end what holds the port, "
                "or give another"
            ) from None
        door.settimeout(0.2)
        return door

    def _receive(self, door: socket.socket, devices: int, say: Callable[[str], None], deadline: float) -> None:
        """As the chief, hold the line of each worker until all are there, and tell them how it ends."""
        lines: dict[int, socket.socket] = {}
        counts: dict[int, int] = {}
        wrong, said = "", False
        while not wrong and (absent := [index for index in range(1, self.size) if index not in lines]):
            if not said:
                say(f"waiting for {', '.join(map(self.name, absent))}")
                said = True
            if time.monotonic() > deadline:
                wrong = self._late(*absent)
            with suppress(OSError):  # nobody came, or left before a word was said
                line = door.accept()[0]
                line.settimeout(2)
                word = line.makefile("r", errors="replace").readline(99)
                greeting = re.fullmatch(rf"{_GREETING} (\d+) (\d+)\n", word)
                if greeting and 0 < (index := int(greeting[1])) < self.size:
                    lines[index], counts[index] = line, int(greeting[2])
            lines = {index: line for index, line in lines.items() if not _left(line)}
        for index, count in counts.items():
            if count != devices and not wrong:
                wrong = (
                    f"{self.name(index)}: has {count} devices, and {self.name(0)} {devices}; give all the same number "
                    "with --devices"
                )
        for line in lines.values():
            with closing(line), suppress(OSError):
                line.sendall(f"{_GREETING} {wrong}\n".encode())
        if wrong:
            raise InputError(wrong)

    def _report(self, devices: int, deadline: float) -> bool:
        """As another worker, call the chief and wait for the others; whether all are there."""
        host, _, port = self.addresses[0].rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=2) as line:
                line.sendall(f"{_GREETING} {self.index} {devices}\n".encode())
                line.settimeout(max(1, deadline - time.monotonic() + 1))
                answer = line.makefile("r", errors="replace").readline(9999)
        except OSError:  # not there yet
            return False
        if not answer.startswith(_GREETING):  # somebody else, or left while we waited
            return False
        if wrong := answer.removeprefix(_GREETING).strip():
            raise InputError(wrong)
        return True

    def _late(self, *absent: int) -> str:
        return f"{', '.join(map(self.name, absent))}: did not come in time; start all workers together"


def _left(line: socket.socket) -> bool:
    """Whether the other end has hung up."""
    line.setblocking(False)
    try:
        return not line.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def read_cluster() -> Cluster:
    """The cluster that the environment variable TF_CONFIG describes, in the format of TensorFlow, Kubernetes' training
    operator and Vertex AI; without it, or where it names one worker, a cluster of this process alone.

    Raises InputError where it cannot be understood, or has tasks other than chief and worker.
    """
    try:
        data = json.loads(os.environ.get(VARIABLE, "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{VARIABLE}: is no valid JSON ({error}); set it anew, or unset it") from None
    config = validate(_TfConfig, data, VARIABLE)
    jobs = {job: addresses for job, addresses in config.cluster.items() if addresses}
    addresses = tuple(address for job in _JOBS for address in jobs.get(job, ()))
    other = next((job for job in (*jobs, *([config.task.type] if config.task else [])) if job not in _JOBS), None)
    if other:
        raise InputError(
            f"{VARIABLE}: has a task '{other}', for which a training has no use: its workers hold the weights and "
            "validate; give it chief and worker alone"
        )
    if len(addresses) < 2:
        return Cluster()
    chiefs = len(jobs.get("chief", ()))
    if chiefs > 1:
        raise InputError(f"{VARIABLE}: cluster.chief has {chiefs} addresses; only one worker can be the chief")
    if config.task is None:
        raise InputError(f"{VARIABLE}: task is missing; add which of the {len(addresses)} workers this one is")
    if config.task.index >= len(jobs.get(config.task.type, ())):
        raise InputError(
            f"{VARIABLE}: task is {config.task.type} {config.task.index}, which cluster does not have; count from 0"
        )
    return Cluster(addresses, config.task.index + (chiefs if config.task.type == "worker" else 0), chiefs > 0)
