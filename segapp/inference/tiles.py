"""Which windows a network must see so that its map of a scene, tile by tile, equals the map made at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from segapp.windows import Window, round_up, whole


def tiles(
    shape: tuple[int, int], stride: int, halo: int, core: int = 512, window: Window | None = None
) -> Iterator[tuple[Window, Window]]:
    """Cut `window` of a scene of `shape`, by default all of it, into pairs (core, seen), row by row.

    A core is what to keep, seen is what to show to the network: the core with its halo, cut at the scene's edges, since
    beyond those a network pads by itself. `stride` and `halo` are the network's, as `segapp.nets.graph.analyse` finds
    them. What is seen begins at a multiple of `stride`, and ends at one or at the scene's end, so that poolings fall as
    they do on the whole scene, whatever the window.
    """
    halo = round_up(halo, stride)
    scene = whole(shape)
    wanted = window or scene
    size = round_up(core, stride)
    for row, height in _steps(wanted.row, wanted.row_stop, size, stride):
        for col, width in _steps(wanted.col, wanted.col_stop, size, stride):
            aligned = Window(row, col, height, width)
            yield aligned.intersect(wanted), aligned.grow(halo).intersect(scene)


def overlapping(shape: tuple[int, int], size: int, window: Window | None = None) -> Iterator[Window]:
    """Windows of `size` pixels a side with half overlap that cover `window` of a scene of `shape`, row by row.

    The last of a row and of a column lie at the window's end. A scene smaller than `size` is seen as it is.
    """
    wanted = window or whole(shape)
    rows, cols = (
        _starts(start, stop, size, limit)
        for start, stop, limit in (
            (wanted.row, wanted.row_stop, shape[0]),
            (wanted.col, wanted.col_stop, shape[1]),
        )
    )
    for row in rows:
        for col in cols:
            yield Window(row, col, size, size).intersect(whole(shape))


def central(shape: tuple[int, int], size: int) -> Iterator[tuple[Window, Window]]:
    """The windows that `overlapping` lays over a scene of `shape`, as pairs (kept, seen), row by row.

    What is kept is what lies nearer to the middle of its window than to that of another; it tiles the scene.
    """
    rows, cols = (_nearest(_starts(0, stop, size, stop), size, stop) for stop in shape)
    for row, top, bottom in rows:
        for col, left, right in cols:
            yield Window(top, left, bottom - top, right - left), Window(row, col, size, size).intersect(whole(shape))


def _steps(start: int, stop: int, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Aligned starts, and the lengths up to the next or the aligned end: only an aligned tile's halo is known."""
    first = start // stride * stride
    for begin in range(first, stop, size):
        yield begin, min(size, round_up(stop - begin, stride))


def _starts(start: int, stop: int, size: int, limit: int) -> list[int]:
    """Starts of windows of `size` that cover start to stop and stay below `limit` where they can."""
    last = max(0, min(stop, limit) - size)
    first = min(start, last)
    step = max(1, size // 2)
    return sorted({*range(first, last, step), last})


def _nearest(starts: list[int], size: int, stop: int) -> list[tuple[int, int, int]]:
    """Each start of a window of `size` with the first pixel that is nearest to its middle, and the next one's first."""
    borders = [(one + other + size) // 2 for one, other in pairwise(starts)]
    return list(zip(starts, [0, *borders], [*borders, stop], strict=True))
