"""Overlapping windows are joined without seams, strip by strip."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segapp.inference.blend import blend
from segapp.inference.tiles import overlapping
from segapp.windows import Window, whole

Map = Callable[[Window], np.ndarray]


@st.composite
def _places(draw: st.DrawFn) -> tuple[tuple[int, int], int, Window]:
    """The shape of a scene, the side of the windows, larger or smaller than it, and a part of the scene."""
    shape = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    row, col = (draw(st.integers(0, size - 1)) for size in shape)
    height, width = draw(st.integers(1, shape[0] - row)), draw(st.integers(1, shape[1] - col))
    return shape, draw(st.integers(2, 100)), Window(row, col, height, width)


def _joined(probabilities: Map, shape: tuple[int, int], size: int, wanted: Window) -> np.ndarray:
    """(H, W, K), -1 outside `wanted`; checks that strips follow one another and hold no more rows than a window."""
    result = np.full((*shape, probabilities(Window(0, 0, 1, 1)).shape[-1]), -1, np.float32)
    top = wanted.row
    pieces = ((window, probabilities(window)) for window in overlapping(shape, size, wanted))
    for strip, values in blend(pieces, wanted):
        assert (strip.row, strip.col, strip.width) == (top, wanted.col, wanted.width)
        assert values.shape[:2] == strip.shape and values.dtype == np.float32 and 0 < strip.height <= size
        result[strip.slices] = values
        top = strip.row_stop
    assert top == wanted.row_stop
    return result


@given(_places())
@settings(max_examples=60)
def test_what_does_not_depend_on_the_window_stays_as_it_is(place: tuple[tuple[int, int], int, Window]) -> None:
    shape, size, wanted = place
    pixels = np.random.default_rng(0).dirichlet(np.ones(3), shape).astype(np.float32)
    result = _joined(lambda window: pixels[window.slices], shape, size, wanted)
    outside = np.ones(shape, bool)
    outside[wanted.slices] = False
    assert (result[outside] == -1).all()
    np.testing.assert_allclose(result[wanted.slices], pixels[wanted.slices], rtol=2e-6)


@given(_places())
@settings(max_examples=30)
def test_pixels_without_data_stay_so_and_leave_their_neighbours_alone(
    place: tuple[tuple[int, int], int, Window],
) -> None:
    shape, size, wanted = place
    rng = np.random.default_rng(1)
    pixels = rng.dirichlet(np.ones(2), shape).astype(np.float32)
    missing = rng.random(shape) < 0.3
    pixels[missing] = np.nan
    result = _joined(lambda window: pixels[window.slices], shape, size, wanted)[wanted.slices]
    np.testing.assert_allclose(result, pixels[wanted.slices], rtol=2e-6)
    assert np.array_equal(np.isnan(result).all(-1), missing[wanted.slices])


def test_the_middle_of_a_window_counts_most_and_no_seam_is_left() -> None:
    wanted = whole((64, 192))
    result = _joined(lambda window: np.full((*window.shape, 1), window.col, np.float32), (64, 192), 64, wanted)
    along = result[32, :, 0]
    steps = np.diff(along)
    for start in range(0, 129, 32):  # in its middle a window counts a thousand times as much as its neighbours
        assert along[start + 31 : start + 33] == pytest.approx(start, abs=2 * 32 / 1000)
    for start in range(32, 129, 32):  # where it begins it hardly counts, and halfway to its middle as much as the other
        assert abs(steps[start - 1]) < 0.1
        assert along[start + 15 : start + 17].mean() == pytest.approx(start - 16, abs=0.1)
    assert (steps > -1e-4).all() and steps.max() < 4.1  # two Gaussians four deviations of 8 pixels apart


@pytest.mark.parametrize("height", [400, 800])
def test_memory_is_that_of_a_strip(height: int) -> None:
    size, width, classes = 64, 500, 8
    strip = size * width * classes * np.float32().itemsize
    window = np.full((size, size, classes), 1 / classes, np.float32)

    def pieces() -> Iterator[tuple[Window, np.ndarray]]:
        for place in overlapping((height, width), size):
            yield place, window

    tracemalloc.start()
    try:
        for _ in blend(pieces(), whole((height, width))):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert strip < peak < 2.5 * strip  # the strip, its weights, its mean, and some windows
