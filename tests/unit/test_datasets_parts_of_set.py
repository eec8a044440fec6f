"""What a COCO document of a set says about one image: where it stood, and whatever Python wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.annotations.shapes import ImageGeometry, ImageRef
from app.datasets.annotation_index import AnnotationIndex, index_annotations
from app.datasets.annotation_source import source_from_json
from app.datasets.folder_place import FolderPlace

IMAGES = ("a.png", "b.png")


def index_of(root: Path, document: bytes) -> AnnotationIndex:
    (root / "ann.json").write_bytes(document)
    return index_annotations([*IMAGES, "ann.json"], IMAGES, FolderPlace(root))


def read(index: AnnotationIndex, root: Path, image: str) -> ImageGeometry:
    source = index.of(image)
    assert source is not None
    again = source_from_json(json.loads(json.dumps(source.to_json())))  # as a job sends it to a worker
    return again.read(ImageRef(image, 64, 48), FolderPlace(root))


def box(image: int, x: float = 1.0) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": [x, 2, 3, 4]}


def coco(annotations: Sequence[Any], **more: Any) -> bytes:
    document = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(IMAGES)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": annotations,
    }
    return json.dumps(document | more).encode()


def sources(geometry: ImageGeometry) -> list[int]:
    return [shape.source for shape in geometry.shapes]


def test_annotations_keep_their_positions_in_the_document(tmp_path: Path) -> None:
    of_a, of_b = [box(0)] * 20, [box(1), box(1), box(1)]
    index = index_of(tmp_path, coco([*of_a, "no object", *of_b, box(0)]))

    assert sources(read(index, tmp_path, "a.png")) == [*range(20), 24]
    assert sources(read(index, tmp_path, "b.png")) == [21, 22, 23]


def test_what_is_wrong_is_told_by_the_position_in_the_document(tmp_path: Path) -> None:
    index = index_of(tmp_path, coco([box(0), box(0), box(1), box(1, 900)]))

    (problem,) = read(index, tmp_path, "b.png").problems
    assert problem.startswith("Annotation 3 ('dog') lies outside")


def test_segments_of_panoptic_pictures_are_numbered_through_the_document(tmp_path: Path) -> None:
    def picture(image: int, segments: int) -> dict[str, Any]:
        parts = [{"id": number, "category_id": 1, "bbox": [1, 2, 3, 4]} for number in range(segments)]
        return {"image_id": image, "file_name": f"{image}-segments.png", "segments_info": parts}

    index = index_of(tmp_path, coco([picture(0, 4), picture(1, 3)]))

    assert sources(read(index, tmp_path, "a.png")) == [0, 1, 2, 3]
    assert sources(read(index, tmp_path, "b.png")) == [4, 5, 6]


def test_a_key_of_a_stranger_moves_nothing(tmp_path: Path) -> None:
    index = index_of(tmp_path, coco([box(0), box(1)], **{"simtrue:positions": [70, 80]}))

    assert sources(read(index, tmp_path, "b.png")) == [1]


def test_a_key_of_a_stranger_in_a_document_of_one_image_moves_nothing(tmp_path: Path) -> None:
    own = {"images": [{"id": 0}], "annotations": [box(0), box(0)], "simtrue:positions": [70, 80]}
    (tmp_path / "a.json").write_text(json.dumps(own))
    index = index_annotations(["a.png", "a.json"], ["a.png"], FolderPlace(tmp_path))

    assert sources(read(index, tmp_path, "a.png")) == [0, 1]


CONSTANTS = ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_number_that_json_does_not_have_spoils_only_its_annotation(tmp_path: Path, constant: str) -> None:
    document = coco([box(0), box(0, 12345.5), box(1)]).replace(b"12345.5", constant.encode())
    index = index_of(tmp_path, document)
    first, second = (read(index, tmp_path, image) for image in IMAGES)

    assert index.problems == []
    assert (sources(first), sources(second), second.problems) == ([0], [2], ())
    assert first.problems == ("Annotation 1 ('dog') has a coordinate that is not a finite number.",)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_such_a_number_where_nothing_is_read_does_no_harm(tmp_path: Path, constant: str) -> None:
    more = {"info": {"score": 12345.5}, "long": 1}
    document = coco([box(0)], **more).replace(b"12345.5", constant.encode())
    document = document.replace(b'"long": 1', b'"long": ' + b"9" * 5000)  # only the slow parser reads it
    index = index_of(tmp_path, document)

    assert (index.problems, sources(read(index, tmp_path, "a.png"))) == ([], [0])


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    index = index_of(tmp_path, b"\xef\xbb\xbf" + coco([box(0)]))

    assert (index.problems, sources(read(index, tmp_path, "a.png"))) == ([], [0])


def test_a_document_beside_its_image_may_be_what_python_and_windows_write(tmp_path: Path) -> None:
    objects = b'{"objects": [{"box": [1, 2, 3, NaN]}, {"box": [1, 2, 3, 4]}]}'
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + objects)
    index = index_annotations(["a.png", "a.json"], ["a.png"], FolderPlace(tmp_path))

    geometry = read(index, tmp_path, "a.png")

    assert sources(geometry) == [1]
    assert geometry.problems == ("Annotation 0 has a coordinate that is not a finite number.",)


def test_a_broken_document_is_told_in_a_sentence(tmp_path: Path) -> None:
    (problem,) = index_of(tmp_path, b'{"images": [], "annotations": [}').problems

    assert problem.startswith(
        "ann.json is not read as annotations: its contents are not valid JSON: Expecting"
    )
    assert problem.endswith("at line 1, column 32.")


def test_shadows_of_macos_are_no_documents(tmp_path: Path) -> None:
    names = ["._ann.json", "__MACOSX/._ann.json", "__MACOSX/ann.json", "._a.xml", "a/__MACOSX/classes.txt"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        \xff\xfe")
    index = index_annotations([*IMAGES, *names], IMAGES, FolderPlace(tmp_path))

    assert (index.problems, index.sources) == ([], {})
