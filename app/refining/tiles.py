"""Where a large image is cut, so that refining the tiles gives the very bytes of refining the whole."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isqrt


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows, in px."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns, in px."""
        return self.right - self.left

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    @property
    def within(self) -> tuple[slice, slice]:
        """The two slices that cut the box out of an array [H, W, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def relative_to(self, outer: Box) -> Box:
        """The same rectangle, counted from the upper left corner of `outer`."""
        return Box(
            self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left
        )


@dataclass(frozen=True)
class Tile:
    """One piece of work: `window` is what the refiner reads, `core` what is kept of its answer."""

    window: Box
    core: Box


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one image: every window has the same shape, and the cores cover each pixel once."""

    rows: tuple[tuple[int, int, int, int], ...]
    columns: tuple[tuple[int, int, int, int], ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __getitem__(self, index: int) -> Tile:
        """The tile at `index`, counted row by row; built when asked for, so that a plan stays small."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, column = divmod(index, len(self.columns))
        top, bottom, core_top, core_bottom = self.rows[row]
        left, right, core_left, core_right = self.columns[column]
        return Tile(Box(top, left, bottom, right), Box(core_top, core_left, core_bottom, core_right))


def plan_tiles(height: int, width: int, radius: int, tile_pixels: int, grid: int = 1) -> TilePlan:
    """Cut an image of `height` x `width` px into windows of about `tile_pixels` px, halo included.

    `radius` is the receptive-field radius of the refiner in px: a kept pixel is at least so far from every
    border of its window that is not a border of the image, hence the same as in a run of the whole image. A
    window near the border is shifted inwards instead of cut off, so all windows have one shape, and all begin
    at a multiple of `grid` px, so that the refiner's squares are those of the whole image. Windows are never
    smaller than 4 radius + 1 (or the image), even above `tile_pixels`, so that the halo does not eat more
    than three quarters of the work.
    """
    if height * width <= tile_pixels:
        return TilePlan(((0, height, 0, height),), ((0, width, 0, width),))
    smallest = 4 * radius + 1
    side = max(isqrt(tile_pixels), smallest)
    tallest = max(side, tile_pixels // width)
    widest = max(side, tile_pixels // height)
    return TilePlan(_spans(height, tallest, radius, grid), _spans(width, widest, radius, grid))


def _spans(length: int, longest: int, radius: int, grid: int) -> tuple[tuple[int, int, int, int], ...]:
    """Cut one dimension: (window start, window end, core start, core end) of each span, all equally long.

    n windows of length s that overlap by o >= 2 radius cover n s - o (n - 1) px. Where s and o, divided by
    `grid`, leave the rest that `length` leaves, every window begins at a multiple of it, the last one, too.
    """
    if length <= longest:
        return ((0, length, 0, length),)
    longest -= (longest - length) % grid
    overlap = 2 * radius + (length - 2 * radius) % grid
    count = ceil((length - overlap) / (longest - overlap))
    size = ceil((length + overlap * (count - 1)) / count)
    size += (length - size) % grid
    starts = [min(index * (size - overlap), length - size) for index in range(count)]
    cuts = [0, *(start + size - radius for start in starts[:-1]), length]
    return tuple(
        (start, start + size, cut, end) for start, cut, end in zip(starts, cuts[:-1], cuts[1:], strict=True)
    )
