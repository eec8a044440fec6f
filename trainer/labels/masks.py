"""Owns masks written as polygons or run lengths, as COCO has them: both become pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_RUNS = 4_000_000


def polygon_mask(polygons: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width]: the pixels whose middles lie in any of the flat polygons x, y, x, y, … (px).

    ValueError for malformed ones.
    """
    covered = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
            raise ValueError("a polygon is a list of at least 3 points x, y")
        covered |= _inside(corners.reshape(-1, 2), height, width)
    return covered


def _inside(corners: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose middle is inside, by the even-odd rule: every edge toggles what lies right of it."""
    toggles = np.zeros((height, width + 1), np.uint8)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = np.clip(np.ceil(sorted((y1 - 0.5, y2 - 0.5))), 0, height).astype(np.int64)
        rows = np.arange(low, high)
        if len(rows):
            crossings = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
            columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
            toggles[rows, columns] ^= 1
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1].astype(np.bool_)
    return inside


def run_length_mask(counts: object, size: object) -> NDArray[np.bool_]:
    """bool [height, width] of COCO's run lengths, a list or its compressed string, column by column.

    ValueError says what is wrong.
    """
    match size:
        case [int(height), int(width)] if 0 < height <= 65_536 and 0 < width <= 65_536:
            pass
        case _:
            raise ValueError(f"a mask has the size {str(size)[:40]}, not height and width")
    match counts:
        case str():
            runs = _decode(counts)
        case list() if len(counts) <= MOST_RUNS and all(type(count) is int for count in counts):
            runs = counts
        case _:
            raise ValueError("a mask has no list or string of counts")
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"a mask of {height}x{width} px has counts that add up to {sum(runs)}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _decode(text: str) -> list[int]:
    """Five bits a character, least first, the sixth says more follow; from the fourth on, differences."""
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii", "replace"):
        bits = code - 48
        if not 0 <= bits < 64 or shift > 30 or len(runs) > MOST_RUNS:
            raise ValueError("a mask has a string of counts that is no run-length code")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            signed = value - (1 << shift) if bits & 0x10 else value
            runs.append(signed + runs[-2] if len(runs) > 2 else signed)
            value = shift = 0
    if shift:
        raise ValueError("a mask has a string of counts that breaks off")
    return runs
