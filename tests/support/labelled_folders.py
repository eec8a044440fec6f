"""Small folders as sets: label files in them, and what is read about one image."""

from __future__ import annotations

import json
from pathlib import Path

from app.annotations.shapes import ImageGeometry, ImageRef
from app.datasets.annotation_index import AnnotationIndex, index_annotations
from app.datasets.annotation_source import source_from_json
from app.datasets.folder_place import FolderPlace

WIDTH, HEIGHT = 64, 48
"""Of every image, px."""


def index_of(root: Path, image: str) -> AnnotationIndex:
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    others = [name for name in names if name.endswith((".png", ".jpg")) and name != image]
    return index_annotations(names, [image, *others], FolderPlace(root))


def read(root: Path, image: str) -> ImageGeometry:
    source = index_of(root, image).of(image)
    assert source is not None
    again = source_from_json(json.loads(json.dumps(source.to_json())))  # as a job sends it to a worker
    return again.read(ImageRef(Path(image).name, WIDTH, HEIGHT), FolderPlace(root))


def write(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, errors="surrogateescape")
