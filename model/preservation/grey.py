"""Pictures as the grey levels that drift is measured in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GreyImage = NDArray[np.float32]

LEAST_EXPONENT = np.float32(-41.5)
"""Exponents of Gaussian weights are no smaller: in float32 such a weight changes no sum, and the products of
still smaller ones are subnormal numbers, which many processors multiply far more slowly.
"""

_RGB = 3
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601


def grey_pair(before: NDArray[Any], after: NDArray[Any]) -> tuple[GreyImage, GreyImage]:
    """Both pictures, uint8 or uint16 [H, W, C], as float32 [H, W] on one scale of 0..255.

    16-bit pictures (depth maps often fill a small part of their range) are stretched so that the range of
    `before`, of all its colours together, becomes 0..255; `after` is stretched alike.
    """
    grey_before, grey_after = _grey(before), _grey(after)
    if before.dtype == np.uint8:
        return grey_before, grey_after
    low, scale = stretch_of(before)
    return (grey_before - low) * scale, (grey_after - low) * scale


def stretch_of(before: NDArray[Any]) -> tuple[np.float32, np.float32]:
    """What is taken away from levels, and what they are multiplied with, for the scale of `grey_pair`."""
    if before.dtype == np.uint8:
        return np.float32(0.0), np.float32(1.0)
    shown = before[:, :, : 1 if before.shape[2] < _RGB else _RGB]
    low = np.float32(shown.min())
    return low, np.float32(255.0) / max(np.float32(shown.max()) - low, np.float32(1.0))


def _grey(pixels: NDArray[Any]) -> GreyImage:
    """The luma of colours; of one or two channels (grey and alpha) the first."""
    if pixels.shape[2] < _RGB:
        return pixels[:, :, 0].astype(np.float32)
    luma: GreyImage = pixels[:, :, :_RGB].astype(np.float32) @ _LUMA
    return luma
