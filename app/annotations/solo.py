"""Unity Perception's SOLO: a document per frame, its captures with the boxes and keypoints of their image."""

from __future__ import annotations

from collections.abc import Iterator

from app.annotations.json_text import JsonValue
from app.annotations.matching import Matching
from app.annotations.shapes import Collector, Point, add_shape, label_of, number, numbers

NAME = "solo"
_BOXES, _KEYPOINTS = "BoundingBox2DAnnotation", "KeypointAnnotation"
_UNSEEN = 0
"""State of a keypoint that is not in the image."""


def recognises(document: JsonValue) -> bool:
    """An object with captures, of which one is of a type of SOLO's."""
    return (
        isinstance(document, dict)
        and "captures" in document
        and any("unity.solo" in str(one.get("@type")) for one in _captures(document))
    )


def read(document: JsonValue, matching: Matching) -> None:
    """Boxes and keypoints of every capture, numbered through the capture."""
    assert isinstance(document, dict)
    captures = _captures(document)
    for position, capture in enumerate(captures):
        collector = matching.of_entry(capture, position, len(captures))
        size = numbers(capture.get("dimension"), 2)
        if collector is not None and (size is None or collector.is_of_size(*size)):
            _read_capture(capture, collector)


def split(document: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """A document of its own for every capture with a file name: (that name, the document)."""
    assert isinstance(document, dict)
    for capture in _captures(document):
        if isinstance(name := capture.get("filename"), str):
            yield name, {"captures": [{key: value for key, value in capture.items() if key != "filename"}]}


def _captures(document: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    captures = document.get("captures")
    return [one for one in captures if isinstance(one, dict)] if isinstance(captures, list) else []


def _read_capture(capture: dict[str, JsonValue], into: Collector) -> None:
    source = 0
    for annotation in _objects(capture.get("annotations")):
        kind = str(annotation.get("@type")).rpartition(".")[2]
        entries = annotation.get("values") if kind == _BOXES else annotation.get("keypoints")
        if kind not in (_BOXES, _KEYPOINTS):
            continue
        for entry in _objects(entries):
            label = label_of(entry.get("labelName"))
            if kind == _BOXES:
                _add_box(entry, source, label, into)
            else:
                add_shape(into, source, label=label, points=_points(entry.get("keypoints")))
            source += 1


def _add_box(entry: dict[str, JsonValue], source: int, label: str | None, into: Collector) -> None:
    corner, size = numbers(entry.get("origin"), 2), numbers(entry.get("dimension"), 2)
    if corner is None or size is None:
        into.report(f"Annotation {source} has no origin and dimension of 2 numbers each.")
        return
    box = (corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])
    add_shape(into, source, label=label, box=box)


def _points(value: JsonValue) -> list[Point]:
    points = []
    for keypoint in _objects(value):
        place = numbers(keypoint.get("location"), 2)
        if place is not None and number(keypoint.get("state")) != _UNSEEN:
            points.append((place[0], place[1]))
    return points


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
