"""Where the annotations of an image are found: capitals, folders of their own, documents of a whole set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_folders import index_of, read, write

from app.annotations.shapes import Shape
from app.datasets.annotation_index import index_annotations
from app.datasets.folder_place import FolderPlace


def yolo_box() -> str:
    return "0.5 0.5 0.25 0.25"


def only(root: Path, image: str) -> Shape:
    (shape,) = read(root, image).shapes
    return shape


@pytest.mark.parametrize("label", ["a.TXT", "a.Txt", "Labels/a.txt", "LABELS/a.TXT"])
def test_capitals_in_suffixes_and_folders_of_labels_hide_nothing(tmp_path: Path, label: str) -> None:
    write(tmp_path, label, f"1 {yolo_box()}\n")
    assert only(tmp_path, "Images/a.PNG" if "/" in label else "a.PNG").source == 0


@pytest.mark.parametrize("suffix", ["JSON", "XML"])
def test_documents_beside_an_image_may_have_capital_suffixes(tmp_path: Path, suffix: str) -> None:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    voc = f"<annotation><object><name>x</name><bndbox>{corners}</bndbox></object></annotation>"
    write(tmp_path, f"a.{suffix}", '{"box": [0, 0, 9, 9]}' if suffix == "JSON" else voc)
    assert (only(tmp_path, "a.png").x1, only(tmp_path, "a.png").y2) == (0, 9)


def test_capitals_in_other_places_tell_files_apart(tmp_path: Path) -> None:
    write(tmp_path, "Set/a.TXT", f"1 {yolo_box()}\n")
    images = ["Set/a.png", "Set/A.png", "set/a.png"]
    index = index_annotations(["Set/a.TXT", *images], images, FolderPlace(tmp_path))
    assert list(index.sources) == ["Set/a.png"]


def test_the_usual_spelling_comes_before_capitals(tmp_path: Path) -> None:
    write(tmp_path, "a.TXT", f"1 {yolo_box()}\n")
    write(tmp_path, "a.txt", f"2 {yolo_box()}\n")
    assert only(tmp_path, "a.png").label == "2"


def labelme_document(image: str) -> str:
    shape = {"label": "x", "points": [[1, 2], [9, 8]], "shape_type": "rectangle"}
    more = {"imageData": "A" * 1000, "flags": {}, "things": [7], "simtrue:positions": [7]}
    return json.dumps({"shapes": [shape], "imagePath": image, **more})


@pytest.mark.parametrize("image", ["../pictures/a.png", "..\\pictures\\a.png", "a.png"])
def test_documents_of_labelme_may_lie_in_a_folder_of_their_own(tmp_path: Path, image: str) -> None:
    write(tmp_path, "json/first.json", labelme_document(image))
    shape = only(tmp_path, "pictures/a.png")
    assert (shape.label, shape.x1, shape.y2) == ("x", 1, 8)
    source = index_of(tmp_path, "pictures/a.png").of("pictures/a.png")
    assert source is not None
    assert len(json.dumps(source.to_json())) < 500, "the picture in it does not travel"


def test_a_document_of_labelme_of_another_picture_is_told(tmp_path: Path) -> None:
    write(tmp_path, "json/first.json", labelme_document("b.png"))
    index = index_of(tmp_path, "a.png")
    assert index.problems == ["json/first.json names 1 images that are not in the set, the first is 'b.png'."]
    assert index.sources == {}


def test_tracks_of_a_video_are_told(tmp_path: Path) -> None:
    track = '<track id="0" label="car"><box frame="0" xtl="1" ytl="2" xbr="3" ybr="4"/></track>'
    write(tmp_path, "annotations.xml", f"<annotations><meta/>{track}{track}</annotations>")
    assert index_of(tmp_path, "frame_000000.png").problems == [
        "annotations.xml has 2 tracks of a video, which are not read; export it as CVAT for images."
    ]


A, B = {"label": "x", "box": [1, 2, 9, 8]}, {"label": "y", "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    "document",
    [
        {"b.png": [B, B], "a.png": A},
        {"b.png": {"objects": [B, B]}, "a.png": {"objects": [A]}},
        [{"file": "b.png", **B}, {"file": "b.png", **B}, {"image": "a.png", **A}],
        [{"image": "b.png", **B}, {"image": "c.png", **B}, {"image": "a.png", **A}, {"image": "b.png", **B}],
        {"images": [{"file_name": "b.png", "objects": [B, B]}, {"file_name": "a.png", "objects": [A]}]},
    ],
)
def test_plain_documents_of_a_whole_set_are_read(tmp_path: Path, document: object) -> None:
    write(tmp_path, "pictures/b.png", "")
    write(tmp_path, "labels.json", json.dumps(document))
    shape = only(tmp_path, "pictures/a.png")
    assert (shape.label, shape.source, shape.x1, shape.y2) == ("x", 2, 1, 8)
    of_b = read(tmp_path, "pictures/b.png").shapes
    assert [(one.label, one.source) for one in of_b] in ([("y", 0), ("y", 1)], [("y", 0), ("y", 3)])


@pytest.mark.parametrize(
    "document",
    [
        {"a.png": "a dog"},
        {"a.png": {"split": "train"}},
        ["a.png"],
        [{"file": "a.png", "camera": [1, 2]}],
        {"images": ["a.png"]},
        {"box": [1, 2, 3, 4]},
        [A, B],
    ],
)
def test_documents_that_say_nothing_about_places_in_pictures_are_no_annotations(
    tmp_path: Path, document: object
) -> None:
    write(tmp_path, "other.json", json.dumps(document))
    index = index_of(tmp_path, "a.png")
    assert (index.of("a.png"), index.problems) == (None, [])
