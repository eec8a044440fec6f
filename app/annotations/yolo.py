"""YOLO label files: a line per object, its class and then numbers in parts of the image's width and height.

Four numbers are a box (centre x, centre y, width, height); an even number from six on is a polygon (eight:
also the corners of a turned box); one more number at the end is a detector's confidence. A pose has the box
and then its keypoints; how many, and whether with visibility, `data.yaml` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.annotations.shapes import Collector, Point, add_shape

NAME = "yolo"
LINES_LOOKED_AT = 100
"""To know the format by: one broken line does not hide the others."""
MOST_NUMBERS = 100_000
"""Of one line; a longer one is no object."""


@dataclass(frozen=True, slots=True)
class YoloClasses:
    """What `data.yaml` (or `classes.txt`) says about a set: class names, and [K, 2 or 3] of a pose."""

    names: tuple[str, ...] = ()
    keypoints: tuple[int, int] | None = None

    def label(self, number: int) -> str:
        """The name of a class, or its number where it has none."""
        return self.names[number] if 0 <= number < len(self.names) else str(number)


def recognises(text: str) -> bool:
    """Whether one of the first lines is a class number and numbers enough for a box, or all are empty."""
    lines = [line for line in text.splitlines() if line.strip()]
    return not lines or any(map(_is_object, lines[:LINES_LOOKED_AT]))


def _is_object(line: str) -> bool:
    values = _numbers(line)
    return values is not None and len(values) >= 5 and values[0].is_integer() and values[0] >= 0


def read(text: str, classes: YoloClasses, into: Collector) -> None:
    """A shape per line; what is no object is reported by its line, which counts from 0."""
    for source, line in enumerate(text.splitlines()):
        if not line.strip():
            continue
        values = _numbers(line)
        if values is None or len(values) < 5 or not values[0].is_integer():
            into.report(f"Line {source} is no class number with the numbers of an object.")
            continue
        _add(values[1:], source, classes.label(int(values[0])), classes.keypoints, into)


def _add(
    values: Sequence[float], source: int, label: str, keypoints: tuple[int, int] | None, into: Collector
) -> None:
    if keypoints is not None and len(values) == 4 + keypoints[0] * keypoints[1]:
        points = _pose(values[4:], keypoints[1], into)
        add_shape(into, source, label=label, box=_box(values, into), points=points)
    elif len(values) <= 5:
        add_shape(into, source, label=label, box=_box(values, into))
    elif _is_pose(values):
        add_shape(into, source, label=label, box=_box(values, into), points=_pose(values[4:], 3, into))
    elif len(values) % 2 == 0 or 0 <= values[-1] <= 1:
        outline = values[: len(values) // 2 * 2]  # a number that is left over is a detector's confidence
        add_shape(into, source, label=label, polygons=[_points(outline, into)])
    else:
        into.report(
            f"Line {source} has {len(values)} numbers, which are neither a box, a polygon nor a pose."
        )


def _is_pose(values: Sequence[float]) -> bool:
    """Whether numbers that nobody explains are a box and keypoints with a visibility of 0, 1 or 2 each.

    An even number of them could be a polygon as well, unless a 2 is among them, which lies in no image.
    """
    seen = values[6::3]
    fits = len(values) % 3 == 1 and all(value in (0, 1, 2) for value in seen)
    return fits and (len(values) % 2 == 1 or 2 in seen)


def _box(values: Sequence[float], into: Collector) -> tuple[float, float, float, float]:
    x, y, width, height = values[:4]
    across, down = into.image.width, into.image.height
    return (
        (x - width / 2) * across,
        (y - height / 2) * down,
        (x + width / 2) * across,
        (y + height / 2) * down,
    )


def _points(values: Sequence[float], into: Collector) -> list[Point]:
    across, down = into.image.width, into.image.height
    return [(x * across, y * down) for x, y in zip(values[::2], values[1::2], strict=True)]


def _pose(values: Sequence[float], step: int, into: Collector) -> list[Point]:
    """Keypoints that are labelled: of visibility above 0, or where there is none, not negative or (0, 0)."""
    rows = [values[i : i + step] for i in range(0, len(values), step)]
    seen = [row for row in rows if (row[2] > 0 if step == 3 else any(row) and min(row) >= 0)]
    return _points([value for row in seen for value in row[:2]], into)


def _numbers(line: str) -> list[float] | None:
    words = line.split(None, MOST_NUMBERS)
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
