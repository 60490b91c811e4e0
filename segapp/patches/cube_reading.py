"""Patches whose pixels tensorflow-io reads from HDF5 and MAT v7.3 files within the tf.data graph.

h5py reads under Python's lock, one patch at a time; here the graph's own threads read, and Python finishes the patch.
tensorflow-io inflates slowly: this serves large cubes that are stored as they are (MATLAB: ``save("cube.mat", "cube",
"-v7.3", "-nocompression")``); compressed ones come quicker through h5py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from segapp.errors import InputError
from segapp.patches.augmentation import Augmentation
from segapp.patches.sampling import PatchSource, random_for
from segapp.remote import INSTALL_TENSORFLOW_IO, import_tensorflow_io
from segapp.scenes.blocks import Block
from segapp.scenes.hdf5 import Hdf5Raster
from segapp.scenes.raster import Raster
from segapp.scenes.raster_scene import RasterScene
from segapp.scenes.scene import Scene
from segapp.windows import Window, whole

Patch = tuple[np.ndarray, np.ndarray]


def reader_in_graph(
    source: PatchSource, augmentation: Augmentation, patch: Callable[[PatchSource, int], Patch]
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function in the graph that gives ``patch(source, index)`` as float32 and uint8, the same to the bit.

    Every scene must be one dataset of an HDF5 or MAT v7.3 file. What is read within the graph is where a patch is cut
    at first; where it is cut again for want of labels, h5py reads. Raises InputError where a scene is of another kind,
    or tensorflow-io not to be had.
    """
    cubes = [_Cube.of(scene) for scene in source.scenes]
    readers = [cube.reader() for cube in cubes]

    def first_place(index: int) -> np.ndarray:
        size = augmentation.source_size(source.size, random_for(source.seed, index, 1))
        number, window = source.window(random_for(source.seed, index, 0), size)
        inside = window.intersect(whole(source.scenes[number].shape)).shift(*cubes[number].offset)
        return np.array([number, inside.row, inside.col, inside.row_stop, inside.col_stop])

    def finish(index: int, place: np.ndarray, stored: np.ndarray) -> Patch:
        number, row, col, row_stop, col_stop = map(int, place)
        scenes = list(source.scenes)
        scenes[number] = cubes[number].holding(Window(row, col, row_stop - row, col_stop - col), stored)
        return patch(replace(source, scenes=scenes), index)

    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = tf.ensure_shape(tf.numpy_function(first_place, [index], tf.int64, stateful=False), (5,))
        stored = tf.switch_case(
            tf.cast(place[0], tf.int32), [lambda reader=reader: reader(place) for reader in readers]
        )
        return tf.numpy_function(finish, [index, place, stored], (tf.float32, tf.uint8), stateful=False)

    return read


@dataclass(frozen=True)
class _Cube:
    """The cube that a scene is, or is a block of: bands `first` to `stop` are read, and `offset` is the block's."""

    scene: Scene
    whole: RasterScene
    raster: Hdf5Raster
    first: int
    stop: int
    offset: tuple[int, int]

    @classmethod
    def of(cls, scene: Scene) -> _Cube:
        inner = scene.scene if isinstance(scene, Block) else scene
        if not isinstance(inner, RasterScene) or not isinstance(inner.raster, Hdf5Raster):
            raise InputError(f"{scene.path}: is no single HDF5 or MAT v7.3 file, which tensorflow-io reads; use h5py")
        validity = inner.validity
        wanted = [*inner.indexes, *([] if validity.mask_band is None else [validity.mask_band])]
        if validity.quality and validity.quality.raster is inner.raster:
            wanted.append(validity.quality.band)
        offset = (scene.window.row, scene.window.col) if isinstance(scene, Block) else (0, 0)
        return cls(scene, inner, inner.raster, min(wanted), max(wanted) + 1, offset)

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function in the graph: the cube's numbers in one row, in the file's order, of the window that the last four
        of (number, row, column, row stop, column stop) give."""
        raster = self.raster
        tensor = _open(raster)

        def read(place: tf.Tensor) -> tf.Tensor:
            starts, stops = (place[1], place[2], self.first), (place[3], place[4], self.stop)
            key = tuple(slice(starts[axis], stops[axis]) for axis in _stored_order(raster))
            return tf.reshape(tensor[key], [-1])  # its static shape is wrong

        one = np.asarray(read(tf.constant([0, 0, 0, 1, 1], tf.int64)))
        expected = raster.read(Window(0, 0, 1, 1), range(self.first, self.stop)).ravel()
        if one.dtype != expected.dtype or not np.array_equal(one, expected, equal_nan=expected.dtype.kind == "f"):
            raise InputError(f"{raster.path}: tensorflow-io reads other numbers than h5py; use h5py")
        return read

    def holding(self, window: Window, stored: np.ndarray) -> Scene:
        """The scene with the numbers of one window at hand."""
        order = _stored_order(self.raster)
        lengths = (window.height, window.width, self.stop - self.first)
        pixels = stored.reshape([lengths[axis] for axis in order]).transpose(np.argsort(order))
        pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
        ahead: Raster = _ReadAhead(self.raster, window, self.first, pixels)
        held = copy.copy(self.whole)
        held.raster = ahead
        quality = held.validity.quality
        if quality and quality.raster is self.raster:
            quality = replace(quality, raster=ahead)
        held.validity = replace(held.validity, raster=ahead, quality=quality)
        if not isinstance(self.scene, Block):
            return held
        block = copy.copy(self.scene)
        block.scene = held
        return block


class _ReadAhead(Raster):
    """A raster of which one window, with the bands from `first` on, is at hand as (h, w, bands); the rest is read."""

    def __init__(self, raster: Hdf5Raster, window: Window, first: int, pixels: np.ndarray) -> None:
        self.path, self.shape, self.dtype, self.band_names = raster.path, raster.shape, raster.dtype, raster.band_names
        self._raster, self._window, self._first, self._pixels = raster, window, first, pixels

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        places = [band - self._first for band in bands]
        if window != self._window or not 0 <= min(places) <= max(places) < self._pixels.shape[-1]:
            return self._raster.read(window, bands)
        return np.take(self._pixels, places, axis=-1)

    def valid(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        return self._raster.valid(window, bands)


def _stored_order(raster: Hdf5Raster) -> list[int]:
    """Which of row (0), column (1) and band (2) each axis of the dataset in the file is."""
    return [raster.axes.index(axis) for axis in range(len(raster.axes))]


def _open(raster: Hdf5Raster) -> tf.Tensor:
    """What tensorflow-io slices; raises InputError where it is not to be had."""
    missing = "reading within the graph needs tensorflow-io"
    if tfio := import_tensorflow_io():
        missing = f"tensorflow-io {tfio.__version__} does not load on TensorFlow {tf.__version__}"
        with suppress(NotImplementedError):
            return tfio.IOTensor.from_hdf5(str(raster.file))("/" + raster.name.lstrip("/"))
    raise InputError(f"{raster.path}: {missing}; {INSTALL_TENSORFLOW_IO}, or read with h5py")
