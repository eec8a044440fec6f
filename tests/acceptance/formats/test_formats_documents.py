"""UnityEyes, SOLO, plain and depth sets: what their own tools read is the same before and after, and ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.annotations.shapes import Shape
from trainer.simulators.scenes import HEIGHT

Refined = Callable[[str], Any]
WRITTEN_PX = 5.1e-5
"""UnityEyes writes four decimals."""


def corners(shape: Shape) -> tuple[float, ...]:
    return shape.x1, shape.y1, shape.x2, shape.y2


def unityeyes(root: Path, image: str) -> dict[str, np.ndarray]:
    """Landmarks as UnityEyes' own example reads them: y is the image's height less what is said."""
    document = json.loads((root / image).with_suffix(".json").read_bytes())
    with Image.open(root / image) as picture:
        height = picture.size[1]
    found = {}
    for key in ("interior_margin_2d", "iris_2d", "caruncle_2d"):
        triples = [[float(number) for number in re.findall(r"[-.\d]+", text)] for text in document[key]]
        found[key] = np.array([(x, height - y) for x, y, _ in triples])
    return found


def test_our_landmarks_of_eyes_are_those_of_the_scene_and_of_unityeyes_example(refined: Refined) -> None:
    done = refined("unityeyes")
    for image, (lids, iris, caruncle) in done.shapes().items():
        before, after = unityeyes(done.before, image), unityeyes(done.after, image)
        assert all(np.array_equal(before[key], after[key]) for key in before)
        things = done.scenes[image].things
        seen = [point[:2] for point in things[2].keypoints if point[2]]
        for found, key, drawn in (
            (lids.polygons[0], "interior_margin_2d", things[0].outline),
            (iris.polygons[0], "iris_2d", things[1].outline),
            (caruncle.points, "caruncle_2d", seen),
        ):
            assert np.array(found) == pytest.approx(after[key], abs=1e-9)
            assert np.array(found) == pytest.approx(np.array(drawn), abs=WRITTEN_PX)
            assert 0 < np.array(found)[:, 1].mean() < HEIGHT


def solo_boxes(root: Path, image: str) -> list[tuple[str, tuple[float, ...]]]:
    """Corners as Unity's converter to COCO takes them: the origin is the left upper one."""
    frame = json.loads((root / image).with_name("step0.frame_data.json").read_bytes())
    (capture,) = frame["captures"]
    (values,) = [one["values"] for one in capture["annotations"] if "BoundingBox2D" in one["@type"]]
    return [
        (value["labelName"], tuple(np.add(value["origin"] * 2, [0, 0, *value["dimension"]]).tolist()))
        for value in values
    ]


def test_our_boxes_and_keypoints_of_solo_are_those_of_the_scene(refined: Refined) -> None:
    done = refined("solo")
    for image, shapes in done.shapes().items():
        things = done.scenes[image].things
        boxes, skeletons = shapes[: len(things)], shapes[len(things) :]
        assert [(shape.label, corners(shape)) for shape in boxes] == solo_boxes(done.after, image)
        assert solo_boxes(done.before, image) == solo_boxes(done.after, image)
        for box, skeleton, thing in zip(boxes, skeletons, things, strict=True):
            assert corners(box) == pytest.approx(thing.box, abs=1e-9)
            assert list(skeleton.points) == [(x, y) for x, y, seen in thing.keypoints if seen]


def test_every_picture_that_a_frame_of_solo_refers_to_is_there_and_what_it_was(refined: Refined) -> None:
    done = refined("solo")
    for frame in done.after.rglob("*.frame_data.json"):
        (capture,) = json.loads(frame.read_bytes())["captures"]
        named = [one["filename"] for one in capture["annotations"] if "filename" in one]
        assert len(named) == 3
        for name in named:
            path = frame.with_name(name)
            assert path.read_bytes() == (done.before / path.relative_to(done.after)).read_bytes()


def test_our_shapes_of_plain_documents_are_those_of_the_scene(refined: Refined) -> None:
    done = refined("plain")
    for image, shapes in done.shapes().items():
        entries = json.loads((done.after / image).with_suffix(".json").read_bytes())["objects"]
        for place, (shape, thing, entry) in enumerate(
            zip(shapes, done.scenes[image].things, entries, strict=True)
        ):
            assert shape.label == thing.label == entry["label"]
            if place % 3 == 0:
                assert corners(shape) == thing.box == tuple(entry["box"])
            elif place % 3 == 1:
                assert shape.polygons == (thing.outline,)
            else:
                assert list(shape.points) == [(x, y) for x, y, seen in thing.keypoints if seen]


def test_depth_maps_keep_their_millimetres(refined: Refined) -> None:
    done = refined("depth")
    for image, scene in done.scenes.items():
        path = done.after / "depth" / Path(image).name
        with Image.open(path) as depth:
            assert depth.mode == "I;16"
            assert np.array_equal(np.asarray(depth), scene.depth_mm)
        metres = np.load(path.with_suffix(".npy"))
        assert np.array_equal(metres, (scene.depth_mm / 1000).astype(np.float32))
