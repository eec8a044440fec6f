"""Owns Labels: what is known about every image of one set, in one array per kind, checked once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.evaluation.results import LabelKind

MOST_CLASSES = 1000
MOST_PIXEL_CLASSES = 255
NONE = -1
"""The class of an image that has none."""
VOID = 255
"""Where masks hold classes: a pixel that belongs to none, as in PASCAL VOC; neither trained nor tested on."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of N images of one set, in the pixels of those images.

    Coordinates are px with (0, 0) at the upper left corner of the image; pixel (r, c) covers
    [c, c + 1) x [r, r + 1).
    """

    kind: LabelKind
    values: NDArray[Any]
    """classification: int64 [N], -1 for none. segmentation: int32 [N, H, W], 0 is background
    (and of classes, 255 is none at all). boxes:
    float32 [N, K, 4], x1, y1, x2, y2, NaN for none. keypoints: float32 [N, K, 2], x, y, NaN for none.
    regression: float32 [N, D]."""
    names: tuple[str, ...] = ()
    """Of the D columns of a regression, or of K keypoints; may be empty."""
    unit: str = ""
    """Of a regression, e.g. `deg`."""
    leave_out: tuple[int, ...] = ()
    """Classes that are no answer: images of them are neither trained nor tested on."""
    classes: bool = False
    """Segmentation: values are classes; else they number instances, all of one class."""
    class_names: dict[int, str] = field(default_factory=dict)
    """What classes are called, where the file says it. Boxes: the categories in the file, which are all one
    here."""
    categories: Mapping[int, int] | None = None
    """Masks of classes from a COCO file: the class of each category id."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def answers(self) -> NDArray[np.bool_]:
        """bool [N]: the images that have a label to train or test on."""
        if self.kind == "classification":
            known: NDArray[np.bool_] = (self.values != NONE) & ~np.isin(self.values, self.leave_out)
            return known
        if self.kind == "keypoints":
            seen: NDArray[np.bool_] = np.any(np.isfinite(self.values).all(axis=2), axis=1)
            return seen
        return np.ones(len(self), np.bool_)

    @property
    def showing(self) -> NDArray[np.bool_]:
        """bool [N]: those of `answers` that show something: a box, a pixel that is no background."""
        if self.kind == "boxes":
            boxes: NDArray[np.bool_] = np.any(np.isfinite(self.values).all(axis=2), axis=1)
            return boxes
        if self.kind == "segmentation":
            nothing = (0, VOID) if self.classes else (0,)
            pixels: NDArray[np.bool_] = np.any(~np.isin(self.values, nothing), axis=(1, 2))
            return pixels
        return self.answers

    def of(self, images: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> "Labels":
        """The labels of some images, by index or mask, in that order."""
        return replace(self, values=self.values[images])


def labels_of(
    kind: LabelKind,
    array: NDArray[Any],
    name: str,
    *,
    names: tuple[str, ...] = (),
    unit: str = "",
    leave_out: tuple[int, ...] = (),
    classes: bool = False,
) -> Labels:
    """Check an array of labels and bring it to the shape and type of its kind.

    Accepts classification integers [N]; segmentation integers [N, H, W]; boxes [N, 4] or [N, K, 4] (negative
    corners or NaN: no box); keypoints [N, K, 2]; regression [N] or [N, D]. DataError names `name` and what
    is wrong.
    """
    if array.dtype.kind not in "iufb":
        raise DataError(f"{name} holds {array.dtype}; labels are numbers")
    values: NDArray[Any] = _CHECKS[kind](array, name)
    if kind == "segmentation" and classes and values.max(initial=0) > MOST_PIXEL_CLASSES:
        raise DataError(f"{name} holds class {values.max()}; masks have at most {MOST_PIXEL_CLASSES} classes")
    count = {"regression": 1, "keypoints": 1}.get(kind)
    if names and count is not None and len(names) != values.shape[1]:
        raise DataError(f"{name} has {values.shape[1]} columns, but there are {len(names)} names")
    return Labels(kind, values, names, unit, leave_out, classes)


def _classification(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    if array.ndim != 1:
        raise DataError(f"{name} has the shape {array.shape}; classes are [N]")
    values = _whole(array, name)
    if len(np.unique(values)) > MOST_CLASSES:
        raise DataError(f"{name} has more than {MOST_CLASSES} classes; is it a regression?")
    return np.where(values < 0, NONE, values)


def _segmentation(array: NDArray[Any], name: str) -> NDArray[np.int32]:
    if array.ndim != 3:
        raise DataError(f"{name} has the shape {array.shape}; masks are [N, H, W]")
    values = _whole(array, name)
    if values.min(initial=0) < 0:
        raise DataError(f"{name} holds {values.min()}; masks hold 0 for background and numbers above it")
    return values.astype(np.int32)


def _boxes(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim not in (2, 3) or array.shape[-1] != 4:
        raise DataError(f"{name} has the shape {array.shape}; boxes are [N, 4] or [N, K, 4]")
    values = array.astype(np.float32).reshape(len(array), -1, 4)
    sizes = values[..., 2:] - values[..., :2]
    # A corner just outside is cut off by the image's edge later; -1 in all four places means no box.
    missing = ~np.all(np.isfinite(values), axis=2) | np.any(values[..., 2:] <= 0, axis=2)
    flat: NDArray[np.bool_] = ~missing & ~np.all(sizes > 0, axis=2)
    if flat.any():
        image, box = np.argwhere(flat)[0]
        raise DataError(f"{name}: box {box} of image {image} is {values[image, box].tolist()}: empty")
    return np.where(missing[..., None], np.float32(np.nan), values)


def _keypoints(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim != 3 or array.shape[1] == 0 or array.shape[2] != 2:
        raise DataError(f"{name} has the shape {array.shape}; keypoints are [N, K, 2]")
    values = array.astype(np.float32)
    missing = ~np.isfinite(values).all(axis=2, keepdims=True)
    return np.where(missing, np.float32(np.nan), values)


def _regression(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise DataError(f"{name} has the shape {array.shape}; a regression is [N] or [N, D]")
    values = array.astype(np.float32).reshape(len(array), -1)
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds values that are not finite, the first in row {_first_odd(values)}")
    return values


def _first_odd(values: NDArray[np.float32]) -> int:
    return int(np.argmax(~np.isfinite(values).all(axis=1)))


def _whole(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    whole = array.astype(np.int64) if array.dtype.kind in "iub" or np.isfinite(array).all() else None
    if whole is None or (array.dtype.kind == "f" and not np.array_equal(whole, array)):
        raise DataError(f"{name} holds {array.dtype} values that are not whole numbers")
    return whole


_CHECKS: dict[LabelKind, Callable[[NDArray[Any], str], NDArray[Any]]] = {
    "classification": _classification,
    "segmentation": _segmentation,
    "boxes": _boxes,
    "keypoints": _keypoints,
    "regression": _regression,
}
