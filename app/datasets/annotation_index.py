"""Which annotations belong to which image of a set: files beside it, in a folder like its own, or of all.

Looked for in this order, the first that is found counts: a JSON file of the image's name; a VOC file; a YOLO
or KITTI file; what the documents about several images say: COCO's, CVAT's, SOLO's. Files are only ever read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import yaml

from app.annotations import coco, cvat, solo, xml_text
from app.annotations.json_text import JsonValue, parse
from app.annotations.yolo import YoloClasses
from app.datasets.annotation_source import (
    MOST_TEXT_BYTES,
    Files,
    JsonBeside,
    PartOfSet,
    Source,
    TextFile,
    VocFile,
    bounded,
)
from app.errors import SimtrueError

MOST_SET_BYTES = 1 << 30
"""Of a document about a whole set."""
MOST_SET_VALUES = 50_000_000
YOLO_SETTINGS = frozenset({"data.yaml", "data.yml", "dataset.yaml", "dataset.yml"})
YOLO_NAMES = frozenset({"classes.txt", "obj.names", "labels.txt"})
_TWIN_FOLDERS = {"images": "labels", "jpegimages": "Annotations", "image_2": "label_2", "image_3": "label_2"}
"""Folders of images, and their twins of label files; VOC's, YOLO's and KITTI's."""
_WORD = re.compile(r"[a-z]+|[0-9]+")


@dataclass
class AnnotationIndex:
    """The annotations of a set, by the path of the image below it."""

    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Sentences about files that could not be used, and images that are named and not there."""

    def of(self, image: str) -> Source | None:
        """The annotations of an image, None where there are none."""
        return self.sources.get(image)


TEXT_SUFFIXES = frozenset({".json", ".xml", ".txt", ".yaml", ".yml", ".names"})
"""Of files that may hold annotations; nothing else is ever opened."""


def index_annotations(names: Collection[str], images: Sequence[str], files: Files) -> AnnotationIndex:
    """Find the annotations of `images`; both are paths below the set with `/`, `names` of all its files."""
    names = {name for name in names if PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES}
    index = AnnotationIndex()
    classes = _Classes(names, files, index)
    stems = {PurePosixPath(image).with_suffix("").as_posix() for image in images}
    documents = sorted(name for name in names if _may_be_of_set(PurePosixPath(name), stems))
    of_set = _parts_of_set(documents, images, files, index)
    for image in images:
        source = _beside(PurePosixPath(image), names, classes) or of_set.get(image)
        if source is not None:
            index.sources[image] = source
    return index


def _beside(image: PurePosixPath, names: Collection[str], classes: _Classes) -> Source | None:
    """The label file of the image's name: beside it, or in the twin of its folder."""
    for suffix in (".json", ".xml", ".txt"):
        for candidate in _candidates(image, suffix):
            if candidate not in names or candidate.rpartition("/")[2] in YOLO_NAMES:
                continue
            if suffix == ".json":
                return JsonBeside(candidate)
            return VocFile(candidate) if suffix == ".xml" else TextFile(candidate, classes.nearest(candidate))
    return None


def _candidates(image: PurePosixPath, suffix: str) -> Iterator[str]:
    yield image.with_suffix(suffix).as_posix()
    for place, folder in enumerate(image.parent.parts):
        twin = _TWIN_FOLDERS.get(folder.lower())
        if twin is not None:
            parts = (*image.parts[:place], twin, *image.parts[place + 1 :])
            yield PurePosixPath(*parts).with_suffix(suffix).as_posix()


class _Classes:
    """Class names and keypoints of YOLO sets: of the settings file nearest above a label file."""

    def __init__(self, names: Collection[str], files: Files, index: AnnotationIndex) -> None:
        self._by_folder: dict[str, YoloClasses] = {}
        for name in sorted(names, key=lambda name: (name.rpartition("/")[2] in YOLO_SETTINGS, name)):
            folder, _, base = name.rpartition("/")
            if base not in YOLO_SETTINGS | YOLO_NAMES:
                continue
            try:
                found = _read_classes(bounded(files, name, MOST_TEXT_BYTES), base)
            except (SimtrueError, OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                index.problems.append(f"{name} cannot be read: {' '.join(str(error).split())[:200]}.")
                continue
            if found is not None:
                self._by_folder[folder] = found  # settings come after plain lists of names, and win

    def nearest(self, name: str) -> YoloClasses:
        folder = name
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in self._by_folder:
                return self._by_folder[folder]
        return self._by_folder.get("", YoloClasses())


def _read_classes(data: bytes, base: str) -> YoloClasses | None:
    text = data.decode("utf-8")
    if base in YOLO_NAMES:
        return YoloClasses(tuple(line.strip()[:200] for line in text.splitlines() if line.strip()))
    settings = yaml.safe_load(text)
    if not isinstance(settings, dict) or "names" not in settings:
        return None
    names: object = settings["names"]
    shape: object = settings.get("kpt_shape")
    if isinstance(names, dict):
        numbers = [number for number in names if isinstance(number, int) and 0 <= number < 100_000]
        names = [names.get(number, number) for number in range(max(numbers, default=-1) + 1)]
    if not isinstance(names, list):
        return None
    # Text and numbers only: what nested aliases of YAML unfold to has no end.
    named = (str(name)[:200] if isinstance(name, str | int | float) else "" for name in names)
    return YoloClasses(tuple(named), _pose(shape))


def _pose(shape: object) -> tuple[int, int] | None:
    """`kpt_shape`: keypoints, and numbers of each."""
    if not isinstance(shape, list) or len(shape) != 2:
        return None
    count, numbers = shape
    fits = isinstance(count, int) and count > 0 and numbers in (2, 3)
    return (count, int(numbers)) if fits else None


def _may_be_of_set(name: PurePosixPath, stems: set[str]) -> bool:
    """JSON and XML files that are not the label file of a single image."""
    return name.suffix.lower() in (".json", ".xml") and name.with_suffix("").as_posix() not in stems


def _parts_of_set(
    documents: Sequence[str], images: Sequence[str], files: Files, index: AnnotationIndex
) -> dict[str, PartOfSet]:
    """For each image what the COCO, CVAT and SOLO documents among these files say about it."""
    by_base: dict[str, list[str]] = {}
    for image in images:
        by_base.setdefault(image.rpartition("/")[2], []).append(image)
    found: dict[str, list[tuple[str, JsonValue | ET.Element]]] = {}
    for name in documents:
        missing = 0
        try:
            for named, part in _split(name, files):
                if (meant := _image_of(named, name, by_base)) is None:
                    missing += 1
                else:
                    found.setdefault(meant, []).append((PurePosixPath(name).name, part))
        except (SimtrueError, OSError) as error:
            detail = error.detail if isinstance(error, SimtrueError) else f"{error.strerror or error}."
            index.problems.append(f"{name} is not read as annotations: {detail}")
        if missing:
            index.problems.append(
                f"{name} names {missing} images that are not in the set, or more than once."
            )
    return {
        image: PartOfSet(tuple(name for name, _ in parts), tuple(part for _, part in parts))
        for image, parts in found.items()
    }


def _split(name: str, files: Files) -> Iterator[tuple[str, JsonValue | ET.Element]]:
    """(image as it is named there, what is said about it); nothing from a file of another kind."""
    data, base = bounded(files, name, MOST_SET_BYTES), PurePosixPath(name).name
    if name.lower().endswith(".xml"):
        root = xml_text.parse(data, what=base)
        if cvat.recognises(root):
            yield from cvat.entries(root)
        return
    document = parse(data, what=base, most_values=MOST_SET_VALUES)
    if coco.recognises(document):
        yield from coco.split(document)
    elif solo.recognises(document):
        yield from solo.split(document)


def _image_of(named: str, document: str, by_base: Mapping[str, Sequence[str]]) -> str | None:
    """The image of the set that a document means: of those whose path ends so the one beside the document, or
    the only one, or the only one in a folder that shares most words with the document's name
    (`instances_train.json`, `train/0001.png`).
    """
    asked = PurePosixPath(named.replace("\\", "/"))
    same = by_base.get(asked.name, ())
    ending = [image for image in same if f"/{image}".endswith(f"/{asked.as_posix().lstrip('./')}")] or same
    beside = (PurePosixPath(document).parent / asked).as_posix()
    if beside in ending:
        return beside
    if len(ending) > 1:
        words = _words(PurePosixPath(document).with_suffix("").as_posix())
        shared = [len(_words(image.rpartition("/")[0]) & words) for image in ending]
        ending = [image for image, count in zip(ending, shared, strict=True) if count == max(shared)]
    return ending[0] if len(ending) == 1 else None


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
