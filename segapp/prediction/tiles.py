"""Which windows a network must see so that its map of a scene, tile by tile, equals the map made at once."""

from __future__ import annotations

from collections.abc import Iterator

from segapp.windows import Window, grid, round_up, whole


def unet_halo(depth: int) -> int:
    """How far in pixels a U-Net with `depth` poolings and two 3x3 convolutions a stage looks beyond an aligned tile.

    Aligned means that the tile starts and ends at multiples of 2**depth. On the way down every stage adds its two
    pixels and the pooling halves what has been gathered, on the way up the reach doubles and every stage adds two.
    """
    reach = 0
    for _ in range(depth):
        reach = -(-(reach + 2) // 2)
    reach += 2
    for _ in range(depth):
        reach = 2 * reach + 2
    return reach


def tiles(shape: tuple[int, int], depth: int, core: int = 512) -> Iterator[tuple[Window, Window]]:
    """Cut a scene of `shape` into pairs (core, seen): the pixels to keep, and the pixels to show to the network.

    `seen` is the core with its halo, cut at the scene's edges, since beyond those a network pads by itself; its
    origin lies on multiples of 2**depth, so that poolings fall as they do on the whole scene.
    """
    align = 2**depth
    halo = round_up(unet_halo(depth), align)
    scene = whole(shape)
    size = round_up(core, align)
    for window in grid(scene, size, size):
        yield window, window.grow(halo).intersect(scene)
