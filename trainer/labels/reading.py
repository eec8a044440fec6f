"""Owns reading labels from outside: an .npz array, a .csv or a COCO .json becomes Labels of a source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.evaluation.results import LabelKind
from trainer.labels.coco import Document, read_coco
from trainer.labels.csv_table import read_csv
from trainer.labels.fitting import fit_boxes, fit_map, fit_points, fitted_size
from trainer.labels.index import ImageIndex
from trainer.labels.labels import VOID, Labels, labels_of
from trainer.labels.points import in_order, names_of_pairs
from trainer.npz import NpzArray
from trainer.sources import Reading

MOST_BYTES = 16 << 30


@dataclass(frozen=True)
class Meaning:
    """What the numbers in a file of labels stand for."""

    kind: LabelKind
    names: tuple[str, ...] = ()
    unit: str = ""
    leave_out: tuple[int, ...] = ()
    classes: bool = False
    categories: Mapping[int, int] | None = None
    """Masks of classes: the class of each category id that is known; None: the file's own."""


def read_labels(text: str, meaning: Meaning, index: ImageIndex, reading: Reading) -> Labels:
    """Labels of every image of `index`, in the pixels of the images as `reading` makes them.

    `text` is FILE.npz:ARRAY (in the order of the images), FILE.csv (by the column `file`; FILE.csv:COLUMN
    takes one column) or a COCO FILE.json (by file_name). DataError in one sentence for whatever does not fit.
    """
    path, key = _split(text)
    if path.suffix == ".npz":
        if key is None:
            raise DataError(f"the labels {text} name no array; write {text}:ARRAY")
        return _from_array(read_array(path, key), text, meaning, index, reading)
    if path.suffix == ".json":
        return _from_json(path, meaning, index, reading)
    if path.suffix == ".csv":
        return _from_csv(path, key, meaning, index, reading)
    raise DataError(f"the labels {text} are neither FILE.npz:ARRAY nor a .csv or .json file")


def read_array(path: Path, key: str) -> NDArray[Any]:
    """One array of numbers out of an .npz file; DataError when it is broken, missing or too large."""
    with NpzArray.open(path, key) as stored:
        if stored.dtype.kind not in "iufb":
            raise DataError(f"{path}:{key} holds {stored.dtype}; labels are numbers")
        if 0 in stored.shape or not stored.shape:
            raise DataError(f"{path}:{key} has the shape {stored.shape}: it holds no labels")
        if int(np.prod(stored.shape)) * stored.dtype.itemsize > MOST_BYTES:
            raise DataError(f"{path}:{key} has the shape {stored.shape}, more than {MOST_BYTES >> 30} GiB")
        array = np.empty(stored.shape, stored.dtype)
        for start, rows in stored.blocks():
            array[start : start + len(rows)] = rows
    return array


def _split(text: str) -> tuple[Path, str | None]:
    """The file and, after a colon, the array or column."""
    path, key = Path(text), None
    if not path.is_file():
        for suffix in (".npz", ".csv"):
            if f"{suffix}:" in text:
                file, _, key = text.rpartition(":")
                path = Path(file)
    if not path.is_file():
        raise DataError(f"the labels {path} do not exist")
    return path, key


def _from_array(
    array: NDArray[Any], name: str, meaning: Meaning, index: ImageIndex, reading: Reading
) -> Labels:
    if len(array) != len(index):
        raise DataError(f"{name} has labels of {len(array)} images, {index.source} holds {len(index)}")
    labels = labels_of(
        meaning.kind,
        array,
        name,
        names=meaning.names,
        unit=meaning.unit,
        leave_out=meaning.leave_out,
        classes=meaning.classes,
    )
    if meaning.categories is not None and labels.classes:
        labels = replace(labels, values=_classes_by_category(labels.values, meaning.categories, name))
    return _fitted(labels, name, index, reading)


def _classes_by_category(
    values: NDArray[np.int32], categories: Mapping[int, int], name: str
) -> NDArray[np.int32]:
    """Masks that hold category ids, 0 background and 255 none → their classes."""
    odd = [number for number in (0, VOID) if categories.get(number)]
    if odd:
        raise DataError(
            f"{name}: masks in an array cannot hold the category {odd[0]} of the synthetic labels, for 0 is "
            f"background there and {VOID} none; write a COCO .json"
        )
    table = np.full(VOID + 1, -1, np.int32)
    table[[0, VOID]] = 0, VOID
    for number, one in categories.items():
        if number < VOID:
            table[number] = one
    classes = table[values]
    if (classes < 0).any():
        raise DataError(
            f"{name} holds the category {values[classes < 0][0]}, which the synthetic labels do not have"
        )
    return classes


def _fitted(labels: Labels, name: str, index: ImageIndex, reading: Reading) -> Labels:
    values = labels.values
    if labels.kind == "boxes":
        values = fit_boxes(values, index.sizes, reading)
    elif labels.kind == "keypoints":
        values = fit_points(values, index.sizes, reading)
    elif labels.kind == "segmentation":
        height, width = index.sizes[0]
        if values.shape[1:] != (height, width):
            raise DataError(
                f"{name} has masks of {values.shape[1]}x{values.shape[2]} px, the images of {index.source} "
                f"have {height}x{width}"
            )
        if reading.resize is not None or reading.crop is not None:
            values = np.stack([fit_map(label, reading) for label in values])
    return replace(labels, values=values)


def _from_json(path: Path, meaning: Meaning, index: ImageIndex, reading: Reading) -> Labels:
    if meaning.kind == "regression":
        raise DataError(f"{path} holds no regression: a COCO file has none; write a .csv or .npz")
    document = read_coco(path, index)
    if meaning.kind == "classification":
        classes = document.classes()
        labels = labels_of("classification", classes, str(path), leave_out=meaning.leave_out)
        return replace(labels, class_names=document.category_names())
    if meaning.kind == "segmentation":
        return _masks(document, meaning, reading)
    if meaning.kind == "keypoints":
        points, named = _named(document.keypoints(), document.keypoint_names(), meaning)
        return _from_array(points, str(path), named, index, reading)
    labels = _from_array(document.boxes(), str(path), meaning, index, reading)
    return replace(labels, class_names=document.box_names())


def _named(points: NDArray[Any], names: tuple[str, ...], meaning: Meaning) -> tuple[NDArray[Any], Meaning]:
    """Keypoints that a file calls by `names`, if any, in the order of the meaning's, and their meaning."""
    known = names if len(names) == points.shape[1] else ()
    return in_order(points, known, meaning.names), replace(meaning, names=meaning.names or known)


def _masks(document: Document, meaning: Meaning, reading: Reading) -> Labels:
    path, index, categories = document.path, document.index, None
    if meaning.classes:
        categories = document.pixel_classes() if meaning.categories is None else meaning.categories
    height, width = fitted_size((int(index.sizes[0, 0]), int(index.sizes[0, 1])), reading)
    masks = np.zeros((len(index), height, width), np.int32)
    for place, mask in document.masks(categories):
        fitted = fit_map(mask, reading)
        if fitted.shape != (height, width):
            raise DataError(
                f"{path}: the masks of {index.source} differ in size; --resize or --crop makes them one"
            )
        masks[place] = fitted
    labels = labels_of("segmentation", masks, str(path), classes=meaning.classes)
    if categories is None:
        return labels
    names = document.category_names()
    called = {one: names.get(number, str(number)) for number, one in categories.items()}
    return replace(labels, class_names=called, categories=categories)


def _from_csv(
    path: Path, column: str | None, meaning: Meaning, index: ImageIndex, reading: Reading
) -> Labels:
    if meaning.kind == "segmentation":
        raise DataError(f"{path} holds no masks; write a COCO .json or .npz:ARRAY")
    table = read_csv(path, index, column, several=meaning.kind == "boxes")
    match meaning.kind:
        case "classification":
            if len(table.names) != 1:
                raise DataError(f"{path} has the columns {', '.join(table.names)}; write {path}:COLUMN")
            array = table.values[:, 0, 0]
        case "boxes":
            array = table.columns(("x1", "y1", "x2", "y2"))
        case "keypoints":
            names = names_of_pairs(path, table.names)
            points = table.values[:, 0].reshape(len(index), -1, 2)
            points, named = _named(points, names, meaning)
            return _from_array(points, str(path), named, index, reading)
        case _:
            array = (table.columns(meaning.names) if meaning.names and column is None else table.values)[:, 0]
    named = Meaning(
        meaning.kind,
        meaning.names or (table.names if meaning.kind == "regression" else ()),
        meaning.unit,
        meaning.leave_out,
    )
    return _from_array(array, str(path), named, index, reading)
