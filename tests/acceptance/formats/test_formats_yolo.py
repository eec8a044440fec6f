"""YOLO sets mean to supervision and labelformat what they meant before, and to us what they mean to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from labelformat.formats.yolov8 import YOLOv8ObjectDetectionInput
from supervision.config import ORIENTED_BOX_COORDINATES

from app.annotations.shapes import Shape

Refined = Callable[[str], Any]
WRITTEN_PX = 1e-6
"""Half of the last decimal that is written, times the width of the image, and some noise of floats."""
FLOAT32_PX = 2e-5
"""supervision reads numbers as 32-bit floats."""
SPLITS = ("train", "val")


def corners(shape: Shape) -> tuple[float, ...]:
    return shape.x1, shape.y1, shape.x2, shape.y2


def loaded(root: Path, **options: bool) -> dict[str, sv.Detections]:
    """What supervision finds, by the path of the image; class ids as names."""
    found = {}
    for split in SPLITS:
        dataset = sv.DetectionDataset.from_yolo(
            str(root / "images" / split), str(root / "labels" / split), str(root / "data.yaml"), **options
        )
        for path, detections in dataset.annotations.items():
            if len(detections):
                detections.data["label"] = np.array([dataset.classes[i] for i in detections.class_id])
            found[Path(path).relative_to(root).as_posix()] = detections
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("yolo-detect", {}),
        ("yolo-segment", {"force_masks": True}),
        ("yolo-pose", {}),
        ("yolo-obb", {"is_obb": True}),
    ],
)
def test_supervision_finds_the_same_before_and_after(
    refined: Refined, name: str, options: dict[str, bool]
) -> None:
    done = refined(name)
    before = loaded(done.before, **options)
    assert sorted(before) == sorted([*done.scenes, "images/val/empty.jpg"])
    assert loaded(done.after, **options) == before


@pytest.mark.parametrize("name", ["yolo-detect", "yolo-pose"])
def test_our_boxes_are_those_of_the_scene_and_of_supervision(refined: Refined, name: str) -> None:
    done = refined(name)
    other = loaded(done.after)
    for image, shapes in done.shapes().items():
        things, found = done.scenes[image].things, other[image]
        assert [shape.label for shape in shapes] == [thing.label for thing in things]
        assert [shape.label for shape in shapes] == found.data["label"].tolist()
        for shape, thing, xyxy in zip(shapes, things, found.xyxy, strict=True):
            assert corners(shape) == pytest.approx(thing.box, abs=WRITTEN_PX)
            assert corners(shape) == pytest.approx(xyxy.tolist(), abs=FLOAT32_PX)


def test_our_boxes_are_those_of_labelformat(refined: Refined) -> None:
    done = refined("yolo-detect")
    other = {}
    for split in SPLITS:
        for label in YOLOv8ObjectDetectionInput(done.after / "data.yaml", split).get_labels():
            other[f"images/{split}/{label.image.filename}"] = label.objects
    for image, shapes in done.shapes().items():
        for shape, entry in zip(shapes, other[image], strict=True):
            box = entry.box
            assert corners(shape) == pytest.approx((box.xmin, box.ymin, box.xmax, box.ymax), abs=1e-9)
            assert shape.label == entry.category.name


def test_our_outlines_are_those_of_the_scene_and_fill_the_masks_of_supervision(refined: Refined) -> None:
    done = refined("yolo-segment")
    other = loaded(done.after, force_masks=True)
    for image, shapes in done.shapes().items():
        found = other[image]
        for shape, thing, xyxy, label in zip(
            shapes, done.scenes[image].things, found.xyxy, found.data["label"], strict=True
        ):
            (polygon,) = shape.polygons
            assert np.array(polygon) == pytest.approx(np.array(thing.outline), abs=WRITTEN_PX)
            assert corners(shape) == pytest.approx(xyxy.tolist(), abs=FLOAT32_PX)
            assert shape.label == thing.label == label


def test_our_turned_boxes_are_those_of_the_scene_and_of_supervision(refined: Refined) -> None:
    done = refined("yolo-obb")
    other = loaded(done.after, is_obb=True)
    for image, shapes in done.shapes().items():
        found = other[image].data
        for shape, thing, turned, label in zip(
            shapes, done.scenes[image].things, found[ORIENTED_BOX_COORDINATES], found["label"], strict=True
        ):
            (polygon,) = shape.polygons
            assert np.array(polygon) == pytest.approx(np.array(thing.turned), abs=WRITTEN_PX)
            assert np.array(polygon) == pytest.approx(turned, abs=FLOAT32_PX)
            assert shape.label == thing.label == label


def test_our_keypoints_are_those_of_the_scene(refined: Refined) -> None:
    done = refined("yolo-pose")  # no reader here knows keypoints without running a network
    for image, shapes in done.shapes().items():
        for shape, thing in zip(shapes, done.scenes[image].things, strict=True):
            labelled = [(x, y) for x, y, seen in thing.keypoints if seen]
            assert np.array(shape.points) == pytest.approx(np.array(labelled), abs=WRITTEN_PX)
