"""Owns where the structure of an image is measured: boxes, each in one image of a set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.labels.labels import VOID, Labels


@dataclass(frozen=True, eq=False)
class Regions:
    """R boxes in the images of one set."""

    of: str
    """What they are: `boxes`, `instances`, `keypoints` or `whole images`."""
    boxes: NDArray[np.float32]
    """[R, 4]: x1, y1, x2, y2 in px; pixel (r, c) covers [c, c + 1) x [r, r + 1)."""
    images: NDArray[np.int64]
    """[R]: index of the image that each box lies in."""

    def __post_init__(self) -> None:
        assert self.boxes.shape == (len(self.images), 4), (self.boxes.shape, self.images.shape)

    def __len__(self) -> int:
        return len(self.images)


def whole_images(count: int, height: int, width: int) -> Regions:
    """One region for each of `count` images: all of it, where there are no labels."""
    box = np.array((0, 0, width, height), np.float32)
    return Regions("whole images", np.tile(box, (count, 1)), np.arange(count, dtype=np.int64))


def regions_of(labels: Labels, height: int, width: int) -> Regions:
    """Regions of labels with geometry: boxes, the boxes around instances (or classes) of a segmentation, the
    box around an image's keypoints; whole images for labels that have none.
    """
    if labels.kind == "boxes":
        present = np.isfinite(labels.values).all(axis=2)
        return Regions("boxes", labels.values[present], np.nonzero(present)[0].astype(np.int64))
    if labels.kind == "segmentation":
        return _around_instances(labels.values, nothing=(0, VOID) if labels.classes else (0,))
    if labels.kind == "keypoints":
        return _around_keypoints(labels.values, height, width)
    return whole_images(len(labels), height, width)


def _around_instances(maps: NDArray[np.int32], nothing: tuple[int, ...]) -> Regions:
    boxes, images = [], []
    for image, numbers in enumerate(maps):
        for number in np.setdiff1d(numbers, nothing):
            rows, columns = np.nonzero(numbers == number)
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            images.append(image)
    return Regions("instances", np.array(boxes, np.float32).reshape(-1, 4), np.array(images, np.int64))


def _around_keypoints(points: NDArray[np.float32], height: int, width: int) -> Regions:
    """Cut at the image's edges and at least 1 px wide and high; none where no point lies in the image."""
    seen = np.isfinite(points).all(axis=2, keepdims=True)
    low = np.where(seen, points, np.inf).min(axis=1)
    high = np.where(seen, points, -np.inf).max(axis=1)
    limits = np.array((width, height), np.float32)
    inside = (low < limits).all(axis=1) & (high >= 0).all(axis=1)
    low = np.clip(np.floor(low[inside]), 0, limits - 1)
    high = np.clip(np.ceil(high[inside]), low + 1, limits)
    boxes = np.concatenate([low, high], axis=1).astype(np.float32)
    return Regions("keypoints", boxes, np.flatnonzero(inside).astype(np.int64))
