"""Recipes are strict data, and `matlab-multispectral` is MathWorks' example to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from segapp.errors import InputError
from segapp.training.recipe import read_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along_is_valid(name: str) -> None:
    assert read_recipe(name).description


def test_the_matlab_recipe_is_the_forum_users_setting() -> None:
    recipe = read_recipe("matlab-multispectral")
    assert (recipe.patch_size, recipe.patches_per_image, recipe.batch, recipe.epochs) == (256, 1000, 8, 10)
    assert recipe.input == "zerocenter" and recipe.average == 0
    optimizer = recipe.optimizer
    assert (optimizer.name, optimizer.momentum, optimizer.l2, optimizer.decay) == ("sgdm", 0.9, 1e-4, 0)
    assert (optimizer.clip, optimizer.clip_by) == (0.05, "parameter")
    schedule = recipe.schedule
    assert (schedule.name, schedule.rate, schedule.drop_factor, schedule.drop_epochs) == ("piecewise", 0.05, 0.1, 10)
    assert schedule.warmup == 0
    loss = recipe.loss
    assert (loss.cross_entropy, loss.dice, loss.focal, loss.class_weights) == (1, 0, 0, "none")
    assert (recipe.network.depth, recipe.network.filters, recipe.network.dropout) == (4, 64, 0.5)
    assert not recipe.network.batch_norm and not recipe.sampling.balance
    augmentation = recipe.augmentation
    assert not any(augmentation.model_dump().values())


def test_an_epoch_is_patches_per_image_times_images_over_batch() -> None:
    recipe = read_recipe("matlab-multispectral")
    assert recipe.steps_per_epoch(3) == 375
    assert recipe.total_steps(3) == 3750


def test_any_number_of_devices_takes_the_steps_of_a_recipe_with_a_global_batch() -> None:
    recipe = read_recipe("default")
    assert recipe.for_devices(4) is recipe


@pytest.mark.parametrize(("name", "growth"), [("sgdm", 4), ("adam", 2), ("adamw", 2)])
def test_a_batch_of_each_device_sees_as_many_patches_in_fewer_steps(name: str, growth: int) -> None:
    """At a rate that grows with the batch, by the rule for the optimizer."""
    recipe = read_recipe("default", {"batch_of": "device", "optimizer": {"name": name}})
    assert recipe.for_devices(1).model_copy(update={"batch_of": "device"}) == recipe
    four = recipe.for_devices(4)
    assert four.batch == 4 * recipe.batch and four.batch * four.total_steps(10) == recipe.batch * recipe.total_steps(10)
    assert four.schedule.rate == pytest.approx(growth * recipe.schedule.rate)
    assert four.validation.every * 4 == recipe.validation.every
    assert four.average == pytest.approx(recipe.average**4)
    assert four.for_devices(4) == four  # what a model's provenance holds is run as it stands


def test_a_batch_of_each_device_keeps_epochs() -> None:
    recipe = read_recipe("matlab-multispectral", {"batch_of": "device"})
    assert recipe.for_devices(5).total_steps(3) * 5 == recipe.total_steps(3)


def test_overrides_replace_settings() -> None:
    recipe = read_recipe("matlab-multispectral", {"steps": 7, "patch_size": 64, "epochs": None})
    assert (recipe.total_steps(3), recipe.patch_size, recipe.epochs) == (7, 64, 10)


def test_epochs_put_the_recipes_steps_aside() -> None:
    assert read_recipe("default").total_steps(10) == 6000
    assert read_recipe("default", {"epochs": 2, "patches_per_image": 80}).total_steps(10) == 200
    assert read_recipe("default", {"epochs": 2, "steps": 7}).total_steps(10) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 1\nbach = 8", "unknown key 'bach'; did you mean 'batch'"),
        ("schema = 1\n[optimizer]\nmomentun = 0.9", "unknown key 'optimizer.momentun'; did you mean 'momentum'"),
        ("schema = 1\nbatch = 0", "batch: .*greater than or equal to 1, not 0"),
        ("schema = 1\n[schedule]\nname = 'cosin'", "schedule.name"),
        ("batch = 8", "schema is missing"),
        ("schema = 2", "schema"),
        ("batch = ", "is no valid TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_recipe(str(file))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="matlab-multispectral"):
        read_recipe("matlab")


def test_a_recipe_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_recipe(str(tmp_path / "none.toml"))
