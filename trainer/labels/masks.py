"""Owns masks written as polygons or run lengths, as COCO has them: both become pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

MOST_RUNS = 4_000_000


def polygon_mask(polygons: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width]: the union of flat polygons x, y, x, y, … in px; ValueError for malformed ones."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
            raise ValueError("a polygon is a list of at least 3 points x, y")
        # Pillow draws between the centres of pixels, where a corner at x lies at x - 0.5.
        draw.polygon([(float(x), float(y)) for x, y in corners.reshape(-1, 2) - 0.5], fill=1)
    return np.array(canvas, np.bool_)


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
