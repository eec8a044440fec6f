"""CVAT for images: an XML file for a whole set, an element an image with its shapes of many kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import cos, hypot, isfinite, radians, sin
from xml.etree import ElementTree as ET

from app.annotations.shapes import Collector, Point, add_shape
from app.annotations.xml_text import number, whole

NAME = "cvat"
_CORNER = re.compile(r"[xy][tb][lr][12]")


def recognises(root: ET.Element) -> bool:
    """`annotations` with images or CVAT's own `meta`."""
    return root.tag == "annotations" and (root.find("image") is not None or root.find("meta") is not None)


def tracks(root: ET.Element) -> int:
    """Tracks of a video, which are in no image's element and are not read."""
    return len(root.findall("track"))


def entries(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    """The name of every image, and its element."""
    for entry in root.iter("image"):
        name = entry.get("name")
        if name:
            yield name, entry


def read(entry: ET.Element, into: Collector) -> None:
    """A shape per child of an image's element, numbered in their order."""
    if not into.is_of_size(whole(entry.get("width")), whole(entry.get("height"))):
        return
    for source, shape in enumerate(entry):
        reader = _READERS.get(shape.tag)
        if reader is not None:
            reader(shape, source, (shape.get("label") or "")[:200] or None, into)


def _read_box(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    left, top, right, bottom = (number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
    degrees = number(shape.get("rotation") or "0")
    if not isfinite(degrees):
        into.report(f"Shape {source} has a rotation that is not a finite number.")
        return
    if degrees == 0:
        add_shape(into, source, label=label, box=(left, top, right, bottom))
        return
    corners = _turned(left, top, right, bottom, degrees)
    add_shape(into, source, label=label, polygons=[corners])


def _read_ellipse(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    """The box around it, also when it is turned."""
    x, y, across, down = (number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
    degrees = number(shape.get("rotation") or "0")
    if not isfinite(degrees):
        into.report(f"Shape {source} has a rotation that is not a finite number.")
        return
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    wide, high = hypot(across * cosine, down * sine), hypot(across * sine, down * cosine)
    add_shape(into, source, label=label, box=(x - wide, y - high, x + wide, y + high))


def _read_points(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    points = _points(shape.get("points") or "")
    if not points:
        into.report(f"Shape {source} has no points of the form x,y;x,y.")
    elif shape.tag == "polygon":
        add_shape(into, source, label=label, polygons=[points])
    else:
        add_shape(into, source, label=label, points=points)


def _read_skeleton(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    """The joints that are in the image."""
    joints = [joint for joint in shape.iter("points") if joint.get("outside") != "1"]
    points = [point for joint in joints for point in _points(joint.get("points") or "")]
    add_shape(into, source, label=label, points=points)


def _read_cuboid(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    """The box around its eight corners, which are named xtl1, ytl1, xbl1, and so on."""
    across, down = (
        [number(value) for key, value in shape.items() if _CORNER.fullmatch(key) and key[0] == axis]
        for axis in "xy"
    )
    if not across or not down:
        into.report(f"Shape {source} is a cuboid without corners.")
        return
    add_shape(into, source, label=label, box=(min(across), min(down), max(across), max(down)))


def _turned(left: float, top: float, right: float, bottom: float, degrees: float) -> list[Point]:
    """The corners of a box turned clockwise about its middle."""
    x, y = (left + right) / 2, (top + bottom) / 2
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    around = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return [(x + dx * cosine - dy * sine, y + dx * sine + dy * cosine) for dx, dy in around]


def _read_mask(shape: ET.Element, source: int, label: str | None, into: Collector) -> None:
    """A run-length mask within a box, which is taken for it."""
    left, top, width, height = (whole(shape.get(key)) for key in ("left", "top", "width", "height"))
    if left is None or top is None or not width or not height or min(left, top) < 0:
        into.report(f"Shape {source} is a mask without left, top, width and height.")
        return
    add_shape(into, source, label=label, box=(left, top, left + width, top + height))


_READERS: dict[str, Callable[[ET.Element, int, str | None, Collector], None]] = {
    "box": _read_box,
    "ellipse": _read_ellipse,
    "polygon": _read_points,
    "polyline": _read_points,
    "points": _read_points,
    "skeleton": _read_skeleton,
    "cuboid": _read_cuboid,
    "mask": _read_mask,
}


def _points(text: str) -> list[Point]:
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if not all(len(pair) == 2 for pair in pairs):
        return []
    return [(number(x), number(y)) for x, y in pairs]
