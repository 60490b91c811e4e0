"""A scene with two maps of it, served as `segapp view` does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio

from segapp.classes import ClassTable
from segapp.maps.geotiff_writer import GeoTiffWriter
from segapp.maps.layers import Layer, layer_file, values_of
from segapp.scenes.raster import Georeference
from segapp.windows import whole
from tests.browser import browser, chromium  # noqa: F401

pytest.importorskip("rio_tiler", reason="rio-tiler is not installed; pip install 'segapp[view]'")

SHAPE = (700, 900)
NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
PLACE = Georeference(rasterio.CRS.from_epsg(32633).to_wkt(), (10.0, 0.0, 400_000.0, 0.0, -10.0, 5_000_000.0))
CLASSES = ClassTable.model_validate(
    {
        "classes": [
            {"id": 10, "name": "tree", "color": "#117733"},
            {"id": 20, "name": "water & ice", "color": "#0064c8"},
            {"id": 30, "name": "bare", "color": "#ddaa33"},
        ]
    }
)


@dataclass(frozen=True)
class Files:
    """Where the files lie, and what is in them."""

    scene: Path
    classes: Path
    other: Path
    pixels: np.ndarray  # (6, H, W) uint16
    ids: np.ndarray  # (H, W) uint8
    other_ids: np.ndarray
    probabilities: np.ndarray  # (H, W, 3) float32


def write_scene(file: Path, pixels: np.ndarray, **profile: Any) -> Path:
    settings = {"driver": "GTiff", "dtype": pixels.dtype, "count": len(pixels), "nodata": 0}
    settings |= {"height": pixels.shape[1], "width": pixels.shape[2], "tiled": True, "compress": "deflate"}
    settings |= {"crs": "EPSG:32633", "transform": rasterio.Affine(*PLACE.transform)}
    with rasterio.open(file, "w", **{**settings, **profile}) as target:
        target.write(pixels)
        if len(pixels) == len(NAMES):
            target.descriptions = NAMES
    return file


def write_layer(file: Path, layer: Layer, probabilities: np.ndarray, place: Georeference | None = PLACE) -> Path:
    indexes = probabilities.argmax(-1).astype(np.uint8)
    indexes[np.isnan(probabilities[..., 0])] = 255
    values = values_of(layer, indexes, probabilities, CLASSES)
    writer = GeoTiffWriter(layer_file(file, layer), layer, values.shape[:2], place, CLASSES, {})
    writer.write(whole(values.shape[:2]), values)
    writer.close()
    writer.deliver()
    return layer_file(file, layer)


def probabilities_of(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W, 3) float32 probabilities in patches of 50 pixels; NaN in the first 20 rows."""
    coarse = np.random.default_rng(seed).dirichlet([0.4] * 3, (-(-shape[0] // 50), -(-shape[1] // 50)))
    fine = np.kron(coarse, np.ones((50, 50, 1)))[: shape[0], : shape[1]].astype(np.float32)
    fine[:20] = np.nan
    return fine


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("viewing")
    rng = np.random.default_rng(0)
    slope = np.linspace(500, 3000, SHAPE[1])
    pixels = (slope + rng.integers(0, 400, (6, *SHAPE)) + 100 * np.arange(6)[:, None, None]).astype(np.uint16)
    pixels[:, :20] = 0
    probabilities, other = probabilities_of(1), probabilities_of(2)
    for layer in ("classes", "probabilities", "confidence", "entropy"):
        write_layer(folder / "new.tif", layer, probabilities)
    write_layer(folder / "old.tif", "classes", other)
    read = {}
    for name in ("new", "old"):
        with rasterio.open(folder / f"{name}.tif") as dataset:
            read[name] = dataset.read(1)
    scene = write_scene(folder / "scene.tif", pixels)
    return Files(scene, folder / "new.tif", folder / "old.tif", pixels, read["new"], read["old"], probabilities.copy())


@dataclass(frozen=True)
class Served:
    url: str
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; `path` is sent as it is behind the page's token."""
        return self.get_bare(
            f"{urlsplit(self.url).path.rstrip('/')}{path}" if path[:1] == "/" else path, method, **headers
        )

    def get_bare(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; `path` is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in ({"Host": f"127.0.0.1:{self.port}"} | headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()


@contextmanager
def serve(*args: Any, **settings: Any) -> Iterator[Served]:
    from segapp.viewing.view import serving

    with serving(*args, **settings) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Served(server.url, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def served(files: Files) -> Iterator[Served]:
    """The page of the scene and its two maps."""
    with serve(files.scene, files.classes, compare=files.other) as site:
        yield site


@pytest.fixture(scope="session")
def decode() -> Callable[[bytes], np.ndarray]:
    """A PNG as (H, W, 4) uint8."""
    from imageio.v3 import imread

    def of(png: bytes) -> np.ndarray:
        pixels = imread(png, extension=".png", mode="RGBA")
        return np.asarray(pixels)

    return of
