"""Patches that tensorflow-io reads within the graph are those that h5py reads, bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import segapp
from segapp.classes import ClassTable
from segapp.data.statistics import BandStatistics
from segapp.patches.augmentation import Augmentation
from segapp.patches.pipeline import PatchStream
from segapp.patches.sampling import PatchSource, Sampling, find_class_positions
from segapp.scenes.blocks import divide
from segapp.scenes.hdf5 import Hdf5Raster
from segapp.scenes.raster_scene import RasterScene, open_scene
from segapp.scenes.rules import ImageRules
from segapp.scenes.scene import Scene
from segapp.windows import Window
from tests.scenes.test_mat import write_mat73

CLASSES = ClassTable.model_validate({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "ignore": [0]})
AUGMENTATION = Augmentation(scale=0.3, gain=0.1, noise=0.1)


def _cube(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """(H, W, 5) noise, whose last band is a mask."""
    rng = np.random.default_rng(0)
    cube = (rng.random((*shape, 5)) * 200).astype(dtype)
    cube[..., 4] = rng.random(shape) > 0.2
    return cube


def _write(folder: Path, kind: str, shape: tuple[int, int] = (90, 70), dtype: str = "uint16", **storage: Any) -> Path:
    cube = _cube(shape, dtype)
    labels = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    labels[: shape[0] // 2] = 0
    np.save(folder / "labels.npy", labels)
    if kind == "mat":
        return write_mat73(folder / "cube.mat", cube=cube)
    with h5py.File(folder / "cube.h5", "w") as file:
        file.create_dataset("group/cube", data=cube if kind == "hwc" else np.moveaxis(cube, -1, 0), **storage)
    return folder / "cube.h5"


def _scene(file: Path, rules: ImageRules) -> RasterScene:
    return open_scene([file], rules, label_file=file.with_name("labels.npy"), classes=CLASSES)


def _stream(scenes: list[Scene], size: int = 32, minimum_labelled: float = 0.6) -> PatchStream:
    sampling = Sampling(balance=0.5, minimum_labelled=minimum_labelled)
    positions = find_class_positions(scenes, 2, 0)
    bands = len(scenes[0].bands)
    statistics = BandStatistics(np.full(bands, 0.5), np.ones(bands), 1)
    return PatchStream(PatchSource(scenes, size, 3, sampling, positions), AUGMENTATION, statistics)


def _assert_same(stream: PatchStream, batches: int = 6) -> None:
    in_graph = replace(stream, reader="tensorflow-io")
    pairs = zip(stream.batches(4, 2).take(batches), in_graph.batches(4, 2).take(batches), strict=True)
    for (pixels, labels), (pixels_in_graph, labels_in_graph) in pairs:
        np.testing.assert_array_equal(pixels, pixels_in_graph)
        np.testing.assert_array_equal(labels, labels_in_graph)
        assert not np.isnan(pixels).all()


@pytest.mark.parametrize("kind", ["hwc", "chw", "mat"])
@pytest.mark.parametrize(
    "rules",
    [
        ImageRules(scale=1e-2, offset=-0.1),
        ImageRules(bands=(4, 2), mask_band=5, nodata=17),
        ImageRules(bands=(3, 2), quality={"band": 1, "bits": (2,)}),
    ],
    ids=["all", "masked", "quality"],
)
def test_patches_are_the_same_to_the_bit(tensorflow_io: None, kind: str, rules: ImageRules, tmp_path: Path) -> None:
    _assert_same(_stream([_scene(_write(tmp_path, kind), rules)]))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_each_type_of_number_is_read(tensorflow_io: None, dtype: str, tmp_path: Path) -> None:
    _assert_same(_stream([_scene(_write(tmp_path, "hwc", dtype=dtype, compression="gzip"), ImageRules())]), 2)


def test_blocks_and_several_cubes_are_read(tensorflow_io: None, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = _scene(_write(tmp_path, "chw", (300, 60)), ImageRules())
    second = _scene(_write(tmp_path / "other", "mat", (80, 64)), ImageRules())
    _assert_same(_stream([*divide(first, "train", 8), second]))


def test_a_scene_smaller_than_a_patch_is_padded(tensorflow_io: None, tmp_path: Path) -> None:
    _assert_same(_stream([_scene(_write(tmp_path, "hwc", (20, 40)), ImageRules())], minimum_labelled=0))


def test_h5py_reads_nothing_where_the_first_place_is_taken(
    tensorflow_io: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = _stream([_scene(_write(tmp_path, "hwc"), ImageRules(mask_band=5))], minimum_labelled=0)
    stream = replace(patches, reader="tensorflow-io").batches(4)

    def refuse(raster: Hdf5Raster, window: Window, bands: object) -> np.ndarray:
        raise AssertionError("h5py was asked")

    monkeypatch.setattr(Hdf5Raster, "read", refuse)
    assert len(list(stream.take(3))) == 3


def test_a_geotiff_is_refused(samples: Path) -> None:
    from segapp.data.dataset import read_dataset

    stream = _stream(read_dataset(samples).scenes("train"))
    with pytest.raises(segapp.InputError, match="is no single HDF5"):
        replace(stream, reader="tensorflow-io").batches(2)


def test_without_tensorflow_io_one_line_says_what_to_install(tmp_path: Path) -> None:
    """Where it is not installed, or does not load on this TensorFlow."""
    import tensorflow as tf

    if "s3" in tf.io.gfile.get_registered_schemes():
        pytest.skip("tensorflow-io loads here")
    stream = _stream([_scene(_write(tmp_path, "hwc"), ImageRules())])
    with pytest.raises(segapp.InputError, match=r"pip install 'segapp\[tfio\]'"):
        replace(stream, reader="tensorflow-io").batches(2)


_RECIPE = """
schema = 1
patch_size = 32
steps = 3
batch = 2
[network]
depth = 2
filters = 4
[validation]
every = 3
"""


def _dataset(folder: Path, reader: str) -> Path:
    _write(folder, "hwc")
    (folder / "recipe.toml").write_text(_RECIPE)
    toml = folder / f"{reader}.toml"
    toml.write_text(
        f'schema = 1\n[image]\nreader = "{reader}"\n[classes]\nignore = [0]\n'
        'list = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'
        '[[scenes]]\nimage = "cube.h5"\nlabels = "labels.npy"\nrole = "train"\n'
    )
    return toml


def test_a_training_learns_the_same_from_either_reader(tensorflow_io: None, tmp_path: Path) -> None:
    def weights(reader: str) -> list[np.ndarray]:
        data, output = _dataset(tmp_path, reader), tmp_path / f"{reader} model"
        return segapp.train(data, output, recipe=tmp_path / "recipe.toml").get_weights()

    for by_h5py, in_graph in zip(weights("h5py"), weights("tensorflow-io"), strict=True):
        np.testing.assert_array_equal(by_h5py, in_graph)


def test_a_training_that_cannot_read_in_the_graph_leaves_nothing(tmp_path: Path) -> None:
    import tensorflow as tf

    if "s3" in tf.io.gfile.get_registered_schemes():
        pytest.skip("tensorflow-io loads here")
    data = _dataset(tmp_path, "tensorflow-io")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(segapp.InputError, match=r"pip install 'segapp\[tfio\]'"):
        segapp.train(data, tmp_path / "model", recipe=tmp_path / "recipe.toml")
    assert sorted(tmp_path.iterdir()) == before
