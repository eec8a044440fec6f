"""Writes a set of drawn scenes in one of many formats, in its usual files and folders.

    python -m trainer.simulators.scene_sets coco FOLDER --count 20

What the labels say is exact, down to the precision of the format; the same seed writes the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from trainer.simulators.layouts import coco, documents, markup, text
from trainer.simulators.scenes import Scene, draw_scenes

Writer = Callable[[Path, Sequence[Scene]], list[str]]

FORMATS: Final[dict[str, Writer]] = {
    "coco": coco.write_coco,
    "blenderproc": coco.write_blenderproc,
    "panoptic": coco.write_panoptic,
    "yolo-detect": text.write_yolo_detect,
    "yolo-segment": text.write_yolo_segment,
    "yolo-pose": text.write_yolo_pose,
    "yolo-obb": text.write_yolo_obb,
    "kitti": text.write_kitti,
    "voc": markup.write_voc,
    "cvat": markup.write_cvat,
    "labelme": documents.write_labelme,
    "unityeyes": documents.write_unityeyes,
    "solo": documents.write_solo,
    "plain": documents.write_plain,
    "depth": documents.write_depth,
}


def write_set(name: str, folder: Path, *, count: int, seed: int) -> dict[str, Scene]:
    """Write `count` scenes in the format of that name; returns the scene of every image, by its path."""
    scenes = draw_scenes(count, seed)
    return dict(zip(FORMATS[name](folder, scenes), scenes, strict=True))


def main() -> None:
    """Run the command line described at the top."""
    parser = argparse.ArgumentParser(prog="python -m trainer.simulators.scene_sets")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20, help="how many scenes")
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenes")
    arguments = parser.parse_args()
    write_set(arguments.format, arguments.folder, count=arguments.count, seed=arguments.seed)


if __name__ == "__main__":
    main()
