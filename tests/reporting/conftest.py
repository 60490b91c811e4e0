"""What the tests of reports share: a model made by transfer, one whose names are hostile, and a browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import browser, chromium

__all__ = ["browser", "chromium"]

HOSTILE = '</script><img src=x onerror="window.hit=1"><b>%{x}</b>{{ 7 * 7 }}'
LOG = "step,epoch,learning_rate,loss,accuracy,seconds,val_loss,val_accuracy,val_mean_iou"


def plan_of(classes: list[tuple[int, str]]) -> dict[str, Any]:
    """The part of a provenance that tells of a transfer in which all classes but the first are the base's."""
    block = {"block": "bridge", "setting": "frozen", "parameters": 1234, "trainable": 0}
    phase = {"name": "decoder", "steps": 40, "rate": 3e-4, "blocks": [block]}
    return {
        "winner": "1-decoder",
        "phases": [
            {"phase": "head", "accuracy": 0.5, "mean_iou": 0.25, "against": None, "won": True},
            {"phase": "1-decoder", "accuracy": 0.625, "mean_iou": None, "against": "head", "won": True},
        ],
        "plan": {
            "base": "models/old",
            "strategy": "staged",
            "description": "Head first.",
            "bands": [{"name": "blue", "unit": "reflectance", "base": None, "statistics": "measured"}],
            "dropped_bands": ["thermal"],
            "classes": [{"id": i, "name": n, "base": [n] if i > 1 else [], "pixels": 100 * i} for i, n in classes],
            "dropped_classes": [],
            "head": "The head is fitted.",
            "folds": 3,
            "guarded": True,
            "distilled": [],
            "phases": [phase, {**phase, "name": "all", "blocks": [{**block, "setting": "x 0.5"}]}],
        },
    }


def write_logs(folder: Path) -> None:
    """The logs of two phases, the second with a last line that was cut off."""
    for name, end in (("1-decoder", ""), ("2-all", "\n60,1,0.")):
        (folder / name).mkdir()
        lines = ["20,1,0.001,1.5,0.5,2.0,,,", "40,1,0.001,1.25,0.625,4.0,1.0,0.5,0.25"]
        (folder / name / "log.csv").write_text("\n".join([LOG, *lines]) + end)


@pytest.fixture(scope="session")
def transferred(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model with another head, as if made of it by transfer; not to be changed."""
    from segapp.model.bundle import load, write_model

    model = load(trained)
    head = model.get_layer(model.spec.head)
    weights, biases = head.get_weights()
    head.set_weights([weights * 1.5, biases + np.linspace(-0.4, 0.4, len(biases))])
    classes = [(c.id, c.name) for c in model.spec.classes.classes]
    provenance = {**model.spec.provenance, **plan_of(classes)}
    folder = tmp_path_factory.mktemp("models") / "transferred"
    write_model(folder, model, model.spec.model_copy(update={"name": "new & better", "provenance": provenance}))
    write_logs(folder)
    return folder


def rewritten(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a model directory without its weights, with other keys in model.json."""
    folder.mkdir()
    data = json.loads((source / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**data, **changes}))
    return folder


@pytest.fixture(scope="session")
def hostile(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose every text is an attack on the page that shows it."""
    data = json.loads((trained / "model.json").read_text())
    role = data["scores"]["test"]
    data["classes"]["classes"][0]["name"] = role["classes"][0]["name"] = HOSTILE
    classes = [(c["id"], c["name"]) for c in data["classes"]["classes"]]
    plan = json.loads(json.dumps(plan_of(classes)).replace("decoder", json.dumps(HOSTILE)[1:-1]))
    folder = rewritten(
        trained,
        tmp_path_factory.mktemp("hostile") / "model",
        name=HOSTILE,
        limits=HOSTILE,
        classes=data["classes"],
        bands=[{**data["bands"][0], "name": HOSTILE}, *data["bands"][1:]],
        scores={"test": role},
        provenance={HOSTILE: HOSTILE, "recipe": {"name": HOSTILE}, **plan},
    )
    shutil.copy(trained / "log.csv", folder)
    return folder
