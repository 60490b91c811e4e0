"""Map a scene piece by piece: exact tiles, or overlapping windows that are blended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from math import isqrt, lcm
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from segapp.classes import IGNORED_INDEX
from segapp.errors import InputError
from segapp.inference.blend import blend as blended
from segapp.inference.engine import Engine
from segapp.inference.tiles import BLOCK, overlapping, tiles
from segapp.scenes.scene import Scene
from segapp.windows import Window, round_up, whole

if TYPE_CHECKING:
    from segapp.nets.precision import ComputePrecision

Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGEST_TILE = 4096
_BLENDED = 512


class Predictor:
    """Maps scenes with a network of any size in memory that does not grow with the scene.

    Tiles carry the network's halo, so that their maps are those of the whole scene at once. With `blend`, or where a
    layer sees the whole image, windows with half overlap are weighted by a Gaussian instead. With
    `test_time_augmentation`, probabilities are the mean over the eight flips and quarter turns of each tile, at eight
    times the work. `tile` is the side of what the network sees, in pixels; by default what fits in the engine's memory.

    Raises InputError where a tile of that size is all halo.
    """

    def __init__(
        self,
        engine: Engine,
        test_time_augmentation: bool = False,
        *,
        tile: int | None = None,
        blend: bool = False,
    ) -> None:
        self._engine = engine
        whole_group = list(product((False, True), range(4)))  # flipped or not, quarter turns
        self._orientations = whole_group if test_time_augmentation else whole_group[:1]
        self.blends = blend or engine.halo is None
        if self.blends:
            self.tile = round_up(tile or _BLENDED, engine.stride)
        else:
            halo = round_up(engine.halo or 0, engine.stride)
            self._core = _core(tile, halo, engine)
            self.tile = self._core + 2 * halo

    @property
    def precision(self) -> ComputePrecision | None:
        """What the network computes in; None where a server decides."""
        return self._engine.precision

    def probabilities(self, scene: Scene, window: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """Piece by piece: a window of the scene and its class probabilities, (h, w, K) float32; NaN without data.

        The pieces cover `window`, by default the whole scene.
        """
        nowhere = np.full(self._engine.classes, np.nan, np.float32)
        if not self.blends:
            yield from self._mapped(scene, self._tiles(scene, window), self._mean_over_orientations, nowhere)
            return
        wanted = window or whole(scene.shape)
        seen = ((piece, piece) for piece in overlapping(scene.shape, self.tile, wanted))
        yield from blended(self._mapped(scene, seen, self._mean_over_orientations, nowhere), wanted)

    def indexes(self, scene: Scene, window: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """Piece by piece: a window of the scene and (h, w) uint8 network indexes, `IGNORED_INDEX` without data."""
        if self.blends or len(self._orientations) > 1:
            for kept, probabilities in self.probabilities(scene, window):
                yield kept, most_probable(probabilities)
            return
        nowhere = np.array(IGNORED_INDEX, np.uint8)
        yield from self._mapped(scene, self._tiles(scene, window), self._engine.indexes, nowhere)

    def class_map(self, scene: Scene) -> np.ndarray:
        """(H, W) uint8 network indexes of the most probable class; `IGNORED_INDEX` where the scene has no data."""
        indexes = np.empty(scene.shape, np.uint8)
        for window, found in self.indexes(scene):
            indexes[window.slices] = found
        return indexes

    def _tiles(self, scene: Scene, window: Window | None) -> Iterator[tuple[Window, Window]]:
        return tiles(scene.shape, self._engine.stride, self._engine.halo or 0, self._core, window)

    def _mapped(
        self,
        scene: Scene,
        pieces: Iterable[tuple[Window, Window]],
        network: Callable[[np.ndarray, Window], np.ndarray],
        nowhere: np.ndarray,
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """What `network` makes of each piece (kept, seen), and `nowhere` where the scene has no data."""

        def mapped(piece: tuple[Window, Window, np.ndarray]) -> tuple[Window, np.ndarray]:
            kept, seen, pixels = piece
            place = kept.relative_to(seen)
            missing = np.isnan(pixels[place.slices][..., 0])
            if missing.all():
                return kept, np.full((*kept.shape, *nowhere.shape), nowhere)
            found = network(self._padded(pixels), place)
            found[missing] = nowhere
            return kept, found

        read = read_ahead(scene, pieces)
        in_flight = self._engine.in_flight
        yield from map(mapped, read) if in_flight == 1 else in_parallel(in_flight, mapped, read)

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        """With sides that divide by the stride, filled with NaN."""
        padding = [(0, round_up(size, self._engine.stride) - size) for size in pixels.shape[:2]]
        return np.pad(pixels, (*padding, (0, 0)), constant_values=np.nan) if np.any(padding) else pixels

    def _mean_over_orientations(self, image: np.ndarray, place: Window) -> np.ndarray:
        """(h, w, C) to the probabilities of `place`; both sides divide by the stride, so all orientations align."""
        if len(self._orientations) == 1:
            return self._engine.probabilities(image, place)
        total = np.zeros((*image.shape[:2], self._engine.classes), np.float32)
        for flip, turns in self._orientations:
            oriented = np.ascontiguousarray(np.rot90(image[::-1] if flip else image, turns))
            back = np.rot90(self._engine.probabilities(oriented, whole(oriented.shape[:2])), -turns)
            total += back[::-1] if flip else back
        return total[place.slices] / len(self._orientations)


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """(h, w, K) probabilities to (h, w) uint8 network indexes; NaN becomes `IGNORED_INDEX`."""
    indexes = probabilities.argmax(-1).astype(np.uint8)
    indexes[np.isnan(probabilities[..., 0])] = IGNORED_INDEX
    return indexes


def read_ahead(
    scene: Scene, pieces: Iterable[tuple[Window, Window]], ahead: int = 2
) -> Iterator[tuple[Window, Window, np.ndarray]]:
    """Each piece (kept, seen) with the pixels that are seen, (h, w, C); threads read those `ahead`."""
    with ThreadPoolExecutor(ahead, "reader") as reader:
        waiting: deque[tuple[Window, Window, Future[np.ndarray]]] = deque()
        try:
            for kept, seen in pieces:
                waiting.append((kept, seen, reader.submit(scene.read, seen)))
                if len(waiting) > ahead:
                    kept, seen, pixels = waiting.popleft()
                    yield kept, seen, pixels.result()
            while waiting:
                kept, seen, pixels = waiting.popleft()
                yield kept, seen, pixels.result()
        finally:
            for *_, pixels in waiting:
                pixels.cancel()


def in_parallel(number: int, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in order; while one is waited for, `number` are worked on in threads.

    Where the results are no longer wanted, as after an error, those on the way are not waited for.
    """
    with ThreadPool(number) as threads:
        waiting: deque[AsyncResult[Result]] = deque()
        for item in items:
            waiting.append(threads.apply_async(function, (item,)))
            if len(waiting) == number:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


def _core(tile: int | None, halo: int, engine: Engine) -> int:
    """The side of what is kept of a tile: whole blocks of the written file where that is possible."""
    side = tile or min(_LARGEST_TILE, isqrt(engine.memory // engine.bytes_per_pixel))
    block = lcm(BLOCK, engine.stride)
    core = side - 2 * halo
    if tile is None:
        core = max(core, block)
    if core < engine.stride:
        raise InputError(
            f"a tile of {side} pixels is all halo, which takes {halo} pixels on each side; give a --tile-size of "
            f"{round_up(2 * halo + block, block)}, or --blend"
        )
    return core // block * block if core >= block else core // engine.stride * engine.stride
