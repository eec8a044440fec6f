"""Owns which images of two sets are compared: as many of each, and no larger than the measures need."""

import numpy as np
from numpy.typing import NDArray

from trainer.sampling import stream_seed
from trainer.sources import Images

LARGEST_SIDE_PX = 128
"""Larger images are compared by one window of this side each, at a random place."""


def draw(images: Images, count: int) -> Images:
    """`count` different images [N, H, W, C] of a set in their order, always the same ones, as windows."""
    rng = np.random.default_rng(stream_seed(0, "realism/images"))
    return _windows(images, np.sort(rng.permutation(len(images))[:count]))


def halves(images: Images, count: int) -> tuple[Images, Images]:
    """Two sets of `count` images each that share none: of every two neighbours one goes to either side.

    Real images often come in groups (the frames of a film, the cells of a photograph). So both halves hold
    of every group equally much, and a judge that is tested on other groups than it learned from can find
    nothing. Which of two goes where is random: left and right eyes often take turns.
    """
    rng = np.random.default_rng(stream_seed(0, "realism/images", 1))
    pairs = np.sort(rng.permutation(len(images))[: 2 * count]).reshape(count, 2)
    pairs = rng.permuted(pairs, axis=1)
    return _windows(images, pairs[:, 0]), _windows(images, pairs[:, 1])


def _windows(images: Images, chosen: NDArray[np.int64]) -> Images:
    room = [max(size - LARGEST_SIDE_PX, 0) for size in images.shape[1:3]]
    if not any(room):
        return images[chosen]
    height, width = (min(size, LARGEST_SIDE_PX) for size in images.shape[1:3])
    rng = np.random.default_rng(stream_seed(0, "realism/images", 2))
    corners = rng.integers(0, np.array(room) + 1, size=(len(chosen), 2))
    places = zip(chosen, corners, strict=True)
    return np.stack([images[index, top : top + height, left : left + width] for index, (top, left) in places])
