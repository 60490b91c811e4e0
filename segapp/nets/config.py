"""What shapes a network, as data: readable without Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator, model_validator

from segapp.configuration import Strict
from segapp.nets.encoders.registry import ENCODERS, NAMES, PLAIN, deepest

OPERATION_MODULES = frozenset(
    f"keras.src.ops.{name}" for name in ("core", "einops", "image", "linalg", "math", "nn", "numpy")
)
"""Where Keras' operations (`keras.ops`) say that they live."""

OWN_MODULE = "segapp.nets.resampling"
"""Where segapp's layers for imported networks live."""

_MODULES = OPERATION_MODULES | {
    OWN_MODULE,
    "keras",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.random",
    "keras.regularizers",
}
PLAIN_OBJECTS = frozenset({"__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})
"""What Keras serializes as an object that is no class of its own: tensors, arrays and slices."""

_MODELS = frozenset({"Functional", "Model", "Sequential"})
MODEL_MODULES = frozenset({"keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"})
"""Where Keras says that functional and sequential models live."""

_UNSAFE = frozenset(
    {
        "__lambda__", "function", "Lambda", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper",  # hold code
        "IntegerLookup", "StringLookup", "TextVectorization",  # open the files that they name
    }
)  # fmt: skip
_MOST_VALUES, _DEEPEST = 500_000, 50  # ResNet-152 has 50,000 values, 12 deep


class UNetConfig(Strict):
    """What shapes a U-Net: `depth` encoder stages, `filters` in the first of them, doubled in each that follows.

    `encoder` may name a classifier instead (`segapp.nets.encoders.registry`), which brings its own filters; then
    `filters` and `batch_norm` are the decoder's, and `depth` says how much of the classifier is used, by default all.
    `dropout` is the share of features dropped at the deepest encoder stage and the bridge while training.
    """

    encoder: str = PLAIN
    depth: int = Field(default=4, ge=1, le=6)
    filters: int = Field(default=16, ge=1, le=256)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    batch_norm: bool = False

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, encoder: str) -> str:
        if encoder not in NAMES:
            raise ValueError(f"there is no encoder '{encoder}'; choose {', '.join(NAMES)}")
        return encoder

    @model_validator(mode="before")
    @classmethod
    def _as_deep_as_the_encoder(cls, data: Any) -> Any:
        if isinstance(data, dict) and "depth" not in data and data.get("encoder") in ENCODERS:
            return {**data, "depth": deepest(data["encoder"])}
        return data

    @model_validator(mode="after")
    def _no_deeper_than_the_encoder(self) -> UNetConfig:
        if self.depth > deepest(self.encoder):
            raise ValueError(f"{self.encoder} halves the image {deepest(self.encoder)} times; give a smaller depth")
        return self


class KerasGraph(Strict):
    """The body of a network that Keras built: its layers from the input to the last feature map, without the head.

    `keras` is what `get_config()` of the functional model from the input to that map gives, in JSON's types. Only
    what Keras itself offers may stand in it: no code comes with it, and none is imported by a name that it gives.
    """

    keras: dict[str, Any]

    @field_validator("keras")
    @classmethod
    def _safe_graph(cls, keras: dict[str, Any]) -> dict[str, Any]:
        check_serialized(keras)
        layers = keras.get("layers")
        if not isinstance(layers, list) or not all(_is_layer(layer) for layer in layers):
            raise ValueError("'layers' must list the layers as Keras' get_config() does")
        names = [layer["name"] for layer in layers]
        if len(set(names)) != len(names):
            raise ValueError("two layers have one name")
        if sum(layer["class_name"] == "InputLayer" for layer in layers) != 1:
            raise ValueError("there must be one InputLayer")
        if [type(part) for part in _only(keras.get("output_layers"))] != [str, int, int]:
            raise ValueError("'output_layers' must name one output as Keras' get_config() does")
        return keras

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One entry a layer, in Keras' order: "class_name", "config", "name" and "inbound_nodes" among its keys."""
        return self.keras["layers"]

    @property
    def output(self) -> tuple[str, int, int]:
        """The last feature map: its layer, which of the layer's calls, which of the call's outputs."""
        layer, call, output = _only(self.keras["output_layers"])
        return layer, call, output


def _only(output: Any) -> list[Any]:
    """The one tensor that Keras lists, with or without a list around it; [] when it is another number."""
    while isinstance(output, list) and len(output) == 1:
        output = output[0]
    return output if isinstance(output, list) else []


def _is_layer(layer: Any) -> bool:
    kinds = {"class_name": str, "config": dict, "name": str, "inbound_nodes": list}
    return isinstance(layer, dict) and all(isinstance(layer.get(key), kind) for key, kind in kinds.items())


def check_serialized(data: Any, models: bool = False) -> None:
    """Check that what Keras serialized into `data`, parsed JSON, is safe to build; `models` may stand in models.

    Raises ValueError, naming the layer, at anything that may run code or read a file, and at what is not Keras' own.
    """
    for layer, item in serialized_objects(data):
        kind, module = item["class_name"], item.get("module")
        place = f"layer '{layer}'" if layer else "the network"
        if not isinstance(kind, str):
            raise ValueError(f"{place}: a class name is no text")
        if not isinstance(module, str | None):
            raise ValueError(f"{place}: a module name is no text")
        if kind in _UNSAFE:
            raise ValueError(f"{place}: {kind} may hold code or read files; replace it by other layers of Keras")
        if kind in _MODELS and models and module in MODEL_MODULES and item.get("registered_name") in (None, kind):
            continue
        if kind in _MODELS:
            raise ValueError(f"{place}: is a model within the network; call that model's layers one by one instead")
        registered = {None, kind, *({f"segapp>{kind}"} if module == OWN_MODULE else ())}
        if kind not in PLAIN_OBJECTS and (module not in _MODULES or item.get("registered_name") not in registered):
            raise ValueError(f"{place}: '{module}.{kind}' is not Keras' own; replace it by layers of Keras")


def find_code(data: Any) -> str:
    """What in `data`, parsed JSON, may run code or read a file when Keras builds it, as "layer 'x' (Lambda)"; or "".

    Raises ValueError when `data` is larger or deeper than any network.
    """
    for layer, item in serialized_objects(data):
        if isinstance(item["class_name"], str) and item["class_name"] in _UNSAFE:
            return f"layer '{layer}' ({item['class_name']})"
    return ""


def serialized_objects(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object that Keras serialized into `data`, parsed JSON, with the name of the layer in which it stands.

    Raises ValueError when `data` is larger or deeper than any network.
    """
    waiting: list[tuple[Any, str, int]] = [(data, "", 0)]
    seen = 0
    while waiting:
        value, layer, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise ValueError(f"the network has over {_MOST_VALUES} values or is nested over {_DEEPEST} deep")
        if isinstance(value, dict):
            if "class_name" in value:
                layer = _layer_name(value) or layer
                yield layer, value
            waiting.extend((item, layer, depth + 1) for item in reversed(value.values()))
        elif isinstance(value, list | tuple):
            waiting.extend((item, layer, depth + 1) for item in reversed(value))


def _layer_name(item: dict[str, Any]) -> str:
    """The name of a serialized layer or operation; "" for other objects, of which the policies have names too."""
    config = item.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    name = item.get("name") or ("" if item.get("module") in ("keras", "keras.dtype_policies") else inner)
    return name if isinstance(name, str) else ""
