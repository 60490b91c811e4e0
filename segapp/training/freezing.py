"""Which layers may change, and how fast: patterns over blocks and layers, applied to a network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import keras

from segapp.errors import InputError
from segapp.nets.graph import analyse
from segapp.training.layer_settings import LayerSetting
from segapp.training.optimizers import VariableFactors

_NOISE = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


@dataclass(frozen=True)
class AssignedSetting:
    """What is done to one layer."""

    layer: str
    block: str
    parameters: int
    setting: LayerSetting


def assign_layer_settings(
    model: keras.Model,
    settings: Mapping[str, LayerSetting],
    source: str = "layers",
    otherwise: LayerSetting | None = None,
) -> list[AssignedSetting]:
    """What is done to each layer that has weights, drops features or adds noise, in the network's order.

    Patterns ("decoder_stage_*", "head", "*") are matched against a layer's block and its name; the first in order
    that fits decides. Layers that none covers are treated as `otherwise` says. Raises InputError naming `source` where
    that is not given, and for a pattern that fits no layer.
    """
    blocks = analyse(model).blocks
    assigned, used = [], set()
    for layer in model.layers:
        block = blocks[layer.name]
        if block == "input" or not (layer.weights or isinstance(layer, _NOISE)):
            continue
        names = (block, layer.name)
        fitting = [pattern for pattern in settings if any(fnmatchcase(name, pattern) for name in names)]
        setting = settings[fitting[0]] if fitting else otherwise
        if setting is None:
            raise InputError(
                f'{source}: no pattern covers layer \'{layer.name}\' of {block}; add one, as "*" = "frozen"'
            )
        used.update(fitting)
        assigned.append(AssignedSetting(layer.name, block, layer.count_params(), setting))
    for pattern in settings:
        if pattern not in used:
            known = sorted({name for a in assigned for name in (a.block, a.layer)})
            near = difflib.get_close_matches(pattern, known, n=1, cutoff=0.5)
            remedy = (
                f"did you mean '{near[0]}'?" if near else f"blocks are {', '.join(sorted({a.block for a in assigned}))}"
            )
            raise InputError(f"{source}: the pattern '{pattern}' fits no layer; {remedy}")
    return assigned


def freeze(model: keras.Model, assigned: list[AssignedSetting]) -> VariableFactors:
    """Freeze layers of a freshly built network as assigned; returns the factors of what stays trainable.

    A frozen layer takes no gradient step, its moving statistics stay, and it neither drops features nor adds noise.
    """
    of_variable: dict[str, tuple[float, float]] = {}
    for entry in assigned:
        layer, setting = model.get_layer(entry.layer), entry.setting
        layer.trainable = setting != "frozen"  # where False, batch normalisation also runs in inference mode
        if setting == "frozen":
            if isinstance(layer, _NOISE):
                setattr(layer, "stddev" if isinstance(layer, keras.layers.GaussianNoise) else "rate", 0.0)
            continue
        for variable in layer.trainable_variables:
            is_bias = variable.name == "bias"
            l2 = setting.bias_l2 if is_bias else float("kernel" in variable.name)
            of_variable[variable.path] = (setting.biases if is_bias else setting.weights, l2)
    factors = [of_variable[variable.path] for variable in model.trainable_variables]
    return VariableFactors(tuple(rate for rate, _ in factors), tuple(l2 for _, l2 in factors))
