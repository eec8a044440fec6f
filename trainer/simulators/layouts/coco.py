"""Sets of scenes with a COCO document: COCO's own layout, BlenderProc's, and a panoptic one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.simulators.scene_pictures import save_picture
from trainer.simulators.scenes import CLASSES, HEIGHT, WIDTH, Scene, Thing

FIRST_ID = 101
"""Of the categories, which COCO neither counts from 0 nor without gaps."""


def write_coco(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`train2017` and `annotations/instances_train2017.json`, `person_keypoints_train2017.json`.

    Things in turns have polygons, compressed and plain run lengths; the last of each image is a crowd.
    """
    names = [f"{139 * (i + 1):012d}.{'jpg' if i % 2 else 'png'}" for i in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        save_picture(folder / "train2017" / name, scene.image)
    annotations = [
        {
            "segmentation": _segmentation(thing, position, crowd=position == len(scene.things) - 1),
            "area": float(thing.mask.sum()),
            "iscrowd": int(position == len(scene.things) - 1),
            **_about(thing, image, 1000 * image + position),
        }
        for image, scene in enumerate(scenes)
        for position, thing in enumerate(scene.things)
    ]
    _write(folder / "annotations/instances_train2017.json", annotations, names, _categories())
    _write_keypoints(folder / "annotations/person_keypoints_train2017.json", names, scenes)
    return [f"train2017/{name}" for name in names]


def write_blenderproc(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`coco_data/images` and `coco_data/coco_annotations.json`, as BlenderProc's writer lays them out."""
    names = [f"images/{i:06d}.jpg" for i in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        save_picture(folder / "coco_data" / name, scene.image)
    annotations = [
        {
            **_about(thing, image, 1000 * image + position),
            "segmentation": {"counts": runs(thing.mask), "size": list(thing.mask.shape)},
        }
        for image, scene in enumerate(scenes)
        for position, thing in enumerate(scene.things)
    ]
    _write(folder / "coco_data/coco_annotations.json", annotations, names, _categories())
    return [f"coco_data/{name}" for name in names]


def write_panoptic(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`rgb`, `pan` (colours are numbers of segments) and `pan.json`, which alone says what `pan` holds."""
    names = [f"{i:04d}.png" for i in range(len(scenes))]
    annotations = []
    for image, (name, scene) in enumerate(zip(names, scenes, strict=True)):
        save_picture(folder / "rgb" / name, scene.image)
        _save_segments(folder / "pan" / name, scene.instances)
        segments = [
            {"id": number, "category_id": FIRST_ID + 7 * thing.number, "bbox": _bbox(thing), "iscrowd": 0}
            for number, thing in enumerate(scene.things, 1)
        ]
        annotations.append({"image_id": image, "file_name": name, "segments_info": segments})
    _write(folder / "pan.json", annotations, names, _categories())
    return [f"rgb/{name}" for name in names]


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's plain run lengths of bool [H, W]: of 0s and 1s in turns, down the columns."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    lengths: list[int] = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *lengths] if flat[0] else lengths


def compressed(counts: Sequence[int]) -> str:
    """COCO's string of run lengths: 5 bits a character, from the fourth on as differences."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def _segmentation(thing: Thing, position: int, *, crowd: bool) -> object:
    counts = runs(thing.mask)
    if crowd or position % 3 == 1:
        return {"counts": counts, "size": list(thing.mask.shape)}
    if position % 3 == 2:
        return {"size": list(thing.mask.shape), "counts": compressed(counts)}
    return [[number for point in thing.outline for number in point]]


def _bbox(thing: Thing) -> list[float]:
    x1, y1, x2, y2 = thing.box
    return [x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)]


def _about(thing: Thing, image: int, number: int) -> dict[str, object]:
    return {
        "bbox": _bbox(thing),
        "category_id": FIRST_ID + 7 * thing.number,
        "image_id": image,
        "id": number,
        "attributes": {"distance_mm": thing.distance_mm},
    }


def _categories() -> list[dict[str, object]]:
    return [
        {"supercategory": "thing", "name": label, "id": FIRST_ID + 7 * i} for i, label in enumerate(CLASSES)
    ]


def _write_keypoints(path: Path, names: Sequence[str], scenes: Sequence[Scene]) -> None:
    """As COCO does, all keypoints are of one category."""
    annotations = [
        _about(thing, image, 5000 + 100 * image + position)
        | {
            "category_id": 1,
            "keypoints": [number for keypoint in thing.keypoints for number in keypoint],
            "num_keypoints": sum(keypoint[2] > 0 for keypoint in thing.keypoints),
        }
        for image, scene in enumerate(scenes)
        for position, thing in enumerate(scene.things)
    ]
    category = {"id": 1, "name": "thing", "keypoints": ["corner", "middle", "lost"], "skeleton": [[1, 2]]}
    _write(path, annotations, names, [category])


def _write(
    path: Path, annotations: Sequence[object], names: Sequence[str], categories: Sequence[object]
) -> None:
    """The annotations first, in nobody's order of keys and nobody's white space."""
    images = [
        {"height": HEIGHT, "file_name": name, "id": number, "width": WIDTH, "licence": None}
        for number, name in enumerate(names)
    ]
    document = {
        "annotations": annotations,
        "info": {"description": "Tische \u2013 dr\u00e4wn", "version": 1.50},
        "images": images,
        "categories": categories,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, separators=(" ,", " : ")) + "\r\n", newline="")


def _save_segments(path: Path, instances: NDArray[np.uint8]) -> None:
    """Red is the number of the segment, as COCO's panoptic pictures count (red + 256 green + 65536 blue)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red = np.zeros((*instances.shape, 3), np.uint8)
    red[..., 0] = instances
    Image.fromarray(red).save(path)
