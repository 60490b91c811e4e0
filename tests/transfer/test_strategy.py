"""Strategies are recipes with phases: shipped ones fit a U-Net, mistakes in one's own are one line."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.errors import InputError
from segapp.nets.config import UNetConfig
from segapp.nets.unet import unet
from segapp.training.freezing import assign_layer_settings
from segapp.training.layer_settings import LayerFactors
from segapp.transfer.strategy import Phase, Strategy, read_strategy, strategy_names
from tests.transfer.conftest import tiny_strategy


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return unet(6, 7, UNetConfig(filters=2))


@pytest.mark.parametrize("name", strategy_names())
def test_a_shipped_strategy_covers_a_u_net_and_says_what_it_is_expected_to_do(name: str, network: keras.Model) -> None:
    strategy = read_strategy(name)
    assert strategy.name == name and "xpected" in strategy.description
    for phase in strategy.phases:
        settings = {entry.setting for entry in assign_layer_settings(network, phase.layers) if entry.block == "head"}
        assert settings and "frozen" not in settings


def test_the_default_is_staged_and_its_phases_thaw_from_the_head_on(network: keras.Model) -> None:
    assert {"head", "full", "staged", "surgical", "forum"} == set(strategy_names())
    for classes in ("same", "new"):
        thawed: set[str] = set()
        for phase in read_strategy("staged").with_phases_for(classes).phases:
            now = {entry.block for entry in assign_layer_settings(network, phase.layers) if entry.setting != "frozen"}
            assert thawed < now
            thawed = now
        assert "encoder_stage_1" in thawed


def test_where_the_base_can_be_made_worse_staged_trains_more_gently() -> None:
    staged = read_strategy("staged")
    same, new = (max(phase.rate for phase in staged.with_phases_for(classes).phases) for classes in ("same", "new"))
    assert same < new


def test_the_failing_recipe_is_the_forums_to_the_letter() -> None:
    forum = read_strategy("forum")
    (phase,) = forum.phases
    options = forum.recipe_of(phase, images=1)
    assert (options.optimizer.name, options.schedule.name, options.schedule.rate) == ("sgdm", "constant", 1e-4)
    assert (options.batch, forum.epochs, forum.patches_per_image, forum.patch_size) == (8, 5, 500, 256)
    assert options.total_steps(1) == 5 * (500 // 8) and options.validation.every == 100 // 8
    assert phase.layers == {"head": LayerFactors(weights=10, biases=10, bias_l2=0), "*": LayerFactors()}
    assert (forum.head, forum.distillation, forum.guard, options.validation.keep) == ("random", 0, False, "last")


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    st.one_of(st.integers(5, 1000), st.none()),
    st.integers(1, 9),
)
def test_phases_share_the_steps_and_have_rates_of_their_own(
    shares: list[float], steps: int | None, images: int
) -> None:
    phases = [
        {"name": f"p-{number}", "share": share, "rate": 10.0**-number, "layers": {"*": 1}}
        for number, share in enumerate(shares)
    ]
    strategy = tiny_strategy(*phases, steps=steps, epochs=50, schedule={"warmup": 0.2})
    recipes = [strategy.recipe_of(phase, images) for phase in strategy.phases]
    total = strategy.total_steps(images)
    for share, phase, recipe in zip(shares, strategy.phases, recipes, strict=True):
        assert abs(recipe.total_steps(images) - total * share / sum(shares)) <= 1
        assert (recipe.schedule.rate, recipe.schedule.warmup) == (phase.rate, 0.2)
        assert (recipe.batch, recipe.patch_size) == (strategy.batch, strategy.patch_size)


def test_settings_given_beside_a_strategy_replace_its_own() -> None:
    changed = read_strategy("staged", {"steps": 7, "patch_size": 32, "head": "random", "batch": None})
    assert (changed.steps, changed.patch_size, changed.head) == (7, 32, "random")
    assert changed.batch == read_strategy("staged").batch and changed.phases == read_strategy("staged").phases


PHASE = '[[phases]]\nname = "all"\nrate = 1e-3\nlayers = { "*" = 1 }\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PHASE.replace("= 1 }", "= 0 }"), r'phases\.0\.layers\.\*: a factor of 0 is written "frozen"'),
        (PHASE.replace("= 1 }", "= { weights = 0 } }"), r'layers\.\*\.weights: a factor of 0 is written "frozen"'),
        (PHASE.replace("= 1 }", "= { biases = 0.0 } }"), r'layers\.\*\.biases: a factor of 0 is written "frozen"'),
        (PHASE.replace("= 1 }", "= -1 }"), r"greater than 0"),
        (PHASE.replace("= 1 }", '= "frosen" }'), r"phases\.0\.layers\.\*.*'frozen'"),
        (PHASE.replace("= 1 }", "= { wieghts = 1 } }"), "unknown key .*wieghts'; did you mean 'weights'"),
        (PHASE + PHASE, "phases need names of their own"),
        (PHASE.replace("rate", "raet"), "unknown key 'phases.0.raet'; did you mean 'rate'"),
        (PHASE.replace('"all"', '"All of it"'), "phases.0.name"),
        ("[network]\ndepth = 2\n", r"a strategy has no \[network\]; that is the base's"),
        ('head = "new"\n', "head: .*'fitted', 'copied' or 'random'"),
        ("distillation = -1\n", "distillation"),
    ],
)
def test_a_mistake_in_a_strategy_is_one_line_naming_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("schema = 1\n" + text)
    with pytest.raises(InputError, match=message) as error:
        read_strategy(str(file))
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_a_strategy_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    layers = '{ "head" = { weights = 10, biases = 20, bias_l2 = 0.5 }, "bridge" = 0.5, "*" = "frozen" }'
    (tmp_path / "mine.toml").write_text("schema = 1\n" + PHASE.replace('{ "*" = 1 }', layers))
    strategy = read_strategy(str(tmp_path / "mine.toml"))
    assert isinstance(strategy, Strategy) and strategy.name == "mine"
    expected = {
        "head": LayerFactors(weights=10, biases=20, bias_l2=0.5),
        "bridge": LayerFactors(weights=0.5, biases=0.5),
        "*": "frozen",
    }
    assert strategy.phases == (Phase(name="all", rate=1e-3, layers=expected),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "there is no strategy 'nosuch'; choose forum, full, head, staged, surgical, or give a .toml file"),
        ("nosuch.toml", "nosuch.toml: no such file"),
    ],
)
def test_an_unknown_strategy_says_which_there_are(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_strategy(name)
