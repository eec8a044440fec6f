"""Sets of scenes whose labels are text files, a line per thing: YOLO's four kinds, and KITTI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainer.simulators.scene_pictures import save_picture
from trainer.simulators.scenes import CLASSES, HEIGHT, WIDTH, Point, Scene, Thing

_FOCAL_PX = 80.0


def write_yolo_detect(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Boxes; class names as a list."""
    return _write_yolo(folder, scenes, _box, f"names: [{', '.join(CLASSES)}]\n")


def write_yolo_segment(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Outlines; class names as a map."""
    names = "".join(f"  {number}: {label}\n" for number, label in enumerate(CLASSES))
    return _write_yolo(folder, scenes, lambda thing: _flat(thing.outline), f"names:\n{names}")


def write_yolo_pose(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """Boxes and three keypoints with visibility."""
    settings = f"kpt_shape: [3, 3]\nnames: [{', '.join(CLASSES)}]\n"
    return _write_yolo(folder, scenes, _pose, settings)


def write_yolo_obb(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """The corners of turned boxes."""
    return _write_yolo(folder, scenes, lambda thing: _flat(thing.turned), f"names: [{', '.join(CLASSES)}]\n")


def write_kitti(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """KITTI's object set: `training/image_2`, `label_2` and `calib`; one region of each image is DontCare."""
    for number, scene in enumerate(scenes):
        save_picture(folder / f"training/image_2/{number:06d}.png", scene.image)
        dont_care = "DontCare -1 -1 -10 1.00 2.00 9.50 8.25 -1 -1 -1 -1000 -1000 -1000 -10\n"
        lines = [*map(_kitti_line, scene.things), dont_care]
        _write_text(folder / f"training/label_2/{number:06d}.txt", "".join(lines))
        _write_text(folder / f"training/calib/{number:06d}.txt", _calibration())
    return [f"training/image_2/{number:06d}.png" for number in range(len(scenes))]


def _write_yolo(
    folder: Path, scenes: Sequence[Scene], line: Callable[[Thing], str], settings: str
) -> list[str]:
    """`data.yaml`, and `images` and `labels` of both splits: the last scene is validation's, as is an image
    without things, whose label file is empty.
    """
    splits = ["train"] * (len(scenes) - 1) + ["val"]
    names = [f"{split}/scene_{number}.jpg" for number, split in enumerate(splits)]
    for name, scene in zip(names, scenes, strict=True):
        save_picture(folder / "images" / name, scene.image)
        text = "".join(f"{thing.number} {line(thing)}\n" for thing in scene.things)
        _write_text((folder / "labels" / name).with_suffix(".txt"), text)
    save_picture(folder / "images/val/empty.jpg", scenes[0].image[::-1].copy())
    _write_text(folder / "labels/val/empty.txt", "")
    _write_text(folder / "data.yaml", f"path: .\ntrain: images/train\nval: images/val\n{settings}")
    return [f"images/{name}" for name in names]


def _box(thing: Thing) -> str:
    x1, y1, x2, y2 = thing.box
    return _flat([((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)])


def _pose(thing: Thing) -> str:
    keypoints = (f"{_flat([(x, y)])} {visibility}" for x, y, visibility in thing.keypoints)
    return " ".join([_box(thing), *keypoints])


def _flat(points: Iterable[Point]) -> str:
    return " ".join(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in points)


def _kitti_line(thing: Thing) -> str:
    x1, y1, x2, y2 = thing.box
    metres = thing.distance_mm / 1000
    middle = ((x1 + x2 - WIDTH) / 2 * metres / _FOCAL_PX, (y1 + y2 - HEIGHT) / 2 * metres / _FOCAL_PX)
    in_space = f"0.10 0.20 0.15 {middle[0]:.2f} {middle[1]:.2f} {metres:.2f} -1.57"
    return f"{thing.label} 0.00 0 -1.57 {x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f} {in_space}\n"


def _calibration() -> str:
    camera = f"{_FOCAL_PX:.12e} 0 {WIDTH / 2:.12e} 0 0 {_FOCAL_PX:.12e} {HEIGHT / 2:.12e} 0 0 0 1 0"
    return "".join(f"P{number}: {camera}\n" for number in range(4))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")
