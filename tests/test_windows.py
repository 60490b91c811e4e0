"""Windows are rectangles of pixels, and their arithmetic is that of sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segapp.windows import Window, grid, round_up, whole

_CANVAS = 40
windows = st.builds(Window, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))


def pixels(window: Window) -> np.ndarray:
    canvas = np.zeros((_CANVAS, _CANVAS), bool)
    canvas[window.slices] = True
    return canvas


@given(windows, windows)
def test_intersection_holds_exactly_the_shared_pixels(one: Window, other: Window) -> None:
    both = one.intersect(other)
    np.testing.assert_array_equal(pixels(both), pixels(one) & pixels(other))
    assert both.empty == (not pixels(both).any())
    assert min(both.shape) >= 0


@given(windows, st.integers(1, 9), st.integers(1, 9))
def test_a_grid_covers_every_pixel_once(extent: Window, height: int, width: int) -> None:
    covered = np.zeros((_CANVAS, _CANVAS), int)
    for tile in grid(extent, height, width):
        assert 0 < tile.height <= height and 0 < tile.width <= width
        covered[tile.slices] += 1
    np.testing.assert_array_equal(covered, pixels(extent).astype(int))


@given(windows, st.integers(-5, 5), st.integers(-5, 5), st.integers(0, 5))
def test_shifts_and_margins_can_be_taken_back(window: Window, rows: int, cols: int, margin: int) -> None:
    assert window.shift(rows, cols).shift(-rows, -cols) == window
    assert window.grow(margin).grow(-margin) == window
    assert window.relative_to(window) == whole(window.shape)
    assert (window.row_stop - window.row, window.col_stop - window.col) == window.shape


@given(st.integers(0, 1000), st.integers(1, 64))
def test_round_up_gives_the_next_multiple(size: int, multiple: int) -> None:
    rounded = round_up(size, multiple)
    assert rounded % multiple == 0 and 0 <= rounded - size < multiple


def test_a_grid_of_empty_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match="0x4"):
        list(grid(whole((4, 4)), 0, 4))
