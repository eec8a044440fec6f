"""Owns which images two sets have in common, pixel by pixel."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from trainer.sources import Images


def shared(one: Images, other: Images) -> NDArray[np.int64]:
    """Rows of `one` [N, H, W, C] that `other` holds, too, with the same grey levels.

    Images of a single grey level do not count: those are alike by chance. Of `other`, which may be a file
    larger than memory, only a row of pixels is read of an image in which that is unlike all of `one`.
    """
    if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
        return np.empty(0, np.int64)
    middles = {_middle(image) for image in one}
    known = {_digest(image) for image in other if _middle(image) in middles}
    rows = [row for row, image in enumerate(one) if _digest(image) in known and image.min() < image.max()]
    return np.array(rows, np.int64)


def _middle(image: Images) -> bytes:
    return bytes(image[len(image) // 2].tobytes())


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
