"""Images that were sent under one name are told apart by their places, or said not to be."""

from __future__ import annotations

from app.annotations.json_text import JsonValue
from app.annotations.reading import Geometry, read_geometry

TWINS = [("a.png", 100, 60), ("a.png", 100, 60)]
BOX: JsonValue = [1, 2, 3, 4]
OTHER: JsonValue = [5, 6, 7, 8]
UNCLEAR = "Several images were sent as 'a.png', so it is not clear which is meant."


def coco(*names: str) -> JsonValue:
    """A document in which the first image has BOX, and the second OTHER."""
    return {
        "images": [{"id": place, "file_name": name} for place, name in enumerate(names)],
        "annotations": [{"image_id": 0, "bbox": BOX}, {"image_id": 1, "bbox": OTHER}],
    }


def corners(geometry: Geometry) -> list[list[tuple[float, ...]]]:
    return [[(s.x1, s.y1, s.x2, s.y2) for s in image.shapes] for image in geometry.images]


def test_a_coco_document_with_both_in_their_order_goes_to_each_by_its_place() -> None:
    geometry = read_geometry(coco("a.png", "a.png"), TWINS)

    assert corners(geometry) == [[(1, 2, 4, 6)], [(5, 6, 12, 14)]]
    assert geometry.problems == ()


def test_plain_entries_with_both_in_their_order_go_to_each_by_its_place() -> None:
    entries: JsonValue = [{"file_name": "a.png", "box": [1, 1, 2, 2]}, {"file_name": "a.png", "bbox": BOX}]
    geometry = read_geometry(entries, TWINS)

    assert corners(geometry) == [[(1, 1, 2, 2)], [(1, 2, 4, 6)]]
    assert geometry.problems == ()


def test_an_image_of_its_own_name_between_them_is_still_found() -> None:
    images = [TWINS[0], ("b.png", 100, 60), TWINS[1]]
    document: JsonValue = {
        "images": [{"id": place, "file_name": name} for place, (name, _, _) in enumerate(images)],
        "annotations": [{"image_id": 2, "bbox": BOX}, {"image_id": 1, "bbox": OTHER}],
    }

    assert corners(read_geometry(document, images)) == [[], [(5, 6, 12, 14)], [(1, 2, 4, 6)]]


def test_a_map_from_their_name_is_unclear() -> None:
    geometry = read_geometry({"a.png": {"box": BOX}}, TWINS)

    assert corners(geometry) == [[], []]
    assert geometry.problems == (UNCLEAR,)


def test_another_number_of_entries_is_unclear() -> None:
    geometry = read_geometry({"images": [{"id": 0, "file_name": "a.png"}], "annotations": []}, TWINS)

    assert corners(geometry) == [[], []]
    assert geometry.problems == (UNCLEAR,)


def test_as_many_entries_in_another_order_are_unclear() -> None:
    images = [*TWINS, ("b.png", 100, 60)]
    document: JsonValue = {
        "images": [
            {"id": place, "file_name": name} for place, name in enumerate(("b.png", "a.png", "a.png"))
        ],
        "annotations": [
            {"image_id": 0, "bbox": BOX},
            {"image_id": 1, "bbox": OTHER},
            {"image_id": 2, "bbox": BOX},
        ],
    }

    geometry = read_geometry(document, images)

    assert corners(geometry) == [[], [(5, 6, 12, 14)], [(1, 2, 4, 6)]]
    assert geometry.problems == (UNCLEAR,)
