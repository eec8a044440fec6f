"""Owns how labels follow their images through resize and crop."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.sources import Reading


def fitted_size(size: tuple[int, int], reading: Reading) -> tuple[int, int]:
    """Height and width, px, of an image of `size` after it was read."""
    return reading.crop or reading.resize or size


def fit_points(
    points: NDArray[np.float32], sizes: NDArray[np.int64], reading: Reading
) -> NDArray[np.float32]:
    """Points [N, K, 2] (x, y) in images of `sizes` [N, 2] (height, width) → in the images as read.

    A point beside the image becomes NaN, as one that is cut off by the crop: nothing there shows it.
    """
    moved = (points * _scale(sizes, reading) - _corner(sizes, reading)).astype(np.float32)
    inside = ((moved >= 0) & (moved <= _limits(sizes, reading))).all(axis=2, keepdims=True)
    return np.where(inside, moved, np.float32(np.nan))


def fit_boxes(boxes: NDArray[np.float32], sizes: NDArray[np.int64], reading: Reading) -> NDArray[np.float32]:
    """Boxes [N, K, 4] likewise, cut at the image's edges; NaN where nothing is left."""
    corners = boxes.reshape(len(boxes), -1, 2)
    moved = corners * _scale(sizes, reading) - _corner(sizes, reading)
    cut = np.clip(moved, 0, _limits(sizes, reading)).astype(np.float32).reshape(boxes.shape)
    gone = ~(cut[..., 2:] > cut[..., :2]).all(axis=2, keepdims=True)
    return np.where(gone, np.float32(np.nan), cut)


def fit_map(labels: NDArray[Any], reading: Reading) -> NDArray[Any]:
    """A label image [H, W] likewise; each pixel takes the nearest label."""
    if reading.resize is not None and labels.shape != reading.resize:
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(np.int64)
            for new, old in zip(reading.resize, labels.shape, strict=True)
        )
        labels = labels[rows[:, None], columns]
    if reading.crop is None:
        return labels
    top, left = ((size - part) // 2 for size, part in zip(labels.shape, reading.crop, strict=True))
    return labels[top : top + reading.crop[0], left : left + reading.crop[1]]


def _limits(sizes: NDArray[np.int64], reading: Reading) -> NDArray[np.int64]:
    """[N, 1, 2]: width and height of the images as read."""
    fitted = np.array([fitted_size((int(h), int(w)), reading) for h, w in sizes], np.int64)
    return fitted[:, None, ::-1]


def _scale(sizes: NDArray[np.int64], reading: Reading) -> NDArray[np.float64]:
    """[N, 1, 2] in x and y."""
    resized = np.broadcast_to(reading.resize or sizes, sizes.shape)
    return (resized / sizes)[:, None, ::-1]


def _corner(sizes: NDArray[np.int64], reading: Reading) -> NDArray[np.int64]:
    """[N, 1, 2]: x and y of the crop's upper left corner in the resized image."""
    resized: NDArray[np.int64] = np.broadcast_to(reading.resize or sizes, sizes.shape)
    corner: NDArray[np.int64] = (resized - (reading.crop or resized)) // 2
    return corner[:, None, ::-1]
