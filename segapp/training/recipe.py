"""Recipes: every setting of a training as data, readable without TensorFlow."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from segapp.configuration import Strict, read_toml, validate
from segapp.errors import InputError
from segapp.nets.config import UNetConfig
from segapp.nets.encoders.registry import PLAIN
from segapp.patches.augmentation import Augmentation
from segapp.patches.sampling import Sampling
from segapp.training.layer_settings import LayerSetting


class OptimizerConfig(Strict):
    """`decay` is decoupled weight decay (AdamW; Loshchilov and Hutter 2019); `l2` is coupled as in MATLAB, its
    gradient ``l2 * w`` added before clipping, on kernels but not on biases.

    `clip` bounds the L2 norm of each parameter's gradient (``by = "parameter"``, MATLAB's "l2norm") or of all
    gradients together (``by = "global"``, "global-l2norm"); left out, nothing is clipped.
    """

    name: Literal["sgdm", "adam", "adamw"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    decay: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    clip_by: Literal["parameter", "global"] = "global"


class ScheduleConfig(Strict):
    """Learning rate over time: `warmup` is the share of all steps in which the rate rises from 0.

    After it, "cosine" falls to 0 at the last step (Loshchilov and Hutter 2017); "piecewise" multiplies by
    `drop_factor` every `drop_epochs` epochs, as MATLAB does; "constant" stays.
    """

    name: Literal["constant", "piecewise", "cosine"] = "cosine"
    rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.0, ge=0, lt=1)
    drop_factor: float = Field(default=0.1, gt=0, le=1)
    drop_epochs: int = Field(default=10, ge=1)


class LossConfig(Strict):
    """The sum of the named terms, each with the given weight; at least one must be above 0.

    `class_weights` weight the cross entropy and the focal loss by the classes' shares of the labelled pixels:
    "inverse" frequency, or "median" frequency (Eigen and Fergus 2015), to the power of `class_weight_power`.
    """

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=0.0, ge=0)
    focal: float = Field(default=0.0, ge=0)
    focal_gamma: float = Field(default=2.0, ge=0)
    class_weights: Literal["none", "inverse", "median"] = "none"
    class_weight_power: float = Field(default=1.0, gt=0, le=1)


class ValidationConfig(Strict):
    """Validation every `every` steps (0: at the end of each epoch); `patience` validations without a better `score`
    end the training (0: never). The weights with the best score are the ones that are written."""

    every: int = Field(default=0, ge=0)
    patience: int = Field(default=0, ge=0)
    score: Literal["mean_iou", "global_accuracy"] = "mean_iou"
    keep: Literal["best", "last"] = "best"


NO_WEIGHTS = "none"


class Recipe(Strict):
    """A whole training. An epoch is ``patches_per_image * images // batch`` steps.

    `batch` is "global", shared out over all devices, so that any number of them takes the same steps; or that of each
    "device", so that several see as many patches in fewer steps: see `for_devices`.

    `encoder_weights` is "none", "imagenet" (Keras fetches them) or a file, for an encoder other than the plain one.
    With `freeze` "encoder" what came from there stays as it is for the share `unfreeze_at` of all steps, or throughout.
    `rates` gives blocks and layers factors of the learning rate, {"encoder_stage_*": 0.1}: the first pattern that fits
    decides, all else trains at the full rate, and an encoder that starts from weights at a tenth of it.
    """

    schema_version: Literal[1] = Field(alias="schema")
    description: str = ""
    patch_size: int = Field(default=128, ge=8, le=4096)
    patches_per_image: int = Field(default=100, ge=1)
    batch: int = Field(default=8, ge=1)
    batch_of: Literal["global", "device"] = "global"
    epochs: int = Field(default=10, ge=1)
    steps: int | None = Field(default=None, ge=1)
    input: Literal["log", "zscore", "zerocenter"] = "zscore"
    """How the network standardises each band; "log" its logarithm, or "zscore" where a band's mean is not positive."""
    average: float = Field(default=0.0, ge=0, lt=1)
    compile: Literal["auto", "never"] = "auto"
    """Whether XLA compiles the step: "auto" where it saves more time than it takes, in a long training on one GPU."""
    network: UNetConfig = UNetConfig()
    encoder_weights: str = NO_WEIGHTS
    freeze: Literal["none", "encoder"] = "none"
    unfreeze_at: float | None = Field(default=None, gt=0, lt=1)
    rates: dict[str, LayerSetting] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _encoder_settings_fit(self) -> Recipe:
        pretrained = self.encoder_weights != NO_WEIGHTS
        if pretrained and self.network.encoder == PLAIN:
            raise ValueError("encoder_weights: the plain encoder has none; choose another encoder, or finetune a model")
        if self.freeze == "encoder" and not pretrained:
            raise ValueError("freeze: an encoder without weights would stay random; give encoder_weights")
        if self.unfreeze_at and self.freeze == "none":
            raise ValueError('unfreeze_at: nothing is frozen; set freeze = "encoder"')
        if self.input == "zerocenter" and self.network.encoder != PLAIN:
            raise ValueError(f'input: {self.network.encoder} needs bands of one spread; choose "zscore" or "log"')
        return self

    def steps_per_epoch(self, images: int) -> int:
        """Steps of `batch` patches in one pass over `patches_per_image` patches of each image, at least 1."""
        return max(1, self.patches_per_image * images // self.batch)

    def total_steps(self, images: int) -> int:
        """Steps of the whole training: `steps` where given, else `epochs` epochs."""
        return self.steps or self.epochs * self.steps_per_epoch(images)

    def for_devices(self, devices: int) -> Recipe:
        """The same training with the global batch of so many devices: itself, if the batch is "global".

        Else the batch is multiplied by k devices, steps are divided by k, and the rate grows: by k for SGDM (Goyal et
        al. 2017, arXiv 1706.02677, who warm up), by the square root of k for Adam (Malladi et al. 2022, arXiv
        2205.10287). The average of the weights reaches back over as many patches as before.
        """
        if self.batch_of == "global":
            return self
        growth = devices if self.optimizer.name == "sgdm" else devices**0.5
        return self.model_copy(
            update={
                "batch": self.batch * devices,
                "batch_of": "global",
                "steps": self.steps and max(1, round(self.steps / devices)),
                "average": self.average**devices,
                "schedule": self.schedule.model_copy(update={"rate": self.schedule.rate * growth}),
                "validation": self.validation.model_copy(
                    update={"every": self.validation.every and max(1, round(self.validation.every / devices))}
                ),
            }
        )

    def unfreeze_step(self, images: int) -> int:
        """How many steps the encoder stays frozen."""
        if self.freeze == "none":
            return 0
        total = self.total_steps(images)
        return total if self.unfreeze_at is None else round(self.unfreeze_at * total)


def recipe_names() -> list[str]:
    """Names of the recipes that come with segapp."""
    folder = resources.files("segapp.training") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def recipe_with(recipe: str | Path | Recipe, overrides: dict[str, Any]) -> Recipe:
    """A `Recipe` as it is, or what `read_recipe` reads; InputError where a `Recipe` is to be overridden."""
    if not isinstance(recipe, Recipe):
        return read_recipe(recipe, overrides)
    for key, value in overrides.items():
        if value is not None:
            raise InputError(f"{key}: the recipe that is given says it already; change it there, or leave {key} out")
    return recipe


def read_recipe(name: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """A recipe by its name, or from a TOML file; `overrides` replace top-level settings where they
    are not None; epochs and patches per image also put the recipe's own number of steps aside, and "encoder" its
    network's encoder and depth.

    Raises InputError for an unknown name, an unknown key, or a value out of range.
    """
    if name in recipe_names():
        path = Path(str(resources.files("segapp.training") / "recipes" / f"{name}.toml"))
    elif str(name).endswith(".toml"):
        path = Path(name)
    else:
        raise InputError(f"there is no recipe '{name}'; choose {', '.join(recipe_names())}, or give a .toml file")
    table = read_toml(path)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    if {"epochs", "patches_per_image"} & set(given):
        table.pop("steps", None)  # who asks for epochs does not want the recipe's number of steps
    if "encoder" in given:
        network = table.get("network", {})
        table["network"] = {key: network[key] for key in network if key != "depth"} | {"encoder": given.pop("encoder")}
    return validate(Recipe, {**table, **given}, str(path))
