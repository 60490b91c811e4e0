"""A small network for six bands, and scenes for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segapp.bands import Band
from segapp.classes import ClassTable
from segapp.model.model_spec import ModelSpec, Normalization
from segapp.nets.config import UNetConfig

NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
CLASSES = ClassTable.model_validate(
    {
        "classes": [
            {"id": 10, "name": "tree", "color": "#006400"},
            {"id": 20, "name": "water & ice", "color": "#0064c8"},
            {"id": 30, "name": "bare"},
        ]
    }
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: depth 2, 4 first filters, random weights, reflectance stored as counts times 1e-4."""
    import keras

    from segapp.model.bundle import write_model

    keras.utils.set_random_seed(1)
    spec = ModelSpec(
        schema=2,
        name="small",
        network=UNetConfig(depth=2, filters=4),
        bands=tuple(Band(name=name, scale=1e-4, unit="reflectance") for name in NAMES),
        classes=CLASSES,
        normalization=Normalization(mean=(0.2,) * 6, std=(0.1,) * 6),
        patch_size=32,
    )
    folder = tmp_path_factory.mktemp("model") / "small"
    write_model(folder, spec.build(), spec)
    return folder


@pytest.fixture(scope="session")
def write_scene() -> Callable[..., Path]:
    """Writes a made-up scene of uint16 counts with a CRS; its first rows have no data."""

    def write(file: Path, shape: tuple[int, int] = (300, 420), seed: int = 0, **profile: object) -> Path:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(300, 4000, (6, -(-shape[0] // 20), -(-shape[1] // 20)))
        pixels = np.kron(coarse, np.ones((20, 20), int))[:, : shape[0], : shape[1]].astype(np.uint16)
        pixels += rng.integers(0, 300, pixels.shape, np.uint16)
        pixels[:, :9] = 0
        settings = {"driver": "GTiff", "dtype": "uint16", "count": 6, "height": shape[0], "width": shape[1]}
        settings |= {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 400_000, 0, -30, 5_000_000), "nodata": 0}
        with rasterio.open(file, "w", **{**settings, **profile}) as target:
            target.write(pixels)
            target.descriptions = NAMES
        return file

    return write
