"""The plan says what will happen, before anything does."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from segapp.model.base import Base
from segapp.samples.landscape import BANDS
from segapp.transfer.finetune import plan_finetune
from segapp.transfer.plan import Plan, print_plan
from segapp.transfer.strategy import read_strategy
from tests.transfer.conftest import NAMES, tiny_strategy

NEW_NAMES = ["lake", "forest", "grass", "crop", "rock", "built"]


@pytest.fixture(scope="module")
def plan(base_folder: Path, samples: Path) -> Plan:
    """Of a transfer to the base's own data."""
    return plan_finetune(base_folder, samples, strategy=tiny_strategy())


def _printed(plan: Plan) -> str:
    console = Console(file=StringIO(), width=150)
    print_plan(plan, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_blocks_and_phases_add_up_to_the_network(plan: Plan, base: Base) -> None:
    assert [phase.name for phase in plan.phases] == ["decoder", "all"]
    assert [phase.steps for phase in plan.phases] == [5, 7]
    for phase in plan.phases:
        assert sum(block.parameters for block in phase.blocks) == base.model.count_params()
    decoder, everything = ({block.block: block for block in phase.blocks} for phase in plan.phases)
    assert {name for name, block in decoder.items() if block.trainable} == {"decoder_stage_1", "head"}
    assert decoder["encoder_stage_1"].setting == "frozen" and decoder["head"].setting == "x 1"
    assert all(block.trainable == block.parameters for block in everything.values())


def test_the_plan_of_the_bases_own_data_keeps_everything(plan: Plan, base_folder: Path) -> None:
    assert plan.base == str(base_folder) and (plan.training_scenes, plan.validation_scenes) == (2, 1)
    assert [band.base for band in plan.bands] == list(BANDS) and {b.statistics for b in plan.bands} == {"the base's"}
    assert [entry.base for entry in plan.classes] == [(name,) for name in NAMES]
    assert not (plan.dropped_bands or plan.dropped_classes or plan.distilled or plan.notes or plan.folds)
    assert plan.base_is_candidate and plan.guarded
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_the_printed_plan_has_tables_of_bands_classes_and_phases(plan: Plan) -> None:
    text = _printed(plan)
    for name in (*BANDS, *NAMES, "encoder_stage_1", "bridge", "decoder_stage_1", "frozen", "decoder", "all"):
        assert name in text
    assert f"{plan.classes[0].pixels:,}" in text and "5 steps at 0.003" in text and "final_conv_2" in text
    trainable = sum(block.trainable for block in plan.phases[0].blocks)
    assert f"{trainable:,} trainable" in text
    assert "2 scenes to train on, 1 to validate on; the base competes." in text


def test_a_plan_without_phases_prints_no_table_of_them(base_folder: Path, samples: Path) -> None:
    plan = plan_finetune(base_folder, samples, strategy="head")
    assert plan.phases == () and "Phases" not in _printed(plan) and "fitted" in plan.head


@pytest.mark.parametrize(
    ("name", "overrides", "end"),
    [
        ("forum", {}, "nothing guards the result."),
        ("staged", {"head": "random"}, "the base does not compete."),
    ],
)
def test_the_plan_tells_what_guards_the_result(
    name: str, overrides: dict[str, object], end: str, base_folder: Path, samples: Path
) -> None:
    strategy = read_strategy(name, {"patch_size": 32, "steps": 4, **overrides})
    text = _printed(plan_finetune(base_folder, samples, strategy=strategy))
    assert end in text and "starts at random" in text


def test_new_classes_bands_and_folds_are_in_the_plan(base_folder: Path, dataset: Callable[..., Path]) -> None:
    data = dataset(bands=("nir", "blue"), classes=NEW_NAMES, roles=("train",))
    strategy = tiny_strategy({"name": "all", "rate": 1e-3, "layers": {"head": {"biases": 2}, "*": 0.5}})
    plan = plan_finetune(base_folder, data, strategy=strategy, class_map={"lake": ["water"]})
    assert [band.base for band in plan.bands] == ["nir", "blue"]
    assert plan.dropped_bands == ("green", "red", "swir1", "swir2")
    assert [entry.base for entry in plan.classes] == [("water",), ("forest",), ("grass",), ("crop",), (), ("built",)]
    assert plan.dropped_classes == ("bare",) and plan.folds == 2 and not plan.base_is_candidate
    text = _printed(plan)
    assert "their filters are removed: green, red, swir1, swir2" in text and "that end here: bare" in text
    assert "validated in 2 folds of them with a third of the steps each; the base cannot compete" in text
    assert "x 1, bias x 2" in text and "x 0.5" in text


def test_pixels_of_each_class_are_those_of_the_labels(plan: Plan, samples: Path) -> None:
    from segapp.data.dataset import read_dataset
    from segapp.windows import whole

    dataset = read_dataset(samples)
    for index, entry in enumerate(plan.classes):
        counts = [(s.read_labels(whole(s.shape)) == index).sum() for s in dataset.scenes("train")]
        assert entry.pixels == sum(counts) > 0 and entry.id == dataset.classes.ids[index]
