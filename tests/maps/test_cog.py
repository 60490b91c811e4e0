"""Cloud Optimized GeoTIFF."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import shutil
from rasterio.errors import RasterioIOError

from segapp.maps.layers import Layer
from segapp.maps.writers import open_writer

from .test_writers import CLASSES, LAYERS, MANY_IDS, TAGS, UTM, band_that_gdal_sees, made_up, read, table_of, write

SHAPE = (700, 600)  # above 512, or there would be no overviews


def described(file: Path) -> dict[str, object]:
    with rasterio.open(file) as dataset:
        told = {key: getattr(dataset, key) for key in ("crs", "transform", "dtypes", "descriptions", "scales")}
        told["nodata"] = repr(dataset.nodata)  # NaN is not equal to itself
        told["tags"] = {key: dataset.tags()[key] for key in TAGS}
        told["colors"] = dataset.colormap(1) if dataset.colorinterp[0].name == "palette" else None
    return told


def is_cloud_optimized(file: Path) -> bool:
    with rasterio.open(file) as dataset:
        return dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG" and dataset.overviews(1) != []


@pytest.mark.parametrize("layer", LAYERS)
def test_pixels_and_descriptions_stay(tmp_path: Path, layer: Layer) -> None:
    values = made_up(layer, SHAPE)
    plain = write(tmp_path / "plain.tif", values, layer)
    optimized = write(tmp_path / "optimized.tif", values, layer, cog=True)
    assert not is_cloud_optimized(plain) and is_cloud_optimized(optimized)
    np.testing.assert_array_equal(read(optimized, layer), values)
    assert described(optimized) == described(plain)
    sides = {path.name for path in tmp_path.iterdir()} - {"plain.tif", "optimized.tif"}
    assert sides == ({"plain.tif.aux.xml", "optimized.tif.aux.xml"} if layer == "classes" else set())


@pytest.mark.parametrize("classes", [CLASSES, MANY_IDS])
def test_names_and_colours_stay(tmp_path: Path, classes) -> None:
    values = made_up("classes", SHAPE, classes)
    plain = write(tmp_path / "plain.tif", values, classes=classes)
    optimized = write(tmp_path / "optimized.tif", values, classes=classes, cog=True)
    tables = [table_of(band_that_gdal_sees(file)) for file in (plain, optimized)]
    assert tables[0] == tables[1] != []
    assert described(optimized)["colors"] == described(plain)["colors"]


def test_overviews_of_classes_hold_no_made_up_ids(tmp_path: Path) -> None:
    file = write(tmp_path / "map.tif", made_up("classes", SHAPE), cog=True)
    with rasterio.open(file, overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) <= {CLASSES.nodata, *CLASSES.ids.tolist()}


def test_overviews_of_quantities_are_means_of_what_has_data(tmp_path: Path) -> None:
    values = made_up("confidence", SHAPE)
    with rasterio.open(write(tmp_path / "map.tif", values, "confidence", cog=True), overview_level=0) as overview:
        found = overview.read(1)
    with warnings.catch_warnings(action="ignore"):  # a mean of nothing
        expected = np.nanmean(values.reshape(350, 2, 300, 2), axis=(1, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32


def test_a_map_without_georeference_gives_no_warning(tmp_path: Path) -> None:
    values = made_up("classes", SHAPE)
    with warnings.catch_warnings(action="error"):
        file = write(tmp_path / "map.tif", values, cog=True, georeference=None)
    assert (read(file, "classes") == values).all()


def test_a_translation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path, **options: object) -> None:
        target.write_bytes(b"half")
        Path(f"{target}.ovr.tmp").write_bytes(b"half")
        raise RasterioIOError("no space")

    monkeypatch.setattr(shutil, "copy", fail)
    writer = open_writer(tmp_path / "map.tif", "classes", SHAPE, UTM, CLASSES, TAGS, cog=True)
    with pytest.raises(OSError, match=r"map\.tif: cannot be written \(no space\); free some space"):
        writer.close()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []
