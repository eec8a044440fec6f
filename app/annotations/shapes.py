"""Shapes: the geometry of one annotation, in pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from app.annotations.json_text import JsonValue

Point = tuple[float, float]
Kind = Literal["box", "polygon", "mask", "keypoints"]

MAX_POLYGON_POINTS = 20_000
MAX_PROBLEMS = 50
_MAX_LABEL = 200


class ImageRef(NamedTuple):
    """An image of the request: the name it was sent under and its upright size in px."""

    filename: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Mask:
    """A run-length mask: counts of 0s and 1s in turns, down the columns of a height x width image (COCO's
    order).
    """

    height: int
    width: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The geometry of one annotation.

    x1, y1, x2, y2: its bounds in px; pixel (row r, column c) covers [c, c + 1) x [r, r + 1), so a box of 4
    whole pixels has x2 - x1 = 4. polygons, points, mask: what is known beyond the bounds. kind: what is
    measured and locked. source: the annotation's position in its list in the document.
    """

    label: str | None
    kind: Kind
    x1: float
    y1: float
    x2: float
    y2: float
    polygons: tuple[tuple[Point, ...], ...] = ()
    points: tuple[Point, ...] = ()
    mask: Mask | None = None
    source: int = 0


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """What was read for one image. problems: sentences about annotations that were left out or look wrong."""

    shapes: tuple[Shape, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Collector:
    """Shapes and problems of one image while its annotations are read."""

    image: ImageRef
    shapes: list[Shape] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: int = 0

    def report(self, problem: str) -> None:
        """Keeps a sentence; after 50 only their number."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.left_out += 1

    def is_of_size(self, width: JsonValue, height: JsonValue) -> bool:
        """Whether a document means an image of this very size (None, 0: it does not say); reported if it
        does not.

        Coordinates in an image of another size mean nothing in this one.
        """
        image = self.image
        listed = (image.width if _is_unsaid(width) else width, image.height if _is_unsaid(height) else height)
        if listed == (image.width, image.height):
            return True
        said, real = f"{repr(listed[0])[:20]} x {repr(listed[1])[:20]}", f"{image.width} x {image.height}"
        self.report(
            f"The annotations say that '{image.filename}' is {said}, but it is {real} upright; "
            "its annotations are not used."
        )
        return False

    def finish(self) -> ImageGeometry:
        """The frozen result."""
        more = [f"{self.left_out} more annotations have problems."] if self.left_out else []
        return ImageGeometry(tuple(self.shapes), (*self.problems, *more))


def _is_unsaid(side: JsonValue) -> bool:
    """Whether a side of an image is not known: some tools write 0 then."""
    return side is None or (side == 0 and side is not False)


def add_shape(
    into: Collector,
    source: int,
    *,
    label: str | None,
    box: tuple[float, float, float, float] | None = None,
    polygons: Sequence[Sequence[Point]] = (),
    points: Sequence[Point] = (),
    mask: Mask | None = None,
) -> None:
    """Adds one checked shape, or reports why it cannot be used.

    Bounds are `box`, or those of the polygons or points. A shape with a number that is not finite, turned
    inside out, or wholly outside its image is left out.
    """
    where = f"Annotation {source}" + (f" ('{label}')" if label else "")
    outline = [point for polygon in polygons for point in polygon] or list(points)
    bounds = _bounds(outline) if box is None and outline else box
    if bounds is None:
        return
    problem = _problem(bounds, outline, into.image)
    if problem is not None:
        into.report(f"{where} {problem}.")
        return
    if any(len(polygon) > MAX_POLYGON_POINTS for polygon in polygons):
        into.report(
            f"{where} has a polygon of more than {MAX_POLYGON_POINTS} points; its box is used instead."
        )
        polygons = ()
    only_points = bool(points) and box is None
    kind: Kind = "mask" if mask else "polygon" if polygons else "keypoints" if only_points else "box"
    kept = tuple(tuple(polygon) for polygon in polygons)
    into.shapes.append(Shape(label, kind, *bounds, kept, tuple(points), mask, source))


def _problem(box: tuple[float, float, float, float], outline: Sequence[Point], image: ImageRef) -> str | None:
    """Why a shape cannot be used, as the rest of a sentence."""
    if not all(map(math.isfinite, box)) or not all(math.isfinite(x) and math.isfinite(y) for x, y in outline):
        return "has a coordinate that is not a finite number"
    x1, y1, x2, y2 = box
    span = f"({x1:g}, {y1:g}) to ({x2:g}, {y2:g})"
    if x2 < x1 or y2 < y1:
        return f"has a box of negative size: {span}"
    if x2 < 0 or y2 < 0 or x1 > image.width or y1 > image.height:
        return f"lies outside its {image.width} x {image.height} image: {span}"
    return None


def label_of(value: JsonValue) -> str | None:
    """A label as text that can be written anywhere; None for what is no label."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)[:_MAX_LABEL].encode("utf-8", "replace").decode("utf-8")


def number(value: JsonValue) -> float:
    """The value as a float; NaN for what is no number (so the finite check names it)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def numbers(value: JsonValue, count: int) -> tuple[float, ...] | None:
    """The floats of a list of exactly `count` values, or None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    return tuple(number(item) for item in value)


def point_list(value: JsonValue) -> list[Point] | None:
    """Points of [[x, y], ...] or of a flat [x, y, x, y, ...]; None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, list) for item in value):
        pairs = [item for item in value if isinstance(item, list) and len(item) >= 2]
        return [(number(pair[0]), number(pair[1])) for pair in pairs] if len(pairs) == len(value) else None
    if len(value) % 2:
        return None
    flat = [number(item) for item in value]
    return list(zip(flat[::2], flat[1::2], strict=True))


def _bounds(points: Iterable[Point]) -> tuple[float, float, float, float]:
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)
