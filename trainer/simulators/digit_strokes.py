"""The digits 1 to 9 as strokes in the unit square: our own typeface, drawn with any pen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from PIL import ImageDraw

Point = tuple[float, float]


def _arc(centre: Point, radii: Point, start: float, end: float) -> list[Point]:
    """Points of an ellipse's arc; angles in degrees, clockwise from "right" as y points down."""
    (cx, cy), (rx, ry) = centre, radii
    steps = max(2, round(abs(end - start) / 6))
    angles = (math.radians(start + (end - start) * i / steps) for i in range(steps + 1))
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def _turned(strokes: Sequence[Sequence[Point]]) -> list[list[Point]]:
    return [[(1 - x, 1 - y) for x, y in stroke] for stroke in strokes]


_SIX: list[list[Point]] = [_arc((0.5, 0.67), (0.4, 0.33), 0, 360), _arc((0.76, 0.67), (0.66, 0.67), 180, 264)]

STROKES: dict[int, list[list[Point]]] = {
    1: [[(0.22, 0.2), (0.56, 0.0), (0.56, 1.0)]],
    2: [[*_arc((0.5, 0.29), (0.38, 0.29), 190, 390), (0.08, 1.0), (0.94, 1.0)]],
    3: [_arc((0.46, 0.25), (0.34, 0.25), 205, 450), _arc((0.46, 0.75), (0.42, 0.25), -90, 155)],
    4: [[(0.72, 1.0), (0.72, 0.0), (0.04, 0.7), (0.98, 0.7)]],
    5: [[(0.86, 0.0), (0.22, 0.0), (0.16, 0.45), *_arc((0.48, 0.67), (0.4, 0.33), -150, 150)]],
    6: _SIX,
    7: [[(0.06, 0.0), (0.94, 0.0), (0.38, 1.0)]],
    8: [_arc((0.5, 0.24), (0.33, 0.24), 0, 360), _arc((0.5, 0.74), (0.41, 0.26), 0, 360)],
    9: _turned(_SIX),
}


def draw(
    canvas: ImageDraw.ImageDraw, digit: int, *, box: tuple[float, float, float, float], pen: Point
) -> None:
    """Draw `digit` with 255 so that its strokes' centre lines fill `box` (x1, y1, x2, y2, px).

    `pen` is the (width, height) of the ellipse that is dragged along, px: a wide, flat one gives the thick
    stems and thin bars of printed type.
    """
    x1, y1, x2, y2 = box
    for stroke in STROKES[digit]:
        points = [(x1 + x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in stroke]
        for start, end in itertools.pairwise(points):
            _drag(canvas, start, end, pen)


def _drag(canvas: ImageDraw.ImageDraw, start: Point, end: Point, pen: Point) -> None:
    steps = max(1, math.ceil(math.dist(start, end)))
    for i in range(steps + 1):
        x = start[0] + (end[0] - start[0]) * i / steps
        y = start[1] + (end[1] - start[1]) * i / steps
        canvas.ellipse((x - pen[0] / 2, y - pen[1] / 2, x + pen[0] / 2, y + pen[1] / 2), fill=255)
