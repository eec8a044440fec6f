"""VOC, CVAT, KITTI and LabelMe sets mean to other readers what they meant before, and to us the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from labelformat.formats.cvat import CVATObjectDetectionInput
from labelformat.formats.kitti import KittiObjectDetectionInput
from labelformat.model.object_detection import ObjectDetectionInput
from PIL import Image

from app.annotations.shapes import Shape
from trainer.simulators.layouts.markup import pixels_of
from trainer.simulators.scenes import CLASSES

Refined = Callable[[str], Any]
HUNDREDTH = 0.005 + 1e-9
"""KITTI and CVAT write two decimals."""
VOC = "VOCdevkit/VOC2012"


def corners(shape: Shape) -> tuple[float, ...]:
    return shape.x1, shape.y1, shape.x2, shape.y2


def voc(root: Path) -> sv.DetectionDataset:
    return sv.DetectionDataset.from_pascal_voc(
        str(root / VOC / "JPEGImages"), str(root / VOC / "Annotations")
    )


def labelme(root: Path) -> sv.DetectionDataset:
    with pytest.warns(UserWarning, match=r"Skipped unsupported LabelMe shape type.s. \['linestrip'\]"):
        return sv.DetectionDataset.from_labelme(str(root), str(root), force_masks=True)


def by_name(dataset: sv.DetectionDataset) -> dict[str, sv.Detections]:
    return {Path(path).name: found for path, found in dataset.annotations.items()}


def kitti(root: Path) -> ObjectDetectionInput:
    names = ",".join([*CLASSES, "DontCare"])
    return KittiObjectDetectionInput(root / "training/label_2", names, "../image_2")


def cvat(root: Path) -> ObjectDetectionInput:
    return CVATObjectDetectionInput(root / "annotations.xml")


Found = dict[str, list[tuple[str, tuple[float, ...]]]]


def boxes(labels: ObjectDetectionInput) -> Found:
    """(label, corners) of all boxes of each image, as labelformat has them."""
    return {
        Path(label.image.filename).name: [
            (entry.category.name, (entry.box.xmin, entry.box.ymin, entry.box.xmax, entry.box.ymax))
            for entry in label.objects
        ]
        for label in labels.get_labels()
    }


@pytest.mark.parametrize(("name", "load"), [("voc", voc), ("labelme", labelme)])
def test_supervision_finds_the_same_before_and_after(
    refined: Refined, name: str, load: Callable[[Path], sv.DetectionDataset]
) -> None:
    done = refined(name)
    before, after = load(done.before), load(done.after)
    assert before.classes == after.classes
    assert len(by_name(before)) == len(done.scenes)
    assert by_name(before) == by_name(after)


@pytest.mark.parametrize(("name", "load"), [("kitti", kitti), ("cvat", cvat)])
def test_labelformat_finds_the_same_before_and_after(
    refined: Refined, name: str, load: Callable[[Path], ObjectDetectionInput]
) -> None:
    done = refined(name)
    before = boxes(load(done.before))
    assert sum(map(len, before.values())) >= 2 * len(done.scenes)
    assert boxes(load(done.after)) == before


def test_our_voc_boxes_are_the_pixels_of_the_scene_and_those_of_supervision(refined: Refined) -> None:
    done = refined("voc")
    dataset = voc(done.after)
    for image, shapes in done.shapes().items():
        found = by_name(dataset)[Path(image).name]
        for shape, thing, xyxy, number in zip(
            shapes, done.scenes[image].things, found.xyxy, found.class_id, strict=True
        ):
            assert corners(shape) == pixels_of(thing) == tuple(xyxy.tolist())
            assert shape.label == thing.label == dataset.classes[number]


def test_masks_of_a_voc_set_stay_numbers_with_a_palette(refined: Refined) -> None:
    done = refined("voc")
    for image, scene in done.scenes.items():
        for folder, numbers in (
            ("SegmentationClass", scene.classes),
            ("SegmentationObject", scene.instances),
        ):
            with Image.open(done.after / VOC / folder / f"{Path(image).stem}.png") as mask:
                assert mask.mode == "P"
                inside = np.asarray(mask) != 255
                assert np.array_equal(np.asarray(mask)[inside], numbers[inside])


def test_our_kitti_boxes_are_those_of_the_scene_and_of_labelformat_without_dont_care(
    refined: Refined,
) -> None:
    done = refined("kitti")
    other = boxes(kitti(done.after))
    for image, shapes in done.shapes().items():
        cared_for = [entry for entry in other[Path(image).name] if entry[0] != "DontCare"]
        assert [(shape.label, corners(shape)) for shape in shapes] == cared_for
        for shape, thing in zip(shapes, done.scenes[image].things, strict=True):
            assert corners(shape) == pytest.approx(thing.box, abs=HUNDREDTH)


def test_our_cvat_shapes_are_those_of_the_scene_and_of_labelformat(refined: Refined) -> None:
    done = refined("cvat")
    other = boxes(cvat(done.after))
    for image, shapes in done.shapes().items():
        drawn, lines = shapes[::2], shapes[1::2]
        things = done.scenes[image].things
        plain = [(shape.label, corners(shape)) for shape in drawn if shape.kind == "box"]
        assert plain == [entry for place, entry in enumerate(other[Path(image).name]) if place % 2 == 0]
        for place, (shape, line, thing) in enumerate(zip(drawn, lines, things, strict=True)):
            kind = ("box", "polygon", "polygon", "keypoints")[place % 4]
            assert (shape.label, shape.kind) == (thing.label, kind)
            wanted: tuple[Any, ...] = (
                thing.box,
                thing.outline,
                thing.turned,
                [point[:2] for point in thing.keypoints if point[2]],
            )[place % 4]
            found = {"box": corners(shape), "polygon": shape.polygons[:1], "keypoints": shape.points}[kind]
            # The corners of a turned box come out of three rounded numbers, its middle, sides and degrees.
            precision = 0.02 if place % 4 == 2 else HUNDREDTH
            assert np.array(found).ravel() == pytest.approx(np.ravel(wanted), abs=precision)
            ends = [thing.outline[0], thing.keypoints[1][:2]]
            assert np.array(line.points) == pytest.approx(np.array(ends), abs=HUNDREDTH)


def test_our_labelme_shapes_are_those_of_the_scene_and_of_supervision(refined: Refined) -> None:
    done = refined("labelme")
    dataset = labelme(done.after)
    for image, shapes in done.shapes().items():
        found = by_name(dataset)[image]
        regions = [shape for shape in shapes if shape.kind != "keypoints"]
        assert [shape.label for shape in regions] == [dataset.classes[i] for i in found.class_id]
        assert np.array([corners(shape) for shape in regions]) == pytest.approx(found.xyxy, abs=1e-5)
        for place, (shape, thing) in enumerate(zip(shapes, done.scenes[image].things, strict=True)):
            if place % 3 == 0:
                assert shape.polygons == (thing.outline,)
            elif place % 3 == 1:
                assert (shape.kind, corners(shape)) == ("box", thing.box)
            else:
                assert list(shape.points) == [(x, y) for x, y, seen in thing.keypoints if seen]
