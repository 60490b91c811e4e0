"""Pixel windows: pure arithmetic, no files and no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels, `height` rows from `row` and `width` columns from `col`.

    Row 0 is the top row, column 0 the leftmost; a window may reach over the edges of its scene.
    """

    row: int
    col: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def row_stop(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def empty(self) -> bool:
        """Whether the window holds no pixel."""
        return self.height <= 0 or self.width <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices for an (H, W, ...) array; only meaningful inside that array."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def intersect(self, other: Window) -> Window:
        """The pixels that both windows hold (empty windows have height or width 0)."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        return Window(
            row,
            col,
            max(0, min(self.row_stop, other.row_stop) - row),
            max(0, min(self.col_stop, other.col_stop) - col),
        )

    def shift(self, rows: int, cols: int) -> Window:
        """The same rectangle, moved down by `rows` and right by `cols`."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def grow(self, margin: int) -> Window:
        """The window with `margin` more pixels on each of its four sides."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def relative_to(self, other: Window) -> Window:
        """This window in coordinates whose origin is the top left of `other`."""
        return self.shift(-other.row, -other.col)


def whole(shape: tuple[int, int]) -> Window:
    """The window of all pixels of a scene of `shape` (height, width)."""
    return Window(0, 0, *shape)


def grid(extent: Window, height: int, width: int) -> Iterator[Window]:
    """Cut `extent` into windows of at most `height` x `width`, row by row; those at the far edges are smaller."""
    if height < 1 or width < 1:
        raise ValueError(f"tile size must be positive, not {height}x{width}")
    for row in range(extent.row, extent.row_stop, height):
        for col in range(extent.col, extent.col_stop, width):
            yield Window(row, col, height, width).intersect(extent)


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple
