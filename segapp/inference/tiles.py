"""Which windows a network must see so that its map of a scene, tile by tile, equals the map made at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import lcm

from segapp.windows import Window, round_up, whole

BLOCK = 256
"""Sides of the blocks of a written map, in pixels: cores are whole blocks where they are large enough."""


def tiles(
    shape: tuple[int, int], stride: int, halo: int, core: int = 512, window: Window | None = None
) -> Iterator[tuple[Window, Window]]:
    """Cut `window` of a scene of `shape`, by default all of it, into pairs (core, seen), row by row.

    A core is what to keep, seen is what to show to the network: the core with its halo, cut at the scene's edges, since
    beyond those a network pads by itself. `stride` and `halo` are the network's, as `segapp.nets.graph.analyse` finds
    them. What is seen begins at a multiple of `stride`, and ends at one or at the scene's end, so that poolings fall as
    they do on the whole scene, whatever the window. All tiles see the same size, for which a network is prepared once:
    those at the edges see more of the scene than they need. No core has sides above `core`, and all are about alike.
    """
    wanted = window or whole(shape)
    size = round_up(core, stride)
    rows, cols = (
        list(_along(start, stop, limit, size, halo, stride))
        for start, stop, limit in (
            (wanted.row, wanted.row_stop, shape[0]),
            (wanted.col, wanted.col_stop, shape[1]),
        )
    )
    for (row, row_stop), (top, bottom) in rows:
        for (col, col_stop), (left, right) in cols:
            yield Window(row, col, row_stop - row, col_stop - col), Window(top, left, bottom - top, right - left)


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


def _along(
    start: int, stop: int, limit: int, size: int, halo: int, stride: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Along one axis of a scene that ends at `limit`: where each core begins and stops, and where what it sees does."""
    halo = round_up(halo, stride)
    first = start // stride * stride
    number = -(-(stop - first) // size)
    step = lcm(BLOCK, stride) if size % lcm(BLOCK, stride) == 0 else stride
    size = min(size, round_up(-(-(stop - first) // number), step))
    begins = range(first, stop, size)
    ends = [min(begin + size, round_up(stop, stride)) for begin in begins]  # only an aligned tile's halo is known
    needed = [(max(0, begin - halo), min(limit, end + halo)) for begin, end in zip(begins, ends, strict=True)]
    longest = round_up(max(end - begin for begin, end in needed), stride)
    for begin, end, (left, _) in zip(begins, ends, needed, strict=True):
        left = max(0, min(left, round_up(limit - longest, stride)))
        yield (max(begin, start), min(end, stop)), (left, min(limit, left + longest))


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
