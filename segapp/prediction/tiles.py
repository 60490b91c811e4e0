"""Which windows a network must see so that its map of a scene, tile by tile, equals the map made at once."""

from __future__ import annotations

from collections.abc import Iterator

from segapp.windows import Window, grid, round_up, whole


def tiles(shape: tuple[int, int], stride: int, halo: int, core: int = 512) -> Iterator[tuple[Window, Window]]:
    """Cut a scene of `shape` into pairs (core, seen): the pixels to keep, and the pixels to show to the network.

    `stride` and `halo` are the network's, as `segapp.nets.graph.analyse` finds them. `seen` is the core with its
    halo, cut at the scene's edges, since beyond those a network pads by itself; its origin lies on multiples of
    `stride`, so that poolings fall as they do on the whole scene.
    """
    halo = round_up(halo, stride)
    scene = whole(shape)
    size = round_up(core, stride)
    for window in grid(scene, size, size):
        yield window, window.grow(halo).intersect(scene)
