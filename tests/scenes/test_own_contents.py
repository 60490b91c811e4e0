"""A file that is given as local data reads no other place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.scenes.vectors import layer_information
from segapp.windows import whole
from tests.scenes.test_geotiff import write_tiff

_WMS = '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service></GDAL_WMS>'
_VRT = """<?xml version="1.0"?>
<VRTDataset rasterXSize="6" rasterYSize="5"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""
_OGR = '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'


@pytest.mark.parametrize("text", [_WMS, f"\n {_WMS}", _VRT.format(relative=1, source="a.tif"), f"<!-- -->{_WMS}"])
@pytest.mark.parametrize("name", ["scene.tif", "scene.jp2", "scene.img"])
def test_a_text_called_an_image_is_refused(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: (is an XML text|cannot be read)"):
        open_raster(tmp_path / name)


@pytest.mark.parametrize("source", ["/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif", "s3://b/a.tif"])
def test_a_vrt_of_remote_sources_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "scene.vrt").write_text(_VRT.format(relative=0, source=source))
    with pytest.raises(InputError, match=r"scene.vrt: reads from .* no local file; download it"):
        open_raster(tmp_path / "scene.vrt")


def test_a_web_service_is_refused_by_its_own_name_too(tmp_path: Path) -> None:
    (tmp_path / "scene.xml").write_text(_WMS)
    with pytest.raises(InputError, match=r"scene.xml: reads from http://127.0.0.1:9"):
        open_raster(tmp_path / "scene.xml")


def test_a_vrt_of_local_files_is_read(tmp_path: Path) -> None:
    pixels = np.arange(30, dtype=np.uint16).reshape(5, 6)
    write_tiff(tmp_path / "a.tif", pixels)
    (tmp_path / "scene.vrt").write_text(_VRT.format(relative=1, source="a.tif"))
    raster = open_raster(tmp_path / "scene.vrt")
    np.testing.assert_array_equal(raster.read(whole(raster.shape), [0])[..., 0], pixels)


def test_vectors_that_name_another_source_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.geojson").write_text(_OGR.format("/etc/hostname"))
    with pytest.raises(InputError, match=r"labels.geojson: is an XML text"):
        layer_information(tmp_path / "labels.geojson", remedy="name one")
