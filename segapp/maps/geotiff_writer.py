"""Maps as tiled GeoTIFF written by window, or as what is translated from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import windows as rasterio_windows
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from segapp.classes import ClassTable
from segapp.maps.attribute_table import rgb_of, write_class_names
from segapp.maps.geotiff_file import require_complete
from segapp.maps.layers import Layer, format_of
from segapp.maps.partial import PartialFile
from segapp.scenes.control_points import ControlPoints
from segapp.scenes.geotiff import open_quietly
from segapp.scenes.raster import Georeference
from segapp.windows import Window

_BLOCK = 256


class GeoTiffWriter(PartialFile):
    """A `MapWriter` to a tiled, compressed GeoTIFF, with class names beside a map of classes.

    `translate` (source, target) turns the finished GeoTIFF into the file that is wanted. Windows on multiples of 256
    are fastest.
    """

    def __init__(
        self,
        file: Path,
        layer: Layer,
        shape: tuple[int, int],
        georeference: Georeference | None,
        classes: ClassTable,
        tags: Mapping[str, str],
        translate: Callable[[Path, Path], None] | None = None,
        control_points: ControlPoints | None = None,
    ) -> None:
        super().__init__(file)
        self._layer: Layer = layer
        self._classes = classes
        self._translate = translate
        self._format = format_of(layer, classes)
        self._closed = False
        self._dataset: Any = None
        try:
            with self.writing(), rasterio.Env():
                self.require_room(0)
                self._dataset = self._create(shape, georeference)
                self._describe(tags)
                if control_points is not None:
                    control_points.write_to(self._dataset)
        except BaseException:
            self.abandon()
            raise

    def _create(self, shape: tuple[int, int], georeference: Georeference | None) -> Any:
        place: dict[str, Any] = {}
        if georeference is not None:
            place = {"crs": georeference.crs, "transform": Affine(*georeference.transform)}
        return open_quietly(
            self.temporary,
            "w",
            driver="GTiff",
            height=shape[0],
            width=shape[1],
            count=len(self._format.bands),
            dtype=self._format.dtype,
            nodata=self._format.nodata,
            tiled=True,
            blockxsize=_BLOCK,
            blockysize=_BLOCK,
            interleave="band",  # writes 12 uint8 probabilities in 0.7 of the time of "pixel", to 0.7 of its size
            compress="deflate",
            zlevel=1,  # level 6 takes 2 to 7 times as long, and saves a tenth of probabilities, a fifth of classes
            predictor={"classes": 1, "probabilities": 2}.get(self._layer, 3),  # 3 is for floats
            BIGTIFF="IF_SAFER",
            **place,
        )

    def _describe(self, tags: Mapping[str, str]) -> None:
        self._dataset.descriptions = self._format.bands
        self._dataset.update_tags(**tags)
        if self._format.scale != 1:
            self._dataset.scales = (self._format.scale,) * len(self._format.bands)
        if self._layer == "classes":
            colors = zip(self._classes.ids.tolist(), rgb_of(self._classes), strict=True)
            self._dataset.write_colormap(1, {class_id: (*rgb, 255) for class_id, rgb in colors})

    def write(self, window: Window, values: np.ndarray) -> None:
        place = rasterio_windows.Window(window.col, window.row, window.width, window.height)
        with self.writing(), rasterio.Env():
            self.require_room(values.nbytes)
            for band in range(len(self._format.bands)):  # rasterio copies what it writes, so one band at a time
                self._dataset.write(values if values.ndim == 2 else values[..., band], band + 1, window=place)

    def close(self) -> None:
        if self._closed:
            return
        with self.writing(), rasterio.Env():
            self._dataset.close()
            require_complete(self.temporary)
            if self._layer == "classes":
                write_class_names(self.temporary, self._classes)
            if self._translate is not None:
                translated = Path(f"{self.temporary}.translated")
                self._translate(self.temporary, translated)
                for suffix in (".aux.xml", ""):
                    if (result := Path(f"{translated}{suffix}")).exists():
                        result.replace(f"{self.temporary}{suffix}")
            self.sync()
        self._closed = True

    def abandon(self) -> None:
        if self._dataset is not None:
            with suppress(RasterioError, OSError), rasterio.Env():
                self._dataset.close()
        super().abandon()
