"""Which annotations belong to which image of a set: files beside it, in a folder like its own, or of all.

Looked for in this order, the first that holds shapes counts: a JSON file of the image's name; a VOC file; a
YOLO or KITTI file; what documents say that name their images: COCO's, CVAT's, SOLO's, LabelMe's, plain ones.
Files are only ever read. Images that JSON documents name as labels are told from pictures.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import yaml

from app.annotations import coco, cvat, labelme, plain, solo, xml_text
from app.annotations.json_text import JsonValue, parse
from app.annotations.yolo import YoloClasses
from app.datasets.annotation_source import (
    MOST_TEXT_BYTES,
    Files,
    FirstOf,
    JsonBeside,
    PartOfSet,
    Source,
    TextFile,
    VocFile,
    bounded,
)
from app.datasets.label_references import is_picture, label_references, mentions_other_pictures
from app.datasets.picture_names import PictureNames
from app.datasets.shadows import is_shadow
from app.errors import SimtrueError

MOST_SET_BYTES = 1 << 30
"""Of a document about a whole set."""
MOST_SET_VALUES = 50_000_000
YOLO_SETTINGS = frozenset({"data.yaml", "data.yml", "dataset.yaml", "dataset.yml"})
YOLO_NAMES = frozenset({"classes.txt", "obj.names", "labels.txt"})
_TWIN_FOLDERS = {
    "images": ("labels", "annotations", "Annotations"),
    "jpegimages": ("Annotations",),
    "image_2": ("label_2",),
    "image_3": ("label_3",),
}
"""Folders of images, and their twins of label files; VOC's, YOLO's and KITTI's."""
_LABEL_FOLDER = re.compile(
    rf"(?<![^/])(?:{'|'.join({twin for twins in _TWIN_FOLDERS.values() for twin in twins})})/", re.IGNORECASE
)
MOST_NAMED = 200
"""Characters of a name that a sentence shows."""
_NUMBER = re.compile(r"[0-9]+")


@dataclass
class AnnotationIndex:
    """The annotations of a set, by the path of the image below it."""

    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Sentences about files that could not be used, and images that are named and not there."""
    label_images: dict[str, str] = field(default_factory=dict)
    """Images that documents name as labels, and why each is one, as half a sentence: 'pan.json names it as a
    panoptic segmentation'. Numbers in names of documents about one image are *, so that few reasons differ.
    """

    def of(self, image: str) -> Source | None:
        """The annotations of an image, None where there are none."""
        return self.sources.get(image)


TEXT_SUFFIXES = frozenset({".json", ".xml", ".txt", ".yaml", ".yml", ".names"})
"""Of files that may hold annotations; nothing else is ever opened."""


def index_annotations(names: Collection[str], images: Sequence[str], files: Files) -> AnnotationIndex:
    """Find the annotations of `images`; both are paths below the set with `/`, `names` of all its files.

    Those of `images` that turn out to be label images have no annotations.
    """
    index = AnnotationIndex()
    texts = {name for name in names if _may_hold_annotations(PurePosixPath(name))}
    spelled = {alike: name for name in texts if (alike := _spelled_small(name)) != name}
    classes = _Classes(texts, files, index)
    beside = {image: list(_beside(PurePosixPath(image), texts, spelled)) for image in images}
    taken = {name for found in beside.values() for name in found}
    # All pictures, also those that nobody wants refined: a label in a folder of its own often has the name of
    # the picture that it is about.
    pictures = PictureNames([*images, *filter(is_picture, names)])
    for name in sorted(taken):
        _note_labels_beside(name, files, pictures, index)
    of_set = _parts_of_set(sorted(filter(_is_document, texts - taken)), images, pictures, files, index)
    for image in images:
        if image in index.label_images:
            continue
        found = [_source(name, classes) for name in beside[image]]
        sources = (*found, of_set[image]) if image in of_set else tuple(found)
        if sources:
            index.sources[image] = sources[0] if len(sources) == 1 else FirstOf(sources)
    return index


def _may_hold_annotations(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TEXT_SUFFIXES and not is_shadow(path)


def _beside(image: PurePosixPath, names: Collection[str], spelled: Mapping[str, str]) -> Iterator[str]:
    """The label files of the image's name: beside it, or in the twin of its folder; one of each kind.

    spelled: names with capitals in the suffix or the twin, by `_spelled_small`.
    """
    for suffix in (".json", ".xml", ".txt"):
        there = _there(image, suffix, names, spelled)
        name = next((name for name in there if name.rpartition("/")[2] not in YOLO_NAMES), None)
        if name is not None:
            yield name


def _there(
    image: PurePosixPath, suffix: str, names: Collection[str], spelled: Mapping[str, str]
) -> Iterator[str]:
    yield from (name for name in _candidates(image, suffix) if name in names)
    if spelled:
        small = map(_spelled_small, _candidates(image, suffix))
        yield from (spelled[name] for name in small if name in spelled)


def _spelled_small(name: str) -> str:
    """The name without capitals in its suffix and in folders of labels; those in other places tell apart."""
    if name.islower():
        return name
    stem, dot, suffix = name.rpartition(".")
    small = stem + dot + suffix.lower()
    return _LABEL_FOLDER.sub(lambda folder: folder.group().lower(), small)


def _source(name: str, classes: _Classes) -> Source:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".json":
        return JsonBeside(name)
    return VocFile(name) if suffix == ".xml" else TextFile(name, classes.nearest(name))


def _candidates(image: PurePosixPath, suffix: str) -> Iterator[str]:
    yield image.with_suffix(suffix).as_posix()
    for place, folder in enumerate(image.parent.parts):
        for twin in _TWIN_FOLDERS.get(folder.lower(), ()):
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
    text = data.decode("utf-8-sig")
    if base in YOLO_NAMES:
        return YoloClasses(tuple(line.strip()[:200] for line in text.splitlines() if line.strip()))
    settings = yaml.safe_load(text)
    if not isinstance(settings, dict) or "names" not in settings:
        return None
    names: object = settings["names"]
    shape: object = settings.get("kpt_shape")
    if isinstance(names, dict):
        names = _in_order(names)
    if not isinstance(names, list):
        return None
    # Text and numbers only: what nested aliases of YAML unfold to has no end.
    named = (str(name)[:200] if isinstance(name, str | int | float) else "" for name in names)
    return YoloClasses(tuple(named), _pose(shape))


def _in_order(names: dict[object, object]) -> list[object]:
    """The names of a map from numbers, which may be text; where a number has none, the number."""
    by_number = {int(str(key)): name for key, name in names.items() if str(key).isdecimal()}
    most = max((number for number in by_number if number < 100_000), default=-1)
    return [by_number.get(number, number) for number in range(most + 1)]


def _pose(shape: object) -> tuple[int, int] | None:
    """`kpt_shape`: keypoints, and numbers of each."""
    if not isinstance(shape, list) or len(shape) != 2:
        return None
    count, numbers = shape
    fits = isinstance(count, int) and count > 0 and numbers in (2, 3)
    return (count, int(numbers)) if fits else None


def _is_document(name: str) -> bool:
    return name.lower().endswith((".json", ".xml"))


def _note_labels_beside(name: str, files: Files, pictures: PictureNames, index: AnnotationIndex) -> None:
    """The label images that a document about one image names; what cannot be read is told when it is read."""
    if not name.lower().endswith(".json"):
        return
    try:
        data = bounded(files, name, MOST_TEXT_BYTES)
        if mentions_other_pictures(data, PurePosixPath(name).stem):
            _note_labels(name, parse(data, of_python=True), pictures, index, of_one=True)
    except (SimtrueError, OSError):
        return


def _note_labels(
    name: str,
    document: JsonValue,
    pictures: PictureNames,
    index: AnnotationIndex,
    *,
    of_one: bool,
    about: Collection[str] = (),
) -> None:
    """Note the images that a document names as labels. of_one: it is one of many alike, and numbers in its
    name are * in the reason. about: what it names as pictures.
    """
    base = name.rpartition("/")[2]
    shown = _NUMBER.sub("*", base) if of_one else base
    unclear = 0
    for reference in label_references(document):
        same = pictures.alike(reference.name)
        image = pictures.meant(reference.name, name)
        if image is None:
            unclear += bool(same)
        elif len(same) > 1 or reference.name not in about:
            # The same text for all, so that a million of them take no more room than one.
            index.label_images.setdefault(image, sys.intern(f"{shown} names it as {reference.what}"))
    if unclear:
        index.problems.append(
            f"{name} names {unclear} label images of which the set has several; they are taken for pictures."
        )


def _parts_of_set(
    documents: Sequence[str],
    images: Sequence[str],
    pictures: PictureNames,
    files: Files,
    index: AnnotationIndex,
) -> dict[str, PartOfSet]:
    """For each image what the documents among these files say about it that name their images."""
    said: dict[str, list[_Part]] = {}
    for name in documents:
        try:
            said[name] = _split(name, bounded(files, name, MOST_SET_BYTES), pictures, index)
        except (SimtrueError, OSError) as error:
            detail = error.detail if isinstance(error, SimtrueError) else f"{error.strerror or error}."
            index.problems.append(f"{name} is not read as annotations: {detail}")
    wanted = PictureNames(image for image in images if image not in index.label_images)
    found: dict[str, list[tuple[str, JsonValue | ET.Element]]] = {}
    for name, parts in said.items():
        gone: list[str] = []
        unclear: list[str] = []
        for named, part in parts:
            if (meant := wanted.meant(named, name)) is not None:
                found.setdefault(meant, []).append((name, part))
            elif wanted.alike(named):
                unclear.append(named)
            elif not pictures.alike(named):  # else it is there, and stays as it is
                gone.append(named)
        index.problems += _unmatched(name, gone, unclear)
    return {
        image: PartOfSet(tuple(name for name, _ in parts), tuple(part for _, part in parts))
        for image, parts in found.items()
    }


def _unmatched(document: str, gone: Sequence[str], unclear: Sequence[str]) -> Iterator[str]:
    """Sentences about images that a document names, and that the set does not have or has several of."""
    if gone:
        yield f"{document} names {len(gone)} images that are not in the set, the first is {_quoted(gone[0])}."
    if unclear:
        yield (
            f"{document} names {len(unclear)} images of which the set has several, so that it is not clear "
            f"which is meant; the first is {_quoted(unclear[0])}."
        )


def _quoted(name: str) -> str:
    """A name from a document, which may be long and hold anything."""
    return repr(name[:MOST_NAMED])


_Part = tuple[str, JsonValue | ET.Element]
"""An image as it is named in a document, and what is said about it there."""


def _split(name: str, data: bytes, pictures: PictureNames, index: AnnotationIndex) -> list[_Part]:
    """What a document says about each image, nothing from a file of another kind; label images are noted."""
    base = PurePosixPath(name).name
    if name.lower().endswith(".xml"):
        root = xml_text.parse(data, what=base)
        if not cvat.recognises(root):
            return []
        if tracks := cvat.tracks(root):
            index.problems.append(
                f"{name} has {tracks} tracks of a video, which are not read; export it as CVAT for images."
            )
        return list(cvat.entries(root))
    document = parse(data, what="its contents", most_values=MOST_SET_VALUES, of_python=True)
    parts: list[_Part] = []
    if coco.recognises(document):
        parts += coco.split(document)
        if strays := coco.strays(document):
            index.problems.append(f"{name} has {strays} annotations of images that it does not list.")
    elif solo.recognises(document):
        parts += solo.split(document)
    elif labelme.recognises(document):
        parts += (part for part in labelme.split(document) if is_picture(part[0]))
    else:
        parts += (part for part in plain.split(document) if is_picture(part[0]))
    about = {named for named, _ in parts}
    of_one = solo.recognises(document) or labelme.recognises(document)
    _note_labels(name, document, pictures, index, of_one=of_one, about=about)
    return parts
