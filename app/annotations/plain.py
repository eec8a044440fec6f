"""Plain JSON: objects that simply have a bbox, box, polygon, points, keypoints or mask.

The key tells the meaning: `bbox` is [x, y, width, height] (as in COCO), `box` and `xyxy` are corners [x1,
y1, x2, y2]; `bboxes` and `boxes` are lists of them. `polygon` (or `polygons`, `segmentation`) and `points`
are [[x, y], ...] or flat; `keypoints` are [[x, y], ...], or flat [x, y, visibility, ...]; `mask` is
{"size": [height, width], "counts": ...}. The label is `label`, `class`, `category`, `category_id` or
`digit`. One object, a list of objects (all of the one image, or one per image), objects nested under
`objects`, `shapes`, `annotations` or `instances`, and a map from file name to any of these are understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from app.annotations import coco
from app.annotations.json_text import JsonValue
from app.annotations.matching import FILE_KEYS, Matching
from app.annotations.shapes import Collector, label_of, number, numbers, point_list

NAME = "plain"
_LABEL_KEYS = ("label", "class", "category", "category_id", "digit")
_LIST_KEYS = ("objects", "shapes", "annotations", "instances")
_BOX_LIST_KEYS = ("bboxes", "boxes")
_GEOMETRY = frozenset(
    ("bbox", "box", "xyxy", "polygon", "polygons", "segmentation", "points", "keypoints", "mask")
)
_GEOMETRY_AND_BOX_LISTS = _GEOMETRY.union(_BOX_LIST_KEYS)

_FIRSTS, _THINGS = "firsts", "things"

_Object = dict[str, JsonValue]


def recognises(document: JsonValue) -> bool:
    """Any object or list; whether it holds geometry shows in reading."""
    return isinstance(document, dict | list)


def read(document: JsonValue, matching: Matching) -> None:
    """Every object with geometry, to the image it belongs to."""
    for collector, entry, sources in _entries(document, matching):
        for thing in _objects(entry):
            _read_object(thing, next(sources), collector)


def split(document: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """A document of its own for every file that entries with geometry name: (that name, the document).

    It says where its annotations stand.
    """
    found: dict[str, list[tuple[int, _Object]]] = {}
    first = 0
    for name, entry in _named(document):
        for thing in entry if isinstance(entry, list) else [entry]:
            if isinstance(thing, dict):
                found.setdefault(name, []).append((first, thing))
                first += sum(1 for _ in _objects(thing))
    for name, said in found.items():
        if any(_has_geometry(thing) for _, thing in said):
            yield name, {_FIRSTS: [first for first, _ in said], _THINGS: [thing for _, thing in said]}


def is_part(part: JsonValue) -> bool:
    """Whether `split` made this; nothing else that comes as a part has such a key."""
    return isinstance(part, dict) and _THINGS in part


def read_part(part: JsonValue, matching: Matching) -> None:
    """The same of a document that `split` made; shapes have the positions of the whole one."""
    assert isinstance(part, dict)
    (collector,) = matching.collectors
    things = zip(cast(list[int], part[_FIRSTS]), cast(list[_Object], part[_THINGS]), strict=True)
    for first, thing in things:
        for source, one in enumerate(_objects(thing), first):
            _read_object(one, source, collector)


def _named(document: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """The entries of a map from file names, or of a list whose entries name files."""
    if isinstance(document, dict) and not isinstance(document.get("images"), list):
        yield from document.items()
        return
    things = document["images"] if isinstance(document, dict) else document
    for thing in things if isinstance(things, list) else ():
        if isinstance(thing, dict):
            yield next((name for key in FILE_KEYS if isinstance(name := thing.get(key), str)), ""), thing


def _entries(document: JsonValue, matching: Matching) -> Iterator[tuple[Collector, _Object, Iterator[int]]]:
    """(image, per-image entry, running numbers of the annotations of the document)."""
    sources = iter(range(1 << 62))
    if isinstance(document, dict):
        named = [(name, entry) for name, entry in document.items() if matching.knows(name)]
        if named:
            for name, entry in named:
                collector = matching.named(name)
                for thing in entry if isinstance(entry, list) else [entry]:
                    if collector is not None and isinstance(thing, dict):
                        yield collector, thing, sources
            return
        document = document["images"] if isinstance(document.get("images"), list) else [document]
    things = [entry for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []
    for position, entry in enumerate(things):
        if _has_geometry(entry):
            collector = matching.of_entry(entry, position, len(things))
            if collector is not None:
                yield collector, entry, sources


def _has_geometry(entry: _Object) -> bool:
    if not _GEOMETRY_AND_BOX_LISTS.isdisjoint(entry):
        return True
    return any(isinstance(entry.get(key), list) for key in _LIST_KEYS)


def _objects(entry: _Object) -> Iterator[_Object]:
    """The entry's nested objects, its listed boxes, and itself if it has geometry of its own."""
    for key in _LIST_KEYS:
        nested = entry.get(key)
        for thing in nested if isinstance(nested, list) else ():
            if isinstance(thing, dict):
                yield thing
    for key, single in zip(_BOX_LIST_KEYS, ("bbox", "box"), strict=True):
        boxes = entry.get(key)
        for box in boxes if isinstance(boxes, list) else ():
            yield {single: box}
    if not _GEOMETRY.isdisjoint(entry):
        yield entry


def _read_object(thing: _Object, source: int, into: Collector) -> None:
    """Rewrites the plain keys in COCO's words and lets COCO's reader check them."""
    label = next((label_of(thing[key]) for key in _LABEL_KEYS if thing.get(key) is not None), None)
    words: _Object = {key: thing[key] for key in ("bbox", "segmentation") if key in thing}
    corners = None
    for key in ("box", "xyxy"):
        if thing.get(key) not in (None, []):
            sides = numbers(thing[key], 4)
            if sides is None:
                into.report(f"Annotation {source} has a {key} that is not a list of 4 numbers.")
                return
            corners = (sides[0], sides[1], sides[2], sides[3])
    if "polygon" in thing or "polygons" in thing:
        words["segmentation"] = [thing["polygon"]] if "polygon" in thing else thing["polygons"]
    if "mask" in thing:
        words["segmentation"] = thing["mask"]
    points = _points(thing)
    if points:
        words["keypoints"] = points
    coco.read_object(words, source, label, into, corners)


def _points(thing: _Object) -> list[JsonValue]:
    """`points` and `keypoints` as COCO's flat [x, y, visibility, ...]."""
    keypoints = thing.get("keypoints")
    if isinstance(keypoints, list) and keypoints and not isinstance(keypoints[0], list):
        pairs = None if len(keypoints) % 3 == 0 else point_list(keypoints)
        return [value for x, y in pairs for value in (x, y, 2.0)] if pairs else keypoints
    flat: list[JsonValue] = []
    for rows in (keypoints, thing.get("points")):
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) in (2, 3):
                flat += [number(row[0]), number(row[1]), number(row[2]) if len(row) == 3 else 2.0]
    if not flat and (pairs := point_list(thing.get("points"))):
        flat = [value for x, y in pairs for value in (x, y, 2.0)]
    return flat
