"""UnityEyes documents: one eye, landmarks as "(x, y, z)" strings with y pointing up."""

from __future__ import annotations

import math
import re

from app.annotations.json_text import JsonValue
from app.annotations.matching import FILE_KEYS, Matching
from app.annotations.shapes import Collector, Point, add_shape

NAME = "unityeyes"
_NUMBER = r"\s*(-?[\d.]{1,40}(?:[eE][-+]?\d{1,3})?)\s*"
_TRIPLE = re.compile(rf"\({_NUMBER},{_NUMBER},{_NUMBER}\)")
_CONTOURS = {"interior_margin_2d": "eyelids", "iris_2d": "iris"}
_POINTS = {"caruncle_2d": "caruncle"}


def recognises(document: JsonValue) -> bool:
    """An object with an eyelid margin and an iris, or a list of nothing but such objects."""
    if isinstance(document, list):
        return bool(document) and all(map(_is_document, document))
    return _is_document(document)


def _is_document(entry: JsonValue) -> bool:
    return isinstance(entry, dict) and _CONTOURS.keys() <= entry.keys()


def read(document: JsonValue, matching: Matching) -> None:
    """Eyelids and iris as polygons, the caruncle as points; y turned to point down."""
    documents = document if isinstance(document, list) else [document]
    for position, entry in enumerate(documents):
        assert isinstance(entry, dict)
        names = {key: entry[key] for key in FILE_KEYS if key in entry}
        collector = matching.of_entry(names, position, len(documents))
        if collector is None:
            continue
        for source, (key, label) in enumerate((_CONTOURS | _POINTS).items()):
            _read_landmarks(entry.get(key), source, key, label, collector)


def _read_landmarks(value: JsonValue, source: int, key: str, label: str, into: Collector) -> None:
    if value is None:
        return
    points = _points(value, into.image.height)
    if points is None:
        into.report(f"Annotation {source} ('{label}') has landmarks that are no list of '(x, y, z)' strings.")
    elif key in _CONTOURS:
        add_shape(into, source, label=label, polygons=[points])
    else:
        add_shape(into, source, label=label, points=points)


def _points(value: JsonValue, height: int) -> list[Point] | None:
    if not isinstance(value, list) or not value:
        return None
    points = []
    for item in value:
        match = _TRIPLE.fullmatch(item.strip()) if isinstance(item, str) else None
        if match is None:
            return None
        points.append((_float(match[1]), height - _float(match[2])))
    return points


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
