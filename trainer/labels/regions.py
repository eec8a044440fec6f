"""Owns where the structure of an image is measured: boxes, each in one image of a set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
