"""Remote places, as ``s3://bucket/models/x``, through TensorFlow's file systems; s3:// needs tensorflow-io.

Nobody works there: what reads a model gets a copy, and what makes one works in a local folder that is uploaded, the
file that makes it whole last, so that no reader finds half of it (`segapp.training.mirror`).
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import inspect
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from segapp.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
Context = Callable[[str, dict[str, Any]], AbstractContextManager[str]]
States = dict[Path, tuple[int, int]]

_ADDRESS = re.compile(r"([a-z][a-z0-9]+):/+(.+)")  # pathlib makes "s3:/bucket" of "s3://bucket"; "C:/" is a drive
INSTALL_TENSORFLOW_IO = (
    "pip install 'segapp[tfio]' into an environment of Python 3.11 or 3.12, which gets TensorFlow 2.17"
)
LAST = ("checkpoint.npz", "model.json", "saved_model.pb")  # whoever finds one of these takes its folder for whole


def address_of(path: str | Path) -> str | None:
    """``scheme://bucket/name`` where `path` is such a place, or what pathlib makes of one; None for local paths."""
    found = _ADDRESS.fullmatch(str(path))
    return f"{found[1]}:{'///' if found[1] == 'file' else '//'}{found[2].rstrip('/')}" if found else None


def fetched(address: str) -> Path:
    """A local copy of a remote file, or of the files of a model directory; it lasts as long as the process.

    Raises InputError where there is nothing to copy, or nothing to reach the place with.
    """
    gfile = file_system(address)
    with remote_errors(address):
        whole = f"{address}/model.json" if gfile.isdir(address) else address
        if not gfile.exists(whole):
            raise InputError(f"{address}: is no model directory or file, or cannot be reached; check the address")
        state: Any = gfile.stat(whole).mtime_nsec  # it is copied again where that has changed
        if whole != address:  # times are in whole seconds, but this names the hash of the weights
            with gfile.GFile(whole) as file:
                state = file.read()
        folder = Path(_copy(address, state).name)
    return folder / Path(address).name if whole == address else folder


@functools.cache
def _copy(address: str, state: Any) -> tempfile.TemporaryDirectory[str]:
    gfile, folder = file_system(address), tempfile.TemporaryDirectory(prefix="segapp-")
    names = gfile.listdir(address) if gfile.isdir(address) else [None]
    for file in (f"{address}/{name}" if name else address for name in names):
        if not gfile.isdir(file):
            gfile.copy(file, f"{folder.name}/{Path(file).name}")
    return folder


def reads_remote(parameter: str) -> Callable[[Function], Function]:
    """Decorates what reads the model directory `parameter`: where that is remote, it gets a copy (see `fetched`)."""

    @contextmanager
    def copied(address: str, arguments: dict[str, Any]) -> Iterator[str]:
        arguments[parameter] = copy = fetched(address)
        with remote_errors(address, copy):
            yield address

    return where_remote(parameter, copied)


def where_remote(parameter: str, context: Context) -> Callable[[Function], Function]:
    """A decorator: where the argument `parameter` is remote, calls in `context`, which may change the arguments.

    A path that is returned becomes what the context gives.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(function).bind(*args, **kwargs)
            address = address_of(bound.arguments[parameter])
            if address is None:
                return function(*args, **kwargs)
            with context(address, bound.arguments) as made:
                result = function(*bound.args, **bound.kwargs)
            return Path(made) if isinstance(result, Path) else result

        return call  # type: ignore[return-value]

    return decorate


def upload(folder: Path, address: str, uploaded: States) -> None:
    """Copy the files in `folder` that have changed since they were noted in `uploaded`, those of `LAST` last."""
    import tensorflow as tf

    files = [file for file in folder.rglob("*") if file.is_file() and "/." not in f"/{file.relative_to(folder)}"]
    for file in sorted(files, key=lambda file: (file.name in LAST, file)):
        target = f"{address}/{file.relative_to(folder).as_posix()}"
        try:
            if uploaded.get(file) != (state := state_of(file)):
                tf.io.gfile.makedirs(target.rpartition("/")[0])
                tf.io.gfile.copy(str(file), target, overwrite=True)
                uploaded[file] = state
        except tf.errors.OpError as error:
            why = f"cannot be written ({_reason(error)}); everything lies in {folder.parent}"
            raise OSError(f"{target}: {why}") from None


def download(address: str, folder: Path) -> None:
    """Copy all files in `address` but hidden ones; where there are none, `folder` is not made."""
    for place, _, names in file_system(address).walk(address):
        local = folder / place.removeprefix(address).strip("/")
        for name in (name for name in names if not name.startswith(".")):
            local.mkdir(parents=True, exist_ok=True)
            file_system(address).copy(f"{place.rstrip('/')}/{name}", str(local / name))


def file_system(address: str) -> Any:
    """TensorFlow's file operations; raises InputError where they do not reach `address`."""
    import tensorflow as tf

    scheme = address.partition(":")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        import_tensorflow_io()
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise InputError(
            f"{address}: TensorFlow {tf.__version__} cannot reach {scheme}:// by itself; {INSTALL_TENSORFLOW_IO}, or "
            "copy it to this machine"
        )
    if scheme == "s3":
        _end_untidily()
    return tf.io.gfile


def import_tensorflow_io() -> ModuleType | None:
    """tensorflow-io, which brings TensorFlow more file systems and readers; None where it is not installed.

    With another TensorFlow than its own it imports, but what is asked of it raises NotImplementedError.
    """
    with warnings.catch_warnings(), suppress(ImportError):
        warnings.simplefilter("ignore")  # it says at length that it does not suit this TensorFlow
        import tensorflow_io

        return tensorflow_io
    return None


@functools.cache
def _end_untidily() -> None:
    """Let this process end, with its own exit code, before tensorflow-io takes apart its S3 client, which aborts it."""

    def end() -> None:
        with suppress(AttributeError):  # glibc alone has it; what is registered last is called first
            c_library = ctypes.CDLL(None)
            c_library.fflush(None)
            c_library.on_exit(c_library._exit, None)

    atexit.register(end)


def state_of(file: Path) -> tuple[int, int]:
    """What changes with a file's content."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@contextmanager
def remote_errors(address: str, copy: Path | None = None) -> Iterator[None]:
    """Errors of the place become InputError, and messages call `copy` what it is a copy of."""
    import tensorflow as tf

    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(copy or address), address)) from None
    except tf.errors.OpError as error:
        if copy is not None:
            raise  # of the training itself
        raise InputError(f"{address}: cannot be used ({_reason(error)}); check address and credentials") from None


def _reason(error: Any) -> str:
    return str(error.message).partition("\n")[0]
