"""What datumaro finds in a set, as JSON: `python datumaro_reader.py FORMAT FOLDER SCRATCH LABEL…`.

It runs in an environment of its own, since datumaro needs another version of Pillow, and imports nothing of
ours. Where datumaro wants files elsewhere, links in SCRATCH put them there.
"""

from __future__ import annotations

import json
import logging
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import datumaro

LABELS_OF_VOC = "# label:color_rgb:parts:actions\n{}"


def main() -> None:
    """Print every item with its annotations, in the order of their names."""
    logging.disable(logging.WARNING)
    name, folder, scratch = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    arranged = {"coco": _as_coco, "voc": _as_voc}.get(name, lambda folder, _: folder)(folder, scratch)
    dataset = datumaro.Dataset.import_from(str(arranged), KINDS[name])
    names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
    items = {item.id: sorted((_told(one, names) for one in item.annotations), key=repr) for item in dataset}
    json.dump(items, sys.stdout, sort_keys=True)


KINDS = {"coco": "coco_instances", "voc": "voc_detection", "kitti": "kitti_detection", "yolo-detect": "yolo"}


def _told(annotation: Any, names: list[str]) -> list[Any]:
    attributes = {key: str(value) for key, value in annotation.attributes.items()}
    mask = sha256(annotation.image.tobytes()).hexdigest() if annotation.type.name == "mask" else ""
    points = [float(one) for one in getattr(annotation, "points", ())]
    x, y, width, height = annotation.get_bbox()
    box = [x, y, x + width, y + height]
    number = getattr(annotation, "label", None)
    label = "" if number is None else names[number]
    return [label, annotation.type.name, list(map(float, box)), points, mask, attributes]


def _as_coco(folder: Path, scratch: Path) -> Path:
    (scratch / "annotations").symlink_to(folder / "annotations")
    (scratch / "images").symlink_to(folder)
    return scratch


def _as_voc(folder: Path, scratch: Path) -> Path:
    (inside,) = (folder / "VOCdevkit").iterdir()
    for part in inside.iterdir():
        (scratch / part.name).symlink_to(part)
    (scratch / "labelmap.txt").write_text(
        LABELS_OF_VOC.format("\n".join(f"{one}:::" for one in sys.argv[4:]))
    )
    return scratch


if __name__ == "__main__":
    main()
