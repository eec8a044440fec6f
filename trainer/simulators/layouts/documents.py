"""Sets of scenes with a JSON document an image: LabelMe, UnityEyes, Unity SOLO, plain; and one of depth."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer.simulators.scene_pictures import exr, pfm, save_coloured, save_mask, save_picture
from trainer.simulators.scenes import HEIGHT, WIDTH, Point, Scene, Thing

_SOLO = "type.unity.com/unity.solo"


def write_labelme(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Images with their documents beside them; things in turns are polygons, rectangles and points."""
    for number, scene in enumerate(scenes):
        save_picture(folder / f"scene{number}.jpg", scene.image)
        document: dict[str, object] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [_labelme_shape(thing, place) for place, thing in enumerate(scene.things)],
            "imagePath": f"scene{number}.jpg",
            "imageData": None,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        _write_json(folder / f"scene{number}.json", document)
    return [f"scene{number}.jpg" for number in range(len(scenes))]


def write_unityeyes(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`imgs` with a document beside each image, y pointing up; the first thing is taken for the eyelids, the
    second for the iris, the keypoints of the third for the caruncle.
    """
    for number, scene in enumerate(scenes, 1):
        save_picture(folder / f"imgs/{number}.jpg", scene.image)
        lids, iris, caruncle = scene.things[:3]
        document = {
            "interior_margin_2d": _landmarks(lids.outline),
            "caruncle_2d": _landmarks(point[:2] for point in caruncle.keypoints if point[2]),
            "iris_2d": _landmarks(iris.outline),
            "eye_details": {"look_vec": "(0.1023, -0.2071, -0.9729, 0.0000)", "pupil_size": "-0.04"},
            "head_pose": "(350.5000, 170.2500, 0.0000)",
        }
        _write_json(folder / f"imgs/{number}.json", document)
    return [f"imgs/{number}.jpg" for number in range(1, len(scenes) + 1)]


def write_solo(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Unity Perception's SOLO: a folder per sequence, with boxes, keypoints, segmentations and depth."""
    for number, scene in enumerate(scenes):
        place = folder / f"sequence.{number}"
        save_picture(place / "step0.camera.png", _with_alpha(scene))
        save_coloured(place / "step0.camera.semantic segmentation.png", scene.classes)
        save_coloured(place / "step0.camera.instance segmentation.png", scene.instances)
        (place / "step0.camera.Depth.exr").write_bytes(exr(_metres(scene)))
        _write_json(place / "step0.frame_data.json", _solo_frame(number, scene))
    _write_json(folder / "metadata.json", {"totalFrames": len(scenes), "simulationStartTime": "1/1/2026"})
    _write_json(folder / "annotation_definitions.json", {"annotationDefinitions": []})
    return [f"sequence.{number}/step0.camera.png" for number in range(len(scenes))]


def write_plain(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Images of many kinds, plain documents beside them; things in turns are boxes, polygons and points."""
    names = []
    for number, scene in enumerate(scenes):
        grey = scene.image.mean(axis=2).round().astype(np.uint8)
        kinds = (
            ("png", grey),
            ("tif", scene.image),
            ("webp", scene.image),
            ("bmp", scene.image),
            ("png", grey.astype(np.uint16) * 257),
            ("png", _with_alpha(scene)),
        )
        suffix, pixels = kinds[number % len(kinds)]
        names.append(f"{number}.{suffix}")
        save_picture(folder / names[-1], pixels)
        objects = [_plain_object(thing, place) for place, thing in enumerate(scene.things)]
        _write_json(folder / f"{number}.json", {"objects": objects, "image": names[-1]})
    return names


def write_depth(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`rgb`, and depth in 16-bit PNG millimetres, EXR, NPY and PFM metres; nothing has a label."""
    for number, scene in enumerate(scenes):
        save_picture(folder / f"rgb/{number:04d}.png", scene.image)
        (folder / "depth").mkdir(parents=True, exist_ok=True)
        save_picture(folder / f"depth/{number:04d}.png", scene.depth_mm)
        save_mask(folder / f"rgb/{number:04d}_mask.png", scene.classes)
        array = io.BytesIO()
        np.save(array, _metres(scene))
        for suffix, data in (
            ("exr", exr(_metres(scene))),
            ("pfm", pfm(_metres(scene))),
            ("npy", array.getvalue()),
        ):
            (folder / f"depth/{number:04d}.{suffix}").write_bytes(data)
    return [f"rgb/{number:04d}.png" for number in range(len(scenes))]


def _labelme_shape(thing: Thing, place: int) -> dict[str, object]:
    x1, y1, x2, y2 = thing.box
    kinds = (
        ("polygon", list(thing.outline)),
        ("rectangle", [(x2, y1), (x1, y2)]),
        ("linestrip", [point[:2] for point in thing.keypoints if point[2]]),
    )
    kind, points = kinds[place % len(kinds)]
    return {"label": thing.label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def _landmarks(points: Iterable[Point]) -> list[str]:
    return [f"({x:.4f}, {HEIGHT - y:.4f}, {5:.4f})" for x, y in points]


def _solo_frame(number: int, scene: Scene) -> dict[str, object]:
    boxes = [
        {
            "instanceId": place,
            "labelId": thing.number + 1,
            "labelName": thing.label,
            "origin": list(thing.box[:2]),
            "dimension": [round(thing.box[2] - thing.box[0], 6), round(thing.box[3] - thing.box[1], 6)],
        }
        for place, thing in enumerate(scene.things, 1)
    ]
    joints = [
        [
            {"index": i, "location": [x, y], "cameraCartesianLocation": [0.0, 0.0, 0.0], "state": seen}
            for i, (x, y, seen) in enumerate(thing.keypoints)
        ]
        for thing in scene.things
    ]
    skeletons = [
        {"instanceId": place, "componentId": 1, "pose": "unset", "keypoints": points}
        for place, points in enumerate(joints, 1)
    ]
    picture = {"imageFormat": "Png", "dimension": [WIDTH, HEIGHT]}
    annotations = [
        _solo_annotation("BoundingBox2D", "bounding box", values=boxes),
        _solo_annotation(
            "SemanticSegmentation",
            "semantic segmentation",
            filename="step0.camera.semantic segmentation.png",
            **picture,
        ),
        _solo_annotation(
            "InstanceSegmentation",
            "instance segmentation",
            filename="step0.camera.instance segmentation.png",
            **picture,
        ),
        _solo_annotation("Depth", "Depth", filename="step0.camera.Depth.exr", measurementStrategy="Depth"),
        _solo_annotation("Keypoint", "keypoints", keypoints=skeletons, templateId="thing"),
    ]
    capture = {
        "@type": f"{_SOLO}.RGBCamera",
        "id": "camera",
        "filename": "step0.camera.png",
        **picture,
        "projection": "Perspective",
        "annotations": annotations,
    }
    return {"frame": number, "sequence": number, "step": 0, "captures": [capture], "metrics": []}


def _solo_annotation(kind: str, name: str, **values: object) -> dict[str, object]:
    return {"@type": f"{_SOLO}.{kind}Annotation", "id": name, "sensorId": "camera", **values}


def _plain_object(thing: Thing, place: int) -> dict[str, object]:
    shapes: tuple[dict[str, object], ...] = (
        {"box": list(thing.box)},
        {"polygon": list(thing.outline)},
        {"keypoints": [number for point in thing.keypoints for number in point]},
    )
    return {"label": thing.label, **shapes[place % len(shapes)]}


def _with_alpha(scene: Scene) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:8, :8] = 90
    return np.concatenate([scene.image, alpha], axis=2)


def _metres(scene: Scene) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return (scene.depth_mm / 1000).astype(np.float32)


def _write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent="\t") + "\n", newline="")
