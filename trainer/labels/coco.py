"""Owns reading COCO .json labels: annotations by image, as boxes, masks, keypoints or one class an image."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.evaluation.results import LabelKind
from trainer.labels.index import MOST_NAMED, ImageIndex
from trainer.labels.labels import VOID
from trainer.labels.masks import polygon_mask, run_length_mask

MOST_OBJECTS_PER_IMAGE = 1000
MOST_CATEGORIES = VOID - 1
BACKGROUND = "background"
"""What category 0 is called where its pixels are those of nothing."""
Entry = dict[str, Any]
"""One object of the file, as JSON gives it: read only here."""


@dataclass(frozen=True, eq=False)
class Document:
    """The annotations of N images."""

    path: Path
    index: ImageIndex
    annotations: tuple[tuple[Entry, ...], ...]
    """Per image, in the order of the file."""
    categories: tuple[Entry, ...]

    def classes(self) -> NDArray[np.int64]:
        """int64 [N]: the category of an image's one annotation; DataError where it has none or several."""
        for place, entries in enumerate(self.annotations):
            if len(entries) != 1:
                raise DataError(
                    f"{self.path}: {self._name(place)} has {len(entries)} annotations; a classification "
                    "needs one an image"
                )
        return np.array([self._category(entries[0]) for entries in self.annotations], np.int64)

    def category_names(self) -> dict[int, str]:
        """What the categories are called."""
        return {int(entry["id"]): str(entry.get("name", entry["id"])) for entry in self.categories}

    def box_names(self) -> dict[int, str]:
        """What the categories are called that boxes of these images belong to."""
        entries = (entry for entries in self.annotations for entry in entries if not entry.get("iscrowd"))
        used = {number for entry in entries if type(number := entry.get("category_id")) is int}
        names = self.category_names()
        return {number: names.get(number, str(number)) for number in sorted(used)}

    def boxes(self) -> NDArray[np.float32]:
        """float32 [N, K, 4], NaN where an image has fewer than K; crowds are passed over."""
        found = [
            [self._box(entry, place) for entry in entries if not entry.get("iscrowd")]
            for place, entries in enumerate(self.annotations)
        ]
        boxes = np.full((len(found), max(1, *map(len, found), 1), 4), np.nan, np.float32)
        for place, corners in enumerate(found):
            boxes[place, : len(corners)] = np.reshape(corners, (-1, 4))
        return boxes

    def pixel_classes(self) -> dict[int, int]:
        """Class of a pixel by category: 1 to K in the order of the ids, 0 for one called background.

        Of categories that are listed or used, only used where those are too many; a category 0 that is listed
        and never used stands for no object. DataError for more than 254.
        """
        names = self.category_names()
        used = {self._category(entry) for entries in self.annotations for entry in entries}
        known = used | {number for number in names if number > 0}
        known = used if len(known) > MOST_CATEGORIES else known
        background = {0} & known if names.get(0, "").lower() == BACKGROUND else set()
        if len(known - background) > MOST_CATEGORIES:
            raise DataError(
                f"{self.path}: its annotations are of {len(known)} categories; masks have at most "
                f"{MOST_CATEGORIES} classes"
            )
        classes = {number: place for place, number in enumerate(sorted(known - background), 1)}
        return classes | dict.fromkeys(background, 0)

    def masks(self, classes: Mapping[int, int] | None) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """(index of the image, int32 [height, width]): instances numbered from 1, or `classes` by category.

        DataError for a category that is not among those.
        """
        for place, entries in enumerate(self.annotations):
            height, width = (int(side) for side in self.index.sizes[place])
            labels = np.zeros((height, width), np.int32)
            for number, entry in enumerate(entries, 1):
                mask = self._mask(entry, place, height, width)
                labels[mask] = number if classes is None else self._class(entry, classes)
            yield place, labels

    def keypoints(self) -> NDArray[np.float32]:
        """float32 [N, K, 2] of one annotation an image; NaN for points of visibility 0 and images without.

        Crowds are passed over.
        """
        found = [[entry for entry in entries if not entry.get("iscrowd")] for entries in self.annotations]
        counts = {len(entry.get("keypoints", ())) for entries in found for entry in entries}
        if len(counts) != 1 or (count := counts.pop()) == 0 or count % 3:
            raise DataError(f"{self.path}: its annotations do not all have the same number of keypoints")
        points = np.full((len(found), count // 3, 3), np.nan, np.float32)
        for place, entries in enumerate(found):
            if len(entries) > 1:
                raise DataError(
                    f"{self.path}: {self._name(place)} has {len(entries)} annotations; keypoints are learnt "
                    "from one an image"
                )
            for entry in entries:
                points[place] = self._numbers(entry["keypoints"], count, place).reshape(-1, 3)
        points[points[..., 2] == 0] = np.nan
        return points[..., :2]

    def keypoint_names(self) -> tuple[str, ...]:
        """What the category whose keypoints these are calls them; empty where it is silent, or not one."""
        used = {entry.get("category_id") for entries in self.annotations for entry in entries}
        lists = [entry.get("keypoints") for entry in self.categories if entry["id"] in used]
        names = {tuple(map(str, one)) for one in lists if isinstance(one, list)}
        return names.pop() if len(names) == 1 else ()

    def _category(self, entry: Entry) -> int:
        category = entry.get("category_id")
        if type(category) is not int or not 0 <= category < 1 << 31:
            raise DataError(f"{self.path}: an annotation has the category {str(category)[:40]}")
        return category

    def _class(self, entry: Entry, classes: Mapping[int, int]) -> int:
        category = self._category(entry)
        if category not in classes:
            name = self.category_names().get(category, "")[:MOST_NAMED]
            raise DataError(
                f"{self.path}: an annotation has the category {category}{name and f' ({name})'}, which the "
                "synthetic labels do not have"
            )
        return classes[category]

    def _box(self, entry: Entry, place: int) -> NDArray[np.float32]:
        if "bbox" not in entry:
            raise DataError(f"{self.path}: an annotation of {self._name(place)} has no bbox")
        x, y, width, height = self._numbers(entry["bbox"], 4, place)
        if width <= 0 or height <= 0:
            raise DataError(f"{self.path}: a box of {self._name(place)} is {width:g}x{height:g} px")
        return np.array((x, y, x + width, y + height), np.float32)

    def _mask(self, entry: Entry, place: int, height: int, width: int) -> NDArray[np.bool_]:
        segmentation = entry.get("segmentation") or {}
        try:
            if isinstance(segmentation, dict):
                mask = run_length_mask(segmentation.get("counts"), segmentation.get("size"))
            else:
                mask = polygon_mask(segmentation, height, width)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{self.path}: the segmentation of {self._name(place)} cannot be used: {error}"
            ) from error
        if mask.shape != (height, width):
            raise DataError(
                f"{self.path}: a mask of {self._name(place)} is {mask.shape[0]}x{mask.shape[1]} px, the "
                f"image {height}x{width}"
            )
        return mask

    def _numbers(self, values: object, count: int, place: int) -> NDArray[np.float64]:
        try:
            numbers = np.asarray(values, np.float64)
        except (ValueError, TypeError):
            numbers = np.empty(0)
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise DataError(f"{self.path}: an annotation of {self._name(place)} has no {count} numbers")
        return numbers

    def _name(self, place: int) -> str:
        assert self.index.names is not None
        return self.index.names[place]


def read_coco(path: Path, index: ImageIndex) -> Document:
    """Find every image of `index` in the file by its file_name; DataError when one is not listed."""
    document = _parsed(path)
    images, annotations = (_objects(path, document, part) for part in ("images", "annotations"))
    names = {_id(path, image): str(image.get("file_name")) for image in images}
    by_name = index.places(names.values())
    places = {number: by_name[name] for number, name in names.items() if name in by_name}
    found = np.zeros(len(index), np.bool_)
    found[list(places.values())] = True
    index.require_all(found, str(path), (name for name in names.values() if name not in by_name))
    for image in images:
        if (place := places.get(_id(path, image))) is not None:
            _require_size(path, image, index.sizes[place])
    grouped: list[list[Entry]] = [[] for _ in range(len(index))]
    for annotation in annotations:
        place = places.get(_id(path, annotation, "image_id"))
        if place is not None:
            grouped[place].append(annotation)
            if len(grouped[place]) > MOST_OBJECTS_PER_IMAGE:
                raise DataError(f"{path} has more than {MOST_OBJECTS_PER_IMAGE} annotations of one image")
    categories = _objects(path, document, "categories") if "categories" in document else []
    for category in categories:
        if type(category.get("id")) is not int:
            raise DataError(f"{path}: a category has no whole number as its id")
    return Document(path, index, tuple(map(tuple, grouped)), tuple(categories))


def _require_size(path: Path, image: Entry, size: NDArray[np.int64]) -> None:
    """DataError where a file lists an image of another size, lying on its side or not.

    Coordinates in that mean nothing in this one.
    """
    height, width, found = image.get("height"), image.get("width"), size.tolist()
    if not (isinstance(height, int | float) and isinstance(width, int | float) and height > 0 < width):
        return
    if [height, width] not in (found, found[::-1]):
        raise DataError(
            f"{path}: {str(image.get('file_name'))[:MOST_NAMED]} is {height:g}x{width:g} px there, the image "
            f"itself {found[0]}x{found[1]}: its labels would lie elsewhere"
        )


def labels_in_coco(path: Path) -> tuple[LabelKind, bool]:
    """The most that all annotations of a file say, and whether its masks hold classes.

    Masks where all have one, several categories being classes; else keypoints where all have some and no
    image has two of them; else boxes.
    """
    entries = _objects(path, _parsed(path), "annotations")
    entries = [entry for entry in entries if not entry.get("iscrowd")]
    if entries and all(entry.get("segmentation") for entry in entries):
        return "segmentation", len({str(entry.get("category_id")) for entry in entries}) > 1
    images = Counter(str(entry.get("image_id")) for entry in entries)
    alone = max(images.values(), default=0) == 1
    if alone and all(entry.get("keypoints") for entry in entries):
        return "keypoints", False
    return "boxes", False


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _objects(path: Path, document: object, part: str) -> list[Entry]:
    entries = document.get(part) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is no COCO file: it has no list of {part}")
    return entries


def _id(path: Path, entry: Entry, key: str = "id") -> int | str:
    value = entry.get(key)
    if not isinstance(value, int | str):
        raise DataError(f"{path} is no COCO file: an entry has no {key}")
    return value
