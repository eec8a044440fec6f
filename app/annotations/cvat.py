"""CVAT for images: an XML file for a whole set, an element each with boxes, polygons, points and masks."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, isfinite, radians, sin
from xml.etree import ElementTree as ET

from app.annotations.shapes import Collector, Point, add_shape
from app.annotations.xml_text import number, whole

NAME = "cvat"


def recognises(root: ET.Element) -> bool:
    """`annotations` with images or CVAT's own `meta`."""
    return root.tag == "annotations" and (root.find("image") is not None or root.find("meta") is not None)


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
        label = (shape.get("label") or "")[:200] or None
        if shape.tag == "box":
            _read_box(shape, source, label, into)
        elif shape.tag == "ellipse":
            x, y, across, down = (number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
            add_shape(into, source, label=label, box=(x - across, y - down, x + across, y + down))
        elif shape.tag in ("polygon", "polyline", "points"):
            points = _points(shape.get("points") or "")
            if not points:
                into.report(f"Shape {source} has no points of the form x,y;x,y.")
            elif shape.tag == "polygon":
                add_shape(into, source, label=label, polygons=[points])
            else:
                add_shape(into, source, label=label, points=points)
        elif shape.tag == "mask":
            _read_mask(shape, source, label, into)


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


def _points(text: str) -> list[Point]:
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if not all(len(pair) == 2 for pair in pairs):
        return []
    return [(number(x), number(y)) for x, y in pairs]
