"""A network cut out of another as data is built again with the same layers, and with none but Keras' own."""

from __future__ import annotations

import copy
import json
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from segapp.configuration import validate
from segapp.errors import InputError
from segapp.model.card import model_card
from segapp.model.model_spec import ModelSpec
from segapp.nets.config import KerasGraph, UNetConfig
from segapp.nets.keras_graph import cut_before, layer_names


def _foreign() -> keras.Model:
    """A U-Net with a layer that is called twice, an operation, a regulariser, and names that segapp uses as well."""
    image = keras.Input((32, 32, 3))
    shared = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", name="softmax")
    skip = layers.ReLU()(shared(layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)))
    x = layers.UpSampling2D()(shared(layers.MaxPooling2D()(skip)))
    x = ops.nan_to_num(x) * 2 + 1
    x = layers.Concatenate(name="join")([x, skip[..., :2]])
    return keras.Model(image, layers.Conv2D(5, 1, name="head")(x))


def _spec(network: Any, bands: int = 3, head: str = "final_conv") -> ModelSpec:
    data = {
        "schema": 2,
        "name": "foreign",
        "network": network,
        "bands": [{"name": str(i)} for i in range(bands)],
        "classes": {"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]},
        "normalization": {"mean": [0] * bands, "std": [1] * bands},
        "head": head,
        "patch_size": 32,
    }
    return validate(ModelSpec, data, "model.json")


@pytest.fixture(scope="module")
def graph() -> dict[str, Any]:
    return cut_before(_foreign(), "head").model_dump()


def test_layers_lie_flat_under_their_own_names(graph: dict[str, Any]) -> None:
    model = _spec(graph).build()
    names = [layer.name for layer in model.layers]
    assert {"first", "join", "image", "input_normalization", "softmax_body", "final_conv", "softmax"} <= set(names)
    assert "head" not in names and not any(isinstance(layer, keras.Model) for layer in model.layers)
    skip, joined = model.get_layer("first").output, model.get_layer("join")
    assert skip.shape == (None, None, None, 4) and joined.output.shape == (None, None, None, 6)
    assert model.get_layer("softmax_body").count_params() == 4 * 9 * 4 + 4
    assert model.count_params() == 3 * 9 * 4 + 4 + 4 * 9 * 4 + 4 + 6 * 2 + 2


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_it_takes_any_number_of_bands_and_any_size(graph: dict[str, Any], bands: int) -> None:
    model = _spec(graph, bands).build()
    assert model(np.zeros((1, 48, 16, bands), np.float32)).shape == (1, 48, 16, 2)
    assert model.get_layer("first").kernel.shape == (3, 3, bands, 4)


def test_the_graph_survives_json_and_two_builds_have_the_same_names(graph: dict[str, Any]) -> None:
    spec = _spec(graph)
    again = validate(ModelSpec, json.loads(json.dumps(spec.model_dump(mode="json", by_alias=True))), "model.json")
    assert again == spec
    one, two = spec.build(), again.build()
    assert [layer.name for layer in one.layers] == [layer.name for layer in two.layers]
    assert cut_before(one, "final_conv").layers[-1] == cut_before(two, "final_conv").layers[-1]


def test_a_u_net_is_still_told_from_a_graph() -> None:
    assert _spec({"depth": 2, "filters": 4}).network == UNetConfig(depth=2, filters=4)
    with pytest.raises(InputError, match=r"unknown key 'network\.dept'; did you mean 'depth'"):
        _spec({"dept": 2})
    with pytest.raises(InputError, match=r"network\.depth: input should be less than or equal to 6"):
        _spec({"depth": 9})


def test_names_that_segapp_needs_are_given_up(graph: dict[str, Any]) -> None:
    network = KerasGraph(**graph)
    assert layer_names(network, "join")["join"] == "join_body" and layer_names(network, "head")["join"] == "join"
    names = layer_names(network, "head")
    assert len(set(names.values())) == len(names)
    assert {old for old, new in names.items() if old != new} == {
        name for name in names if name == "softmax" or name.startswith("nan_to_num")
    }


def test_the_card_says_what_the_network_is(graph: dict[str, Any]) -> None:
    assert f"A Keras network of {len(graph['keras']['layers'])} layers" in model_card(_spec(graph))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_name": "Lambda"}, "layer 'first': Lambda may hold code"),
        ({"class_name": "TFSMLayer"}, "layer 'first': TFSMLayer may hold code"),
        ({"class_name": "function", "config": "system", "module": "os"}, "layer 'first': function may hold code"),
        ({"class_name": "system", "module": "os"}, r"layer 'first': 'os\.system' is not Keras' own"),
        ({"module": "keras.src.utils"}, r"layer 'first': 'keras\.src\.utils\.Conv2D' is not Keras' own"),
        ({"module": None}, "layer 'first': 'None.Conv2D' is not Keras' own"),
        ({"registered_name": "mine>Conv2D"}, "layer 'first': 'keras.layers.Conv2D' is not Keras' own"),
        ({"class_name": ["Conv2D"]}, "layer 'first': a class name is no text"),
        ({"class_name": "Sequential", "module": "keras"}, "layer 'first': is a model within the network"),
        ({"activation": {"class_name": "__lambda__", "config": {}}}, "layer 'first': __lambda__ may hold code"),
        ({"inbound_nodes": None}, "'layers' must list the layers"),
        ({"name": "join"}, "two layers have one name"),
        ({"class_name": "InputLayer"}, "there must be one InputLayer"),
        ({"config": {"name": "first", "deep": json.loads("[" * 60 + "]" * 60)}}, "nested over 50 deep"),
        ({"config": {"name": "first", "many": [0] * 600_000}}, "over 500000 values"),
    ],
)
def test_what_is_unsafe_is_refused_on_reading(graph: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^model.json: network.keras: (the network has )?.*{message}"):
        _spec(_changed(graph, "first", changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_name": "deserialize"}, r"foreign: layer 'first': this Keras has no keras\.layers\.deserialize"),
        ({"class_name": "Conv9D"}, r"foreign: layer 'first': this Keras has no keras\.layers\.Conv9D"),
        ({"class_name": "__class__"}, r"foreign: layer 'first': this Keras has no keras\.layers\.__class__"),
        ({"class_name": "Initializer", "module": "keras"}, r"layer 'first': this Keras has no keras\.Initializer"),
        ({"config": {"name": "first"}}, r"layer 'first' \(Conv2D\) cannot be built"),
        ({"config": {"filters": 4, "kernel_size": 99, "activation": "os.system"}}, r"'first' \(Conv2D\) cannot be"),
        ({"inbound_nodes": []}, "its input is missing from the network"),
        ({"inbound_nodes": [[["image", 0, 0, {}]]]}, r"layer 'first' \(Conv2D\) cannot be built"),
    ],
)
def test_what_keras_cannot_build_is_one_line(graph: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        _spec(_changed(graph, "first", changes)).build()
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def _changed(graph: dict[str, Any], layer: str, changes: dict[str, Any]) -> dict[str, Any]:
    graph = copy.deepcopy(graph)
    next(entry for entry in graph["keras"]["layers"] if entry["name"] == layer).update(changes)
    return graph
