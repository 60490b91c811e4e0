"""On which devices a training runs, and how it is made repeatable."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence

import keras
import tensorflow as tf

from segapp.errors import InputError
from segapp.nets.hardware import take_memory_as_needed
from segapp.training.recipe import Recipe


def make_strategy(devices: str = "auto") -> tf.distribute.Strategy:
    """A `MirroredStrategy` over `devices`, as `show_devices` takes them.

    Raises InputError when they cannot be had, as after TensorFlow has already started with others.
    """
    cpus = show_devices(devices)
    if cpus:
        return tf.distribute.MirroredStrategy(_logical_cpus(cpus, devices))
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus] or ["/cpu:0"])


def show_devices(devices: str) -> int:
    """Let TensorFlow see `devices` alone, without starting it: "auto" (all GPUs, else the CPU), "0,1" (the GPUs of
    these numbers) or "cpu:2" (that many logical CPU devices). Returns how many CPU devices that asks for, or 0.

    Raises InputError where there are no such GPUs, or where TensorFlow has already started with others.
    """
    _keep_freed_memory()
    if devices == "auto":
        take_memory_as_needed()
        return 0
    kind, _, count = devices.partition(":")
    if kind == "cpu" and count.isdecimal() and int(count):
        _show_gpus([], devices)
        return int(count)
    if not all(number.strip().isdecimal() for number in devices.split(",")):
        raise InputError(f"devices '{devices}' are not known; give auto, numbers of GPUs as in 0,1, or cpu:N")
    numbers = sorted({int(number) for number in devices.split(",")})
    present = len(tf.config.list_physical_devices("GPU"))
    absent = [str(number) for number in numbers if number >= present]
    if absent:
        there = f"there are {', '.join(map(str, range(present)))}" if present else "there is none here"
        raise InputError(f"devices '{devices}': there is no GPU {', '.join(absent)}; {there}")
    _show_gpus(numbers, devices)
    take_memory_as_needed()
    return 0


def _show_gpus(numbers: Sequence[int], devices: str) -> None:
    """Let TensorFlow see these GPUs alone."""
    gpus = tf.config.list_physical_devices("GPU")
    wanted = [gpus[number] for number in numbers]
    if tf.config.get_visible_devices("GPU") != wanted:
        try:
            tf.config.set_visible_devices(wanted, "GPU")
        except RuntimeError:
            raise InputError(
                f"devices '{devices}': TensorFlow already runs with other GPUs; ask for them in a fresh process"
            ) from None


def _logical_cpus(wanted: int, devices: str) -> list[str]:
    if wanted > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * wanted)
    found = tf.config.list_logical_devices("CPU")
    if len(found) < wanted:
        raise InputError(
            f"devices '{devices}': TensorFlow already runs with {len(found)}; ask for them in a fresh process"
        )
    return [device.name for device in found[:wanted]]


def feed(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """The batches, on the GPU ahead of the step where a strategy has one: there a step would wait for the copy."""
    devices = strategy.extended.worker_devices
    if len(devices) > 1 or "GPU" not in devices[0]:  # replicas take their parts from the CPU's memory
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(devices[0], buffer_size=2))


def pays_to_compile(recipe: Recipe, steps: int, strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA saves more time in a training of `steps` than it takes.

    On one H200 it took half a minute to a minute more before the first step; then a step of 64 first filters and 16
    patches of 256 x 256 took 0.4 of the time, of 16 filters and 8 patches of 64 x 64 0.7 (tools/bench_gpu.py).
    """
    devices = strategy.extended.worker_devices
    if recipe.compile == "never" or len(devices) > 1 or "GPU" not in devices[0]:
        return False
    large = recipe.batch * recipe.patch_size**2 * recipe.network.filters**2 >= 1e9
    return steps >= (2_000 if large else 8_000)


def batch_over(strategy: tf.distribute.Strategy, batch: int) -> str:
    """How a global batch is shared out, in words; empty for a single device.

    Raises InputError where it does not divide.
    """
    replicas = strategy.num_replicas_in_sync
    if batch % replicas:
        nearest = max(1, (2 * batch + replicas) // (2 * replicas)) * replicas
        raise InputError(
            f"a batch of {batch} does not divide over {replicas} devices; the nearest that does is {nearest}"
        )
    if replicas == 1:
        return ""
    return f"global batch {batch} over {replicas} devices, {batch // replicas} each"


def _keep_freed_memory() -> None:
    """Have glibc keep what TensorFlow frees instead of handing it back.

    Else every training step on a CPU gets hundreds of megabytes anew, page by page, which takes as long as half of its
    arithmetic (tools/bench_allocator.py).
    """
    trim_threshold, mmap_max = -1, -4  # of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no mallopt
        allocator = ctypes.CDLL(None)
        allocator.mallopt(trim_threshold, 2**31 - 1)
        allocator.mallopt(mmap_max, 0)


def make_repeatable(seed: int) -> None:
    """Seed Keras, NumPy and Python, and on CPU make every operation deterministic."""
    keras.utils.set_random_seed(seed)
    if not tf.config.get_visible_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
