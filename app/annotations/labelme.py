"""LabelMe documents: one image, a list of labelled shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.annotations.json_text import JsonValue
from app.annotations.matching import Matching
from app.annotations.shapes import Collector, Point, add_shape, label_of, point_list

NAME = "labelme"
_OWN_KEYS = frozenset({"imagePath", "imageData", "imageHeight", "flags"})
_READ_KEYS = ("imagePath", "imageWidth", "imageHeight", "shapes")
_CIRCLE_CORNERS = 32
_AS_POINTS = frozenset({"point", "points", "line", "linestrip"})
_AS_BOX = frozenset(
    {"rectangle", "mask"}
)  # a mask's picture is not decoded; its points are the corners of its box


def recognises(document: JsonValue) -> bool:
    """An object with shapes and one of LabelMe's own keys, or a list of nothing but such objects."""
    if isinstance(document, list):
        return bool(document) and all(map(_is_document, document))
    return _is_document(document)


def read(document: JsonValue, matching: Matching) -> None:
    """One shape per LabelMe shape, numbered inside its document."""
    documents = document if isinstance(document, list) else [document]
    for position, entry in enumerate(documents):
        assert isinstance(entry, dict)
        named = {"imagePath": entry.get("imagePath")}
        collector = matching.only() or matching.of_entry(named, position, len(documents))
        shapes = entry["shapes"]
        if collector is None or not isinstance(shapes, list):
            continue
        if not collector.is_of_size(entry.get("imageWidth"), entry.get("imageHeight")):
            continue
        for source, shape in enumerate(shapes):
            if isinstance(shape, dict):
                _read_shape(shape, source, collector)


def split(document: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """The name of the image, which may lie in another folder, and what is read of the document."""
    if isinstance(document, dict) and isinstance(name := document.get("imagePath"), str):
        yield name, {key: document[key] for key in _READ_KEYS if key in document}


def _is_document(entry: JsonValue) -> bool:
    return (
        isinstance(entry, dict) and isinstance(entry.get("shapes"), list) and not _OWN_KEYS.isdisjoint(entry)
    )


def _read_shape(shape: dict[str, JsonValue], source: int, into: Collector) -> None:
    label = label_of(shape.get("label"))
    points = point_list(shape.get("points"))
    kind = shape.get("shape_type", "polygon")
    if points is None:
        into.report(f"Annotation {source} has no list of points.")
    elif kind in _AS_BOX and len(points) == 2:
        (ax, ay), (bx, by) = points
        add_shape(into, source, label=label, box=(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)))
    elif kind == "circle" and len(points) == 2:
        add_shape(into, source, label=label, polygons=[_circle(*points)])
    elif kind in _AS_POINTS:
        add_shape(into, source, label=label, points=points)
    else:
        add_shape(into, source, label=label, polygons=[points])


def _circle(centre: Point, edge: Point) -> list[Point]:
    """A polygon around the circle, so that it covers it."""
    radius = math.dist(centre, edge) / math.cos(math.pi / _CIRCLE_CORNERS)
    angles = [2 * math.pi * i / _CIRCLE_CORNERS for i in range(_CIRCLE_CORNERS)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
