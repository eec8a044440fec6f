"""Sets of scenes whose labels are XML: Pascal VOC with its masks, and CVAT for images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, dist, floor
from pathlib import Path

from trainer.simulators.scene_pictures import save_mask, save_picture
from trainer.simulators.scenes import CLASSES, HEIGHT, WIDTH, Point, Scene, Thing


def write_voc(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`VOCdevkit/VOC2012` with `JPEGImages`, `Annotations`, `ImageSets` and masks of classes and of objects.

    Boxes are the whole pixels that a thing touches, counted from 1.
    """
    root = folder / "VOCdevkit/VOC2012"
    names = [f"2026_{number:06d}" for number in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        save_picture(root / f"JPEGImages/{name}.jpg", scene.image)
        _write_text(root / f"Annotations/{name}.xml", _voc_document(name, scene.things))
        save_mask(root / f"SegmentationClass/{name}.png", scene.classes, outlined=True)
        save_mask(root / f"SegmentationObject/{name}.png", scene.instances, outlined=True)
    for task in ("Main", "Segmentation"):
        _write_text(root / f"ImageSets/{task}/train.txt", "".join(f"{name}\n" for name in names))
    return [f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg" for name in names]


def write_cvat(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """`images` and `annotations.xml` of CVAT for images 1.1.

    Things in turns are boxes, polygons, turned boxes and skeletons; each also gets a polyline to its middle.
    """
    names = [f"set/frame {number:03d}.png" for number in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        save_picture(folder / "images" / name, scene.image)
    images = "".join(
        f'  <image id="{number}" name="{name}" subset="train" width="{WIDTH}" height="{HEIGHT}">\n'
        f"{''.join(_cvat_shapes(thing, place) for place, thing in enumerate(scene.things))}  </image>\n"
        for number, (name, scene) in enumerate(zip(names, scenes, strict=True))
    )
    labels = "".join(f"<label><name>{label}</name><color>#33ddff</color></label>" for label in CLASSES)
    meta = f"<meta><task><id>1</id><name>drawn &amp; set</name><labels>{labels}</labels></task></meta>"
    text = f"<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n  <version>1.1</version>\n  {meta}\n"
    _write_text(folder / "annotations.xml", f"{text}{images}</annotations>\n")
    return [f"images/{name}" for name in names]


def pixels_of(thing: Thing) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the whole pixels that a thing's box touches, counted from 0 and half-open."""
    x1, y1, x2, y2 = thing.box
    return floor(x1), floor(y1), ceil(x2), ceil(y2)


def _voc_document(name: str, things: Iterable[Thing]) -> str:
    objects = []
    for thing in things:
        x1, y1, x2, y2 = pixels_of(thing)
        box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        flags = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        objects.append(f"\t<object><name>{thing.label}</name>{flags}<bndbox>{box}</bndbox></object>\n")
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    head = f"\t<folder>VOC2012</folder>\n\t<filename>{name}.jpg</filename>\n\t{size}\n"
    return f"<annotation>\n{head}\t<segmented>1</segmented>\n{''.join(objects)}</annotation>\n"


def _cvat_shapes(thing: Thing, place: int) -> str:
    shape = (_cvat_box, _cvat_polygon, _cvat_turned, _cvat_skeleton)[place % 4](thing)
    line = f'<polyline {_about(thing)} points="{_points([thing.outline[0], thing.keypoints[1][:2]])}"/>'
    return f"    {shape}\n    {line}\n"


def _about(thing: Thing) -> str:
    return f'label="{thing.label}" source="manual" occluded="0" z_order="0"'


def _cvat_box(thing: Thing) -> str:
    x1, y1, x2, y2 = thing.box
    return f'<box {_about(thing)} xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}"></box>'


def _cvat_polygon(thing: Thing) -> str:
    return f'<polygon {_about(thing)} points="{_points(thing.outline)}"></polygon>'


def _cvat_turned(thing: Thing) -> str:
    """The box before it was turned clockwise about its middle."""
    left_upper, right_upper, right_lower, left_lower = thing.turned
    x, y = ((a + b) / 2 for a, b in zip(left_upper, right_lower, strict=True))
    across, down = dist(left_upper, right_upper) / 2, dist(left_upper, left_lower) / 2
    sides = f'xtl="{x - across:.2f}" ytl="{y - down:.2f}" xbr="{x + across:.2f}" ybr="{y + down:.2f}"'
    return f'<box {_about(thing)} {sides} rotation="{thing.degrees:.2f}"></box>'


def _cvat_skeleton(thing: Thing) -> str:
    states = {2: 'outside="0" occluded="0"', 1: 'outside="0" occluded="1"', 0: 'outside="1" occluded="0"'}
    joints = "".join(
        f'<points label="{place}" source="manual" {states[seen]} points="{x:.2f},{y:.2f}"/>'
        for place, (x, y, seen) in enumerate(thing.keypoints)
    )
    return f"<skeleton {_about(thing)}>{joints}</skeleton>"


def _points(points: Iterable[Point]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="", encoding="utf-8")
