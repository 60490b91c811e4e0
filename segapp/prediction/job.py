"""What a process needs to map scenes: here, or on a worker of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from segapp.inference.engine import EngineLostError
from segapp.inference.predictor import Predictor
from segapp.inference.settings import RunSettings
from segapp.maps.record import MapRecord
from segapp.model.model_spec import ModelSpec
from segapp.prediction.mapping import map_scene
from segapp.prediction.settings import MapSettings
from segapp.scenes.band_files import Source

if TYPE_CHECKING:
    from segapp.client.client import ServedModel

Advance = Callable[[int, int], None]

_ONE_AT_A_TIME = Lock()
"""A scene takes all cores, and the model has one state: threads of a worker take turns."""


@dataclass(frozen=True)
class Job:
    """All that a process needs to map scenes; it loads the model once, when the first scene comes."""

    model: Path | ServedModel
    settings: MapSettings
    run_settings: RunSettings
    made_with: Mapping[str, Any]

    def run(self, file: Source, target: Path, advance: Advance = lambda done, total: None) -> MapRecord | Exception:
        """Map one scene, or say what is wrong with it: others go on. Raises EngineLostError, which ends them all."""
        try:
            with _ONE_AT_A_TIME:
                predictor, spec = _open(self.model, self.run_settings, self.made_with["weights"])
                return map_scene(predictor, spec, file, target, self.settings, self.made_with, advance)
        except EngineLostError:
            raise
        except Exception as error:  # of whatever kind: one odd file does not end a night's work
            return error


@lru_cache(maxsize=1)
def _open(model: Path | ServedModel, settings: RunSettings, weights: str) -> tuple[Predictor, ModelSpec]:
    """The predictor for a model whose weights have this hash, loaded once in a process."""
    if not isinstance(model, Path):
        return model.open(settings)
    from segapp.inference.loading import open_predictor

    return open_predictor(model, settings)
