"""Strategies: how a pretrained network is brought to new data, as recipes with phases."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from segapp.configuration import Strict, read_toml, validate
from segapp.errors import InputError
from segapp.training.layer_settings import LayerSetting
from segapp.training.recipe import Recipe

HeadStart = Literal["fitted", "copied", "random"]


class Phase(Strict):
    """One stretch of training: `share` of the strategy's steps, at `rate`, with `layers` treated as given.

    The keys of `layers` are patterns over blocks ("encoder_stage_1", "bridge", "decoder_stage_*", "head") and layer
    names; the first that fits decides. Values are "frozen", a factor of the learning rate, or a table of factors.
    `classes` limits it to transfers in which all classes are the base's ("same"), so that the base can be made worse,
    or in which some are not ("new").
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    share: float = Field(default=1.0, gt=0, le=1)
    rate: float = Field(gt=0)
    classes: Literal["same", "new"] | None = None
    layers: dict[str, LayerSetting]


class Strategy(Recipe):
    """A whole transfer: where the head starts, what is kept in mind, and the phases that share the steps.

    `head` is "fitted" (logistic regression on the last feature map), "copied" (from classes that carry over), or
    "random". `distillation` weights the distillation from the base (0: none). `context` is the number of hidden units
    of a context branch that is fitted beside the network (0: none). With `guard` the model that is best on validation
    data is written, be it the base; without, the last.
    """

    name: str = "custom"
    head: HeadStart = "fitted"
    distillation: float = Field(default=1.0, ge=0)
    context: int = Field(default=0, ge=0, le=4096, multiple_of=4)
    guard: bool = True
    phases: tuple[Phase, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _network_is_the_bases(cls, data: Any) -> Any:
        for setting in data if isinstance(data, dict) else ():
            if setting in ("network", "encoder_weights"):
                raise ValueError(f"a strategy has no [{setting}]; that is the base's")
            if setting == "memory":
                raise ValueError("'memory' is called 'distillation'; rename it")
            if setting in ("freeze", "unfreeze_at", "rates"):
                raise ValueError(f"a strategy has no [{setting}]; say it in the layers of [[phases]]")
        return data

    @model_validator(mode="after")
    def _phases_have_names_of_their_own(self) -> Strategy:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError("phases need names of their own")
        return self

    def with_phases_for(self, classes: Literal["same", "new"]) -> Strategy:
        """The strategy with the phases for `classes` alone."""
        phases = tuple(phase for phase in self.phases if phase.classes in (None, classes))
        return self.model_copy(update={"phases": phases})

    def recipe_of(self, phase: Phase, images: int, share: float = 1.0, validates: bool = True) -> Recipe:
        """The recipe that trains one phase over `images` training scenes, in `share` of its steps.

        Where nothing `validates`, the last weights are kept.
        """
        shared = {name: getattr(self, name) for name in Recipe.model_fields if name in self.model_fields_set}
        total = sum(p.share for p in self.phases)
        steps = max(1, round(share * self.total_steps(images) * phase.share / total))
        schedule = self.schedule.model_copy(update={"rate": phase.rate})
        validation = self.validation if validates else self.validation.model_copy(update={"keep": "last"})
        return Recipe.model_construct(
            **{**shared, "schema_version": 1, "steps": steps, "schedule": schedule, "validation": validation}
        )


def strategy_names() -> list[str]:
    """Names of the strategies that come with segapp."""
    folder = resources.files("segapp.transfer") / "strategies"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def strategy_with(strategy: str | Path | Strategy, overrides: dict[str, Any]) -> Strategy:
    """A `Strategy` as it is, or what `read_strategy` reads; InputError where a `Strategy` is to be overridden."""
    if not isinstance(strategy, Strategy):
        return read_strategy(strategy, overrides)
    for key, value in overrides.items():
        if value is not None:
            raise InputError(f"{key}: the strategy that is given says it already; change it there, or leave {key} out")
    return strategy


def read_strategy(name: str | Path, overrides: dict[str, Any] | None = None) -> Strategy:
    """A strategy by its name or from a TOML file; `overrides` replace top-level settings where they are not None.

    Raises InputError for an unknown name, an unknown key, or a value out of range.
    """
    if name in strategy_names():
        path = Path(str(resources.files("segapp.transfer") / "strategies" / f"{name}.toml"))
    elif str(name).endswith(".toml"):
        path = Path(name)
    else:
        raise InputError(f"there is no strategy '{name}'; choose {', '.join(strategy_names())}, or give a .toml file")
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return validate(Strategy, {"name": path.stem, **read_toml(path), **given}, str(path))
