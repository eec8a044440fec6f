"""Shapes as pixels: which pixels of an image a set of shapes touches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from app.annotations import rle
from app.annotations.shapes import Point, Shape

TOUCH = 1e-6
"""Overlap in px below which a shape does not count as touching a pixel: the noise of x + width in floats."""

WORK_LIMIT = 300_000_000
"""Pixels that outlines and masks of one image may be worked on in all; beyond, bounding boxes stand in for
them.
"""


def rasterise(shapes: Iterable[Shape], height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width]: True for every pixel whose area a shape touches.

    Pixel (row r, column c) covers [c, c + 1) x [r, r + 1). Boxes take every pixel they overlap; polygons
    every pixel that holds a part of their inside or outline; masks their pixels; keypoints the pixels they
    lie in. So a locked region is never smaller than its shape. Many huge outlines are replaced by their
    boxes (see WORK_LIMIT), which are never smaller either.
    """
    covered = np.zeros((height, width), np.bool_)
    corners = np.zeros((height + 1, width + 1), np.int32)
    work = 0
    for shape in shapes:
        work += _cost(shape, height, width)
        if shape.kind == "box" or work > WORK_LIMIT:
            _add_box(corners, shape)
        elif shape.mask is not None:
            covered |= rle.to_array(shape.mask)
        elif shape.kind == "polygon":
            for polygon in shape.polygons:
                _add_polygon(covered, polygon)
        else:
            _add_points(covered, shape.points)
    for axis in (0, 1):
        np.cumsum(corners, axis=axis, out=corners)  # in place: these are 4 bytes for every pixel
    covered |= corners[:height, :width] > 0
    return covered


def _cost(shape: Shape, height: int, width: int) -> int:
    if shape.mask is not None:
        return height * width
    if shape.kind != "polygon":
        return 0
    rows, columns = _span(shape.y1, shape.y2, height), _span(shape.x1, shape.x2, width)
    tall = max(0, rows[1] - rows[0])
    wide = max(0, columns[1] - columns[0])
    points = sum(len(polygon) for polygon in shape.polygons)
    return tall * wide * len(shape.polygons) + 20 * points * (tall + wide)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """The half-open range of pixels that [low, high] touches, at least one, clipped to [0, size)."""
    limit = float(size) + 1
    first = int(np.floor(min(max(low + TOUCH, -1.0), limit)))
    last = max(int(np.ceil(min(max(high - TOUCH, -1.0), limit))), first + 1)
    return min(max(first, 0), size), min(max(last, 0), size)


def _add_box(corners: NDArray[np.int32], shape: Shape) -> None:
    """Into a summed-area table: four corners, however large the box is."""
    height, width = corners.shape[0] - 1, corners.shape[1] - 1
    (top, bottom), (left, right) = _span(shape.y1, shape.y2, height), _span(shape.x1, shape.x2, width)
    corners[top, left] += 1
    corners[bottom, right] += 1
    corners[top, right] -= 1
    corners[bottom, left] -= 1


def _add_points(covered: NDArray[np.bool_], points: Iterable[Point]) -> None:
    height, width = covered.shape
    for x, y in points:
        if 0 <= x < width and 0 <= y < height:
            covered[int(y), int(x)] = True


def _add_polygon(covered: NDArray[np.bool_], polygon: tuple[Point, ...]) -> None:
    """Pixels whose centre is inside (even-odd), and pixels that an edge crosses: together, every pixel
    touched.
    """
    height, width = covered.shape
    start = np.array(polygon, np.float64)
    end = np.roll(start, -1, axis=0)
    top, bottom = _span(float(start[:, 1].min()), float(start[:, 1].max()), height)
    left, right = _span(float(start[:, 0].min()), float(start[:, 0].max()), width)
    if top >= bottom or left >= right:
        return
    window = (top, bottom, left, right)
    touched = _inside(start, end, window) | _crossed(start, end, window)
    covered[top:bottom, left:right] |= touched if touched.any() else True  # a line on a border between pixels


_Window = tuple[int, int, int, int]  # top, bottom, left, right


def _edges_by_row(
    start: NDArray[np.float64], end: NDArray[np.float64], window: _Window
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(edge, row) for every row of the window that an edge reaches into, closed at both ends."""
    top, bottom, _, _ = window
    low = np.clip(np.floor(np.minimum(start[:, 1], end[:, 1]) + TOUCH), top, bottom).astype(np.int64)
    high = np.clip(np.floor(np.maximum(start[:, 1], end[:, 1]) - TOUCH), top - 1, bottom - 1).astype(np.int64)
    count = np.maximum(high - low + 1, 0)
    edge = np.repeat(np.arange(len(start)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    return edge, row


def _inside(start: NDArray[np.float64], end: NDArray[np.float64], window: _Window) -> NDArray[np.bool_]:
    """Even-odd rule at the pixels' centres."""
    top, bottom, left, right = window
    edge, row = _edges_by_row(start, end, window)
    centre = row + 0.5
    upper, lower = np.minimum(start[edge, 1], end[edge, 1]), np.maximum(start[edge, 1], end[edge, 1])
    hits = (upper <= centre) & (centre < lower)
    edge, row, centre = edge[hits], row[hits], centre[hits]
    x = _x_at(start[edge], end[edge], centre)
    column = (
        np.clip(np.ceil(x - 0.5), left, right).astype(np.int64) - left
    )  # first centre at or right of the edge
    toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.bitwise_xor.at(toggles, (row - top, column), 1)
    odd: NDArray[np.bool_] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1].view(np.bool_)
    return odd


def _crossed(start: NDArray[np.float64], end: NDArray[np.float64], window: _Window) -> NDArray[np.bool_]:
    """Pixels that an edge runs through."""
    top, bottom, left, right = window
    edge, row = _edges_by_row(start, end, window)
    a, b = start[edge], end[edge]
    upper, lower = np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])
    x_in, x_out = (_x_at(a, b, np.clip(y, upper, lower)) for y in (row.astype(np.float64), row + 1.0))
    flat = upper == lower
    x_in, x_out = np.where(flat, a[:, 0], x_in), np.where(flat, b[:, 0], x_out)
    first = np.floor(np.minimum(x_in, x_out) + TOUCH)
    after = np.maximum(np.ceil(np.maximum(x_in, x_out) - TOUCH), first + 1)
    first, after = (np.clip(column, left, right).astype(np.int64) - left for column in (first, after))
    run = after - first
    column = np.arange(run.sum()) - np.repeat(np.cumsum(run) - run, run) + np.repeat(first, run)
    crossed = np.zeros((bottom - top, right - left), np.bool_)
    crossed[np.repeat(row - top, run), column] = True
    return crossed


def _x_at(a: NDArray[np.float64], b: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the lines from a to b [N, 2] cross the heights y [N]; a's x for level ones."""
    rise = b[:, 1] - a[:, 1]
    part = np.divide(y - a[:, 1], rise, out=np.zeros_like(y), where=rise != 0)
    x: NDArray[np.float64] = a[:, 0] + part * (b[:, 0] - a[:, 0])
    return x
