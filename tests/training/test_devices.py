"""Devices are those that were asked for, or one line says why not; precision follows the hardware."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from segapp.errors import InputError
from segapp.nets.precision import choose_precision, computing_in
from segapp.training.devices import batch_over, make_strategy, pays_to_compile, show_devices
from segapp.training.recipe import read_recipe


@pytest.fixture(autouse=True)
def nothing_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hardware decides, whatever precision the other tests are run in."""
    monkeypatch.delenv("SEGAPP_PRECISION", raising=False)


GPUS = ["GPU:0", "GPU:1", "GPU:2"]


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GPUs that TensorFlow sees, on a machine with `GPUS`."""
    seen = list(GPUS)

    def see(devices: list[str], kind: str) -> None:
        assert kind == "GPU"
        seen[:] = devices

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: GPUS)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(seen))
    monkeypatch.setattr(tf.config, "set_visible_devices", see)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, growing: None)
    return seen


@pytest.mark.parametrize(
    ("devices", "cpus", "gpus"),
    [
        ("auto", 0, GPUS),
        ("0,2", 0, ["GPU:0", "GPU:2"]),
        ("2, 1,1", 0, ["GPU:1", "GPU:2"]),
        ("cpu:1", 1, []),
        ("cpu:4", 4, []),
    ],
)
def test_no_other_gpus_than_those_asked_for_are_seen(
    devices: str, cpus: int, gpus: list[str], visible: list[str]
) -> None:
    assert show_devices(devices) == cpus
    assert visible == gpus


@pytest.mark.parametrize("devices", ["", "gpu", "cpu", "cpu:0", "cpu:x", "0,x", "-1", "all", "0;1"])
def test_devices_that_are_not_understood_are_one_line(devices: str) -> None:
    with pytest.raises(InputError, match="give auto, numbers of GPUs as in 0,1, or cpu:N"):
        make_strategy(devices)


def test_a_gpu_that_is_not_there_is_named_beside_those_that_are(visible: list[str]) -> None:
    with pytest.raises(InputError, match=r"devices '1,3,5': there is no GPU 3, 5; there are 0, 1, 2$"):
        make_strategy("1,3,5")
    assert visible == GPUS


def test_a_gpu_where_there_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(InputError, match=r"there is no GPU 0; there is none here$"):
        make_strategy("0")


def test_other_gpus_than_tensorflow_runs_with_need_a_fresh_process(
    visible: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def see(devices: list[str], kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", see)
    assert show_devices("0,1,2") == 0
    with pytest.raises(InputError, match="fresh process"):
        show_devices("0")


@given(st.integers(1, 200), st.integers(1, 16))
def test_a_batch_is_shared_out_whole_or_the_nearest_is_named(batch: int, replicas: int) -> None:
    strategy = SimpleNamespace(num_replicas_in_sync=replicas)
    if batch % replicas == 0:
        each = f"global batch {batch} over {replicas} devices, {batch // replicas} each"
        assert batch_over(strategy, batch) == (each if replicas > 1 else "")
        return
    with pytest.raises(InputError, match=rf"a batch of {batch} does not divide over {replicas} devices") as error:
        batch_over(strategy, batch)
    nearest = int(str(error.value).rpartition(" ")[2])
    multiples = range(replicas, 400 + replicas, replicas)
    assert abs(nearest - batch) == min(abs(multiple - batch) for multiple in multiples) and nearest in multiples


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 fma", "float32"), ("fpu avx2 avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16")],
)
def test_cpus_with_bfloat16_units_compute_in_it(flags: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(Path, "read_text", lambda self: f"processor : 0\nflags\t\t: {flags}\nbugs : none\n")
    assert choose_precision("auto") == precision


@pytest.mark.parametrize(
    ("capabilities", "precision"), [([(9, 0)], "bfloat16"), ([(8, 0), (7, 5)], "float16"), ([(6, 1)], "float32")]
)
def test_gpus_compute_in_what_the_oldest_has_units_for(
    capabilities: list[tuple[int, int]], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: range(len(capabilities)))
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capabilities[gpu]}
    )
    assert choose_precision("auto") == precision


def test_a_precision_that_is_given_is_taken() -> None:
    assert choose_precision("float16") == "float16"


def test_the_callers_policy_is_restored() -> None:
    before = keras.config.dtype_policy().name
    with computing_in("bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    ("device", "steps", "filters", "pays"),
    [
        ("/gpu:0", 6_000, 16, False),
        ("/gpu:0", 10_000, 16, True),
        ("/gpu:0", 3_000, 64, True),
        ("/gpu:0", 300, 64, False),
        ("/cpu:0", 10_000, 64, False),
    ],
)
def test_a_step_is_compiled_where_a_training_is_long_enough(device: str, steps: int, filters: int, pays: bool) -> None:
    recipe = read_recipe("default", {"steps": steps, "patch_size": 256})
    recipe = recipe.model_copy(update={"network": recipe.network.model_copy(update={"filters": filters})})
    strategy = SimpleNamespace(extended=SimpleNamespace(worker_devices=(device.upper(),)))
    assert pays_to_compile(recipe, steps, strategy) == pays
    assert not pays_to_compile(recipe.model_copy(update={"compile": "never"}), steps, strategy)
