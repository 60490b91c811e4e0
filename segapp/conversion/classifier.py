"""Which layer of a network is its classifier, the head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segapp.errors import InputError
from segapp.nets.config import serialized_objects

if TYPE_CHECKING:
    import keras

_MAY_FOLLOW_HEAD = ("Activation", "Softmax", "Sigmoid")


def find_head(path: Path, model: keras.Model, wanted: str | None) -> tuple[keras.layers.Conv2D, list[str]]:
    """The head, and the activations that follow its convolution; raises InputError naming the layer in the way."""
    import keras

    layers = {layer.name: layer for layer in model.layers}
    if wanted is not None and wanted not in layers:
        raise InputError(f"{path}: has no layer '{wanted}'; its last ones are {', '.join(list(layers)[-5:])}")
    weighted = [layer for layer in model.layers if layer.weights]
    if not weighted:
        raise InputError(f"{path}: no layer has weights; give a trained network")
    head = layers[wanted] if wanted else weighted[-1]
    if not isinstance(head, keras.layers.Conv2D) or (
        (head.kernel_size, head.strides, head.groups, head.data_format) != ((1, 1), (1, 1), 1, "channels_last")
    ):
        raise InputError(
            f"{path}: layer '{head.name[-40:]}' ({type(head).__name__}) is no 1x1 Conv2D with channels last, which a "
            "head must be; name the head, or put one behind it and train that"
        )
    config = model.get_config()
    calls = {layer["name"]: layer for layer in config["layers"]}
    activation = head.get_config()["activation"]
    following: list[str] = []
    name = config["output_layers"][0]
    while name != head.name:
        call = calls[name]
        inputs = [item["config"] for _, item in serialized_objects(call["inbound_nodes"]) if _is_tensor(item)]
        if call["class_name"] not in _MAY_FOLLOW_HEAD or len(inputs) != 1:
            raise InputError(
                f"{path}: layer '{name[-40:]}' ({call['class_name']}) follows the head '{head.name[-40:]}', where only "
                "an activation may; save the network up to there, or name another head"
            )
        following.append(call["config"].get("activation", call["class_name"].lower()))
        if call["config"].get("axis", -1) not in (-1, 3):
            following[-1] += " along another axis"
        name = inputs[0]["keras_history"][0]
    if len(calls[head.name]["inbound_nodes"]) != 1:
        raise InputError(f"{path}: layer '{head.name}' is used more than once, so it is no head; name another")
    return head, [activation, *following[::-1]]


def _is_tensor(item: dict[str, object]) -> bool:
    return item["class_name"] == "__keras_tensor__"
