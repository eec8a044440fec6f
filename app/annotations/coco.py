"""COCO documents: images, annotations, categories; boxes, polygons, run-length masks, keypoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import cast

from app.annotations import rle
from app.annotations.json_text import JsonValue
from app.annotations.matching import FILE_KEYS, Matching
from app.annotations.rle import RleError
from app.annotations.shapes import Collector, Mask, Point, add_shape, label_of, number, numbers, point_list

NAME = "coco"
_POSITIONS = "simtrue:positions"
"""Of a part's annotations in the whole document; in what others write this key means nothing."""


def recognises(document: JsonValue) -> bool:
    """An object with lists named images and annotations."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("images"), list)
        and isinstance(document.get("annotations"), list)
    )


def read(document: JsonValue, matching: Matching) -> None:
    """One shape per annotation, or segment of a panoptic one; those of images that were not sent are passed
    over.
    """
    _read(document, matching, count())


def read_part(part: JsonValue, matching: Matching) -> None:
    """The same of a document that `split` made; shapes have the positions of the whole one."""
    assert isinstance(part, dict)
    _read(part, matching, cast(list[int], part[_POSITIONS]))


def _read(document: JsonValue, matching: Matching, positions: Iterable[int]) -> None:
    assert isinstance(document, dict)
    labels = _labels(document.get("categories"))
    images = _images(document["images"], matching)
    for source, annotation in zip(positions, _objects(_list(document["annotations"])), strict=False):
        if not isinstance(annotation, dict):
            matching.report(f"Annotation {source} is no object.")
            continue
        key = _id(annotation.get("image_id"))
        if key not in images:
            matching.report(f"Annotation {source} belongs to image_id {key[:40]}, which is not listed.")
        elif (collector := images[key]) is not None:
            read_object(annotation, source, labels.get(_id(annotation.get("category_id"))), collector)


def _objects(annotations: list[JsonValue]) -> Iterator[JsonValue]:
    """The annotations; of a panoptic one, which is a picture of many objects, its segments."""
    for annotation in annotations:
        segments = annotation.get("segments_info") if isinstance(annotation, dict) else None
        if isinstance(annotation, dict) and isinstance(segments, list):
            for segment in segments:
                yield (
                    {**segment, "image_id": annotation.get("image_id")}
                    if isinstance(segment, dict)
                    else segment
                )
        else:
            yield annotation


def split(document: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """A document of its own for every image with a file name: (that name, the document).

    It says where its annotations stood.
    """
    assert isinstance(document, dict)
    annotations: dict[str, list[tuple[int, JsonValue]]] = {}
    for source, annotation in enumerate(_objects(_list(document["annotations"]))):
        if isinstance(annotation, dict):
            annotations.setdefault(_id(annotation.get("image_id")), []).append((source, annotation))
    for entry in _list(document["images"]):
        if isinstance(entry, dict) and (name := _file_name(entry)) is not None:
            own = annotations.get(_id(entry.get("id")), [])
            # Its only image, whatever its folder: matched by being the only one.
            alone = {key: value for key, value in entry.items() if key not in FILE_KEYS}
            yield (
                name,
                {
                    "images": [alone],
                    "annotations": [annotation for _, annotation in own],
                    _POSITIONS: [source for source, _ in own],
                    "categories": document.get("categories"),
                },
            )


def strays(document: JsonValue) -> int:
    """How many annotations are of images that the document does not list."""
    assert isinstance(document, dict)
    listed = {_id(entry.get("id")) for entry in _list(document["images"]) if isinstance(entry, dict)}
    annotations = (entry for entry in _list(document["annotations"]) if isinstance(entry, dict))
    return sum(_id(entry.get("image_id")) not in listed for entry in annotations)


def _file_name(entry: dict[str, JsonValue]) -> str | None:
    return next((name for key in FILE_KEYS if isinstance(name := entry.get(key), str)), None)


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def read_object(
    entry: dict[str, JsonValue],
    source: int,
    label: str | None,
    into: Collector,
    box: tuple[float, float, float, float] | None = None,
) -> None:
    """Adds the shape of an object with COCO's keys: bbox [x, y, width, height], segmentation, keypoints
    [x, y, v].

    Of mask, polygons and box the most exact one decides the shape's kind; keypoints of visibility 0 are
    dropped. box: corners x1, y1, x2, y2 if the caller has them already.
    """
    bbox = entry.get("bbox")
    if box is None and bbox not in (None, []):  # which tools write where there is only an outline
        sides = numbers(bbox, 4)
        if sides is None:
            into.report(f"Annotation {source} has a bbox that is not a list of 4 numbers.")
            return
        box = (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
    mask, polygons = _segmentation(entry.get("segmentation"), source, into)
    if mask is not None and box is None:
        box = rle.bounds(mask)
    points = _keypoints(entry.get("keypoints"))
    add_shape(into, source, label=label, box=box, polygons=polygons, points=points, mask=mask)


def _labels(categories: JsonValue) -> dict[str, str | None]:
    if not isinstance(categories, list):
        return {}
    return {
        _id(entry.get("id")): label_of(entry.get("name")) for entry in categories if isinstance(entry, dict)
    }


def _images(entries: JsonValue, matching: Matching) -> dict[str, Collector | None]:
    """The collector of every listed image by its id; None for those not sent, or of another size than
    listed.
    """
    assert isinstance(entries, list)
    images: dict[str, Collector | None] = {}
    for position, entry in enumerate(entries):
        if isinstance(entry, dict):
            collector = matching.of_entry(entry, position, len(entries))
            fits = collector is not None and collector.is_of_size(entry.get("width"), entry.get("height"))
            images[_id(entry.get("id"))] = collector if fits else None
    return images


def _segmentation(value: JsonValue, source: int, into: Collector) -> tuple[Mask | None, list[list[Point]]]:
    if isinstance(value, dict):
        try:
            return rle.read_mask(value, into.image), []
        except RleError as error:
            into.report(f"Annotation {source} {error}.")
            return None, []
    if not isinstance(value, list):
        return None, []
    polygons = [point_list(polygon) for polygon in _several(value)]
    return None, [polygon for polygon in polygons if polygon]


def _several(value: list[JsonValue]) -> list[JsonValue]:
    """The polygons of a list of them, or of one that is not in a list: flat, or of pairs."""
    is_flat = bool(value) and not isinstance(value[0], list)
    is_of_pairs = len(value) > 2 and all(_is_pair(part) for part in value)
    return [value] if is_flat or is_of_pairs else value


def _is_pair(value: JsonValue) -> bool:
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list)


def _keypoints(value: JsonValue) -> list[Point]:
    """Points of a flat [x, y, v, ...] list that are labelled (v > 0)."""
    if not isinstance(value, list) or len(value) % 3:
        return []
    flat = [number(item) for item in value]
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [(x, y) for x, y, visibility in triples if visibility > 0]


def _id(value: JsonValue) -> str:
    """Ids compare by their text and type, so that 1 and "1" stay two; 1.0 is how tables write 1."""
    whole = isinstance(value, float) and value.is_integer()
    return (f"{value:.0f}" if whole else repr(value))[:100]
