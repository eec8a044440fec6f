"""Pictures that documents name as labels are told from those that they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.datasets.annotation_index import AnnotationIndex, index_annotations
from app.datasets.folder_place import FolderPlace
from app.datasets.label_references import label_references, mentions_other_pictures


def label_images(root: Path, images: list[str], documents: dict[str, Any]) -> AnnotationIndex:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    for name, document in documents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(document))
    return index_annotations([*images, *documents], images, FolderPlace(root))


def references(document: Any) -> dict[str, str]:
    return {found.name: found.what for found in label_references(document)}


PERCEPTION = {"annotation_definition": "x", "filename": "s/b.png"}
POSITIONS = {"@type": "type.unity.com/unity.solo.PixelPositionAnnotation", "filename": "b.png"}
PAN = {"file_name": "b.png", "segments_info": []}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"image": "a.png", "mask": "b.png"}, {"b.png": "a mask"}),
        ({"sem_seg_file_name": "b.png"}, {"b.png": "a sem seg image"}),
        ({"depth_file_path": "x/b.TIF"}, {"x/b.TIF": "a depth image"}),
        ({"frames": [{"file_path": "a.png", "maskPath": "m/b.png"}]}, {"m/b.png": "a mask"}),
        ({"object": [{"instance_mask": "s/000.png"}]}, {"s/000.png": "an instance mask"}),
        ({"masks": ["m0.png", "m1.png"]}, {"m0.png": "a masks image", "m1.png": "a masks image"}),
        ({"depth": {"file": "d.png", "unit": "mm"}}, {"d.png": "a depth image"}),
        ({"training": [{"image": "a.png", "label": "b.png"}]}, {"b.png": "a label image"}),
        ({"label_image": "b.png"}, {"b.png": "a label image"}),
        ({"annotations": [PERCEPTION]}, {"s/b.png": "a label image"}),
        ({"annotations": [PAN]}, {"b.png": "a panoptic segmentation"}),
        ({"annotations": [POSITIONS]}, {"b.png": "a pixel position image"}),
    ],
)
def test_pictures_of_labels_are_told_by_the_keys_that_name_them(document: Any, found: dict[str, str]) -> None:
    assert references(document) == found


@pytest.mark.parametrize(
    "document",
    [
        {"images": [{"file_name": "a.png"}], "annotations": [{"bbox": [1, 2, 3, 4], "file_name": "a.png"}]},
        {"instances": [{"image": "a.png", "mask": {"size": [2, 2], "counts": "04"}}]},
        {"imagePath": "a.png", "shapes": [{"label": "a.png of a dog", "points": [[1, 2]]}]},
        {"labels": [{"name": "a.png"}], "classes": {"name": "a.png"}},
        {"captures": [{"@type": "type.unity.com/unity.solo.RGBCamera", "filename": "a.png"}]},
        {"depth": [1.5, "b.png"], "mask": None},
        {"a.png": [{"box": [1, 2, 3, 4]}], "unmasked": "b.png", "normal": {"of": "b.png"}},
        ["a.png", ["b.png"]],
        "a.png",
        5,
    ],
)
def test_pictures_that_a_document_is_about_are_no_labels(document: Any) -> None:
    assert references(document) == {}


def test_a_picture_of_labels_has_a_reason_and_no_annotations(tmp_path: Path) -> None:
    segments = [{"id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    document = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [{"image_id": 1, "file_name": "0.png", "segments_info": segments}],
    }
    index = label_images(tmp_path, ["rgb/0.png", "pan/0.png"], {"pan.json": document})
    assert index.label_images == {"pan/0.png": "pan.json names it as a panoptic segmentation"}
    assert set(index.sources) == {"rgb/0.png"}
    assert index.problems == []


def test_frames_of_solo_share_their_reasons(tmp_path: Path) -> None:
    images, documents = [], {}
    for sequence in range(3):
        folder = f"sequence.{sequence}"
        images += [f"{folder}/step0.camera.png", f"{folder}/step0.extra.png"]
        annotation = {
            "@type": "type.unity.com/unity.solo.SemanticSegmentationAnnotation",
            "filename": "step0.extra.png",
        }
        camera = {
            "@type": "type.unity.com/unity.solo.RGBCamera",
            "filename": "step0.camera.png",
            "annotations": [annotation],
        }
        documents[f"{folder}/step0.frame_data.json"] = {"captures": [camera]}

    index = label_images(tmp_path, images, documents)

    assert sorted(index.label_images) == [f"sequence.{i}/step0.extra.png" for i in range(3)]
    reasons = list(index.label_images.values())
    assert set(reasons) == {"step*.frame_data.json names it as a semantic segmentation"}
    assert all(reason is reasons[0] for reason in reasons)
    assert sorted(index.sources) == [f"sequence.{i}/step0.camera.png" for i in range(3)]


def test_the_document_beside_an_image_may_name_its_labels(tmp_path: Path) -> None:
    document = {"annotation": {"filename": "a_1.jpg", "object": [{"instance_mask": "a_1/part_000.png"}]}}
    images = ["x/a_1.jpg", "x/a_1/part_000.png", "y/part_000.png"]
    index = label_images(tmp_path, images, {"x/a_1.json": document})
    assert index.label_images == {"x/a_1/part_000.png": "a_*.json names it as an instance mask"}


def test_a_label_that_is_not_there_is_none_and_one_that_could_be_several_is_told(tmp_path: Path) -> None:
    images = ["a.png", "x/b.png", "y/b.png"]
    index = label_images(tmp_path, images, {"a.json": {"mask": "b.png", "depth": "c.png"}})
    assert index.label_images == {}
    assert index.problems == [
        "a.json names 1 label images of which the set has several; they are taken for pictures."
    ]


PANOPTIC = {
    "images": [{"id": 1, "file_name": "0.png"}],
    "annotations": [
        {"image_id": 1, "file_name": "0.png", "segments_info": [{"id": 1, "bbox": [1, 2, 3, 4]}]}
    ],
}


def test_a_picture_is_no_label_because_its_label_has_its_name(tmp_path: Path) -> None:
    names = {"annotations/panoptic_val.json": PANOPTIC}
    label_images(tmp_path, ["val/0.png", "panoptic_val/0.png"], names)
    everything = ["val/0.png", "panoptic_val/0.png", *names]

    index = index_annotations(everything, ["val/0.png"], FolderPlace(tmp_path))  # the folder tells the other

    assert "val/0.png" not in index.label_images
    assert set(index.sources) == {"val/0.png"}


def test_a_picture_is_no_label_where_the_labels_are_missing(tmp_path: Path) -> None:
    index = label_images(tmp_path, ["rgb/0.png"], {"panoptic.json": PANOPTIC})
    assert index.label_images == {}
    assert set(index.sources) == {"rgb/0.png"}


def test_documents_that_name_no_other_picture_need_not_be_parsed() -> None:
    assert not mentions_other_pictures(b'{"imagePath": "..\\\\x\\\\a.png", "imageData": "aGk"}', "a")
    assert not mentions_other_pictures(b'["masks/a.png"', "a")
    assert mentions_other_pictures(b'{"imagePath": "a.png", "mask": "masks/a_seg.PNG"}', "a")
