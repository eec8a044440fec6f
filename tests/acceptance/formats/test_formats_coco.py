"""COCO sets mean to pycocotools and supervision what they meant before, and to us what they mean to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from pycocotools.coco import COCO

from app.annotations import rle
from app.annotations.shapes import Shape
from trainer.simulators.scenes import Scene

# pycocotools was built for a NumPy whose arrays could not be asked for a copy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Refined = Callable[[str], Any]
INSTANCES = "annotations/instances_train2017.json"
KEYPOINTS = "annotations/person_keypoints_train2017.json"
FLOAT32_PX = 1e-5
"""supervision keeps corners in 32-bit floats."""


def annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What pycocotools says about each image, with the label, the corners, and the mask it decodes."""
    coco = COCO(str(path))
    found = {}
    for number, image in coco.imgs.items():
        entries = coco.loadAnns(sorted(coco.getAnnIds(imgIds=number)))
        for entry in entries:
            x, y, width, height = entry["bbox"]
            entry["corners"] = (x, y, x + width, y + height)
            entry["label"] = coco.cats[entry["category_id"]]["name"]
            if "segmentation" in entry:
                entry["mask"] = coco.annToMask(entry).astype(bool).tolist()
        found[image["file_name"]] = entries
    return found


def corners(shape: Shape) -> tuple[float, ...]:
    return shape.x1, shape.y1, shape.x2, shape.y2


@pytest.mark.parametrize(
    ("name", "document"),
    [("coco", INSTANCES), ("coco", KEYPOINTS), ("blenderproc", "coco_data/coco_annotations.json")],
)
def test_pycocotools_finds_the_same_before_and_after(refined: Refined, name: str, document: str) -> None:
    done = refined(name)
    before = annotations(done.before / document)
    assert sum(map(len, before.values())) >= 3 * len(done.scenes)
    assert annotations(done.after / document) == before


def test_supervision_finds_the_same_before_and_after(refined: Refined) -> None:
    done = refined("coco")
    sets = [
        sv.DetectionDataset.from_coco(str(root / "train2017"), str(root / INSTANCES), force_masks=True)
        for root in (done.before, done.after)
    ]
    before, after = ({Path(path).name: found for path, found in one.annotations.items()} for one in sets)
    assert sets[0].classes == sets[1].classes
    assert before == after
    assert len(before) == len(done.scenes)


def test_our_boxes_are_those_of_the_scene_of_pycocotools_and_of_supervision(refined: Refined) -> None:
    done = refined("coco")
    tools = annotations(done.after / INSTANCES)
    dataset = sv.DetectionDataset.from_coco(str(done.after / "train2017"), str(done.after / INSTANCES))
    other = {Path(path).name: found for path, found in dataset.annotations.items()}

    for image, shapes in done.shapes().items():
        things, name = done.scenes[image].things, Path(image).name
        instances = shapes[: len(things)]
        assert [shape.label for shape in instances] == [thing.label for thing in things]
        for shape, thing, entry, xyxy in zip(instances, things, tools[name], other[name].xyxy, strict=True):
            assert corners(shape) == pytest.approx(thing.box, abs=1e-9)
            assert corners(shape) == entry["corners"]
            assert corners(shape) == pytest.approx(xyxy.tolist(), abs=FLOAT32_PX)
            assert shape.label == entry["label"]
        assert [dataset.classes[i] for i in other[name].class_id] == [shape.label for shape in instances]


def masks_agree(shapes: tuple[Shape, ...], scene: Scene, entries: list[dict[str, Any]]) -> list[str]:
    """Compares masks pixel by pixel and polygons number by number; returns the kinds that were seen."""
    for shape, thing, entry in zip(shapes, scene.things, entries, strict=True):
        if shape.kind == "mask":
            assert shape.mask is not None
            assert rle.to_array(shape.mask).tolist() == entry["mask"] == thing.mask.tolist()
        else:
            (polygon,) = shape.polygons
            assert polygon == thing.outline
            assert [list(map(float, part)) for part in entry["segmentation"]] == [np.ravel(polygon).tolist()]
    return [shape.kind for shape in shapes]


def test_our_masks_and_polygons_are_those_of_the_scene_and_of_pycocotools(refined: Refined) -> None:
    done = refined("coco")
    tools = annotations(done.after / INSTANCES)
    kinds = []
    for image, shapes in done.shapes().items():
        scene = done.scenes[image]
        kinds += masks_agree(shapes[: len(scene.things)], scene, tools[Path(image).name])
    assert set(kinds) == {"mask", "polygon"}
    encoded = {
        type(entry["segmentation"]["counts"]).__name__
        for entries in tools.values()
        for entry in entries
        if isinstance(entry["segmentation"], dict)
    }
    assert encoded == {"str", "list"}


def test_our_masks_of_a_blenderproc_set_are_those_of_the_scene_and_of_pycocotools(refined: Refined) -> None:
    done = refined("blenderproc")
    tools = annotations(done.after / "coco_data/coco_annotations.json")
    for image, shapes in done.shapes().items():
        kinds = masks_agree(shapes, done.scenes[image], tools[image.removeprefix("coco_data/")])
        assert set(kinds) == {"mask"}


def test_our_keypoints_are_those_of_the_scene_and_of_pycocotools(refined: Refined) -> None:
    done = refined("coco")
    tools = annotations(done.after / KEYPOINTS)
    for image, shapes in done.shapes().items():
        things = done.scenes[image].things
        people = shapes[len(things) :]
        for shape, thing, entry in zip(people, things, tools[Path(image).name], strict=True):
            labelled = [(x, y) for x, y, seen in thing.keypoints if seen]
            flat = entry["keypoints"]
            triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            assert list(shape.points) == labelled == [(x, y) for x, y, seen in triples if seen > 0]
            assert len(shape.points) == entry["num_keypoints"]


def test_shapes_of_several_documents_about_an_image_have_numbers_of_their_own(refined: Refined) -> None:
    for shapes in refined("coco").shapes().values():
        assert [shape.source for shape in shapes] == list(range(len(shapes)))
