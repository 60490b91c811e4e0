"""Blocks of one scene: every role its own pixels, and training away from the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.classes import ClassTable
from segapp.errors import InputError
from segapp.scenes.blocks import ROLES, Block, block_windows, divide
from segapp.scenes.label_ids import BandOfIds
from segapp.scenes.labels import RasterLabels
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.raster import Georeference
from segapp.scenes.raster_scene import RasterScene
from segapp.scenes.rules import ImageRules
from segapp.windows import Window, whole

shapes = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))


def distance(one: Window, other: Window) -> int:
    """Pixels between two windows, along the axis where they are apart."""
    rows = max(one.row - other.row_stop, other.row - one.row_stop)
    cols = max(one.col - other.col_stop, other.col - one.col_stop)
    return max(rows, cols)


@given(shapes, st.integers(0, 600))
def test_training_blocks_stay_a_gap_away_from_the_other_roles(shape: tuple[int, int], gap: int) -> None:
    held_out = block_windows(shape, "val", gap) + block_windows(shape, "test", gap)
    for window in block_windows(shape, "train", gap):
        assert not window.empty
        assert window.intersect(whole(shape)) == window
        assert all(distance(window, other) >= gap for other in held_out)


@given(shapes, st.integers(0, 600))
def test_validation_and_test_blocks_are_fixed_and_apart_too(shape: tuple[int, int], gap: int) -> None:
    for role in ("val", "test"):
        assert block_windows(shape, role, gap) == block_windows(shape, role, 0)
    if block_windows(shape, "train", gap):
        for val in block_windows(shape, "val", gap):
            assert all(distance(val, test) >= gap for test in block_windows(shape, "test", gap))


@given(shapes)
def test_without_a_gap_the_blocks_are_the_whole_scene_in_proportion(shape: tuple[int, int]) -> None:
    sizes = {role: sum(w.height * w.width for w in block_windows(shape, role, 0)) for role in ROLES}
    assert sum(sizes.values()) == shape[0] * shape[1]
    per_line = min(shape)
    for role, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        lines = len(block_windows(shape, role, 0)) + 1  # each stripe's edges are rounded to whole lines
        assert abs(sizes[role] - share * shape[0] * shape[1]) <= lines * per_line


def scene(shape: tuple[int, int]) -> RasterScene:
    rng = np.random.default_rng(0)
    grid = Georeference("EPSG:32633", (10.0, 0.5, 500_000.0, 0.25, -10.0, 6_000_000.0))
    image = ArrayRaster("image", rng.integers(0, 99, (*shape, 2)), georeference=grid)
    labels = RasterLabels(ArrayRaster("labels", rng.integers(0, 2, shape)), BandOfIds(0))
    classes = ClassTable.model_validate({"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]})
    return RasterScene("field", image, ImageRules(), ("image",), None, labels, classes)


def test_a_block_is_that_part_of_its_scene() -> None:
    parent = scene((30, 40))
    block = Block(parent, Window(5, 10, 20, 25))
    inner, same = Window(2, 3, 4, 6), Window(7, 13, 4, 6)
    np.testing.assert_array_equal(block.read(inner), parent.read(same))
    np.testing.assert_array_equal(block.read_labels(inner), parent.read_labels(same))
    np.testing.assert_array_equal(block.read_label_ids(inner)[0], parent.read_label_ids(same)[0])
    np.testing.assert_array_equal(block.valid(inner), parent.valid(same))
    assert (block.shape, block.bands, block.labelled) == ((20, 25), parent.bands, True)


def test_a_block_lies_where_its_pixels_do() -> None:
    block = Block(scene((30, 40)), Window(5, 10, 20, 25))
    assert block.georeference is not None
    assert block.georeference.transform == (10.0, 0.5, 500_102.5, 0.25, -10.0, 5_999_952.5)


@pytest.mark.parametrize("window", [Window(-1, 0, 2, 2), Window(19, 0, 2, 2), Window(0, 24, 2, 2)])
def test_a_block_gives_no_pixel_of_its_neighbours(window: Window) -> None:
    block = Block(scene((30, 40)), Window(5, 10, 20, 25))
    for read in (block.read, block.read_labels, block.valid):
        with pytest.raises(ValueError, match="reaches out"):
            read(window)


def test_a_scene_too_small_for_the_gap_says_so() -> None:
    with pytest.raises(InputError, match=r"image: 30x40 pixels are too few .* gap of 12 pixels; use a smaller patch"):
        divide(scene((30, 40)), "train", 12)
    assert len(divide(scene((30, 40)), "train", 11)) == 1
