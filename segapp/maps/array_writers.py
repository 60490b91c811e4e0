"""Maps as plain arrays: NPY, written by window, and MAT, written at the end."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.io import savemat

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.maps.layers import Layer, format_of
from segapp.maps.partial import PartialFile
from segapp.windows import Window

_LARGEST_IN_MAT = 1 << 31  # bytes of one variable, up to version 7


class NpyWriter(PartialFile):
    """A `MapWriter` to a NumPy file of (H, W) or (H, W, K).

    The file has its full size from the start, so that a disk too small is found before the work. It is written and
    not mapped: mapped pages count as memory, and a disk that fills up under them kills the process.
    """

    def __init__(self, file: Path, layer: Layer, shape: tuple[int, int], classes: ClassTable) -> None:
        super().__init__(file)
        layer_format = format_of(layer, classes)
        whole = layer_format.array_shape(shape)
        self._width = shape[1]
        try:
            with self.writing():
                self._stream = self.temporary.open("r+b")
                self.require_room(math.prod(whole) * layer_format.dtype.itemsize)
                np.lib.format.write_array_header_1_0(
                    self._stream,
                    {"descr": np.lib.format.dtype_to_descr(layer_format.dtype), "fortran_order": False, "shape": whole},
                )
                self._start = self._stream.tell()
                row = np.full(whole[1:], layer_format.nodata, layer_format.dtype).tobytes()
                for _ in range(whole[0]):
                    self._stream.write(row)
                self._stream.flush()
        except BaseException:
            self.abandon()
            raise

    def write(self, window: Window, values: np.ndarray) -> None:
        pixel = values[0, 0].nbytes
        with self.writing():
            for row, line in enumerate(values, start=window.row):
                self._stream.seek(self._start + (row * self._width + window.col) * pixel)
                self._stream.write(line.tobytes())

    def close(self) -> None:
        if self._stream.closed:
            return
        with self.writing():
            self._stream.close()
            self.sync()

    def abandon(self) -> None:
        with suppress(OSError, AttributeError):
            self._stream.close()
        super().abandon()


class MatWriter(PartialFile):
    """A `MapWriter` to a compressed MAT file of version 5; the map is held in memory until `close`.

    Variables: the layer ("classes", "probabilities", "confidence", "entropy"), class_ids and class_names, and for
    whole numbers nodata and, where 1 does not stand for 1, scale.
    """

    def __init__(self, file: Path, layer: Layer, shape: tuple[int, int], classes: ClassTable) -> None:
        layer_format = format_of(layer, classes)
        whole = layer_format.array_shape(shape)
        size = math.prod(whole) * layer_format.dtype.itemsize
        if size >= _LARGEST_IN_MAT:
            raise InputError(
                f"{file}: MAT holds arrays below 2 GB, but this is {size / 1e9:.1f} GB; write .tif or .npy"
            )
        super().__init__(file)
        self._name = layer.removesuffix("-float32")
        self._values = np.full(whole, layer_format.nodata, layer_format.dtype)
        self._variables: dict[str, object] = {
            "class_ids": classes.ids.astype(classes.dtype),
            "class_names": np.array(classes.names, object),
        }
        if not math.isnan(layer_format.nodata):
            self._variables["nodata"] = layer_format.nodata
        if layer_format.scale != 1:
            self._variables["scale"] = layer_format.scale
        self._closed = False

    def write(self, window: Window, values: np.ndarray) -> None:
        self._values[window.slices] = values

    def close(self) -> None:
        if self._closed:
            return
        with self.writing():
            with self.temporary.open("r+b") as stream:
                variables = {self._name: self._values, **self._variables}
                savemat(stream, variables, do_compression=True, oned_as="column")
            self.sync()
        self._closed = True
