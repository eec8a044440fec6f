"""Drift between two pictures as they are: in lightness, and in colour where lightness shows nothing.

A red thing on green of equal lightness has no structure in grey levels. There the chroma is measured that
differs most within the region before, against that mixture of red, green and blue after which follows it
best: another light or camera may change its colour, as long as it is still told from what is around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preservation.drift import (
    LARGEST_SIDE_PX,
    MIN_STRUCTURE_LEVELS,
    SEARCH_PX,
    Box,
    Drift,
    Region,
    grown,
    measure,
)
from model.preservation.grey import GreyImage, grey_pair, stretch_of

_AROUND_PX = 16
"""What is cut out around a region, per whole multiple of the side above which regions are averaged down."""
_STEADYING_LEVELS = 1.0
"""Differences this small (rms) between red, green and blue are taken for noise when they are mixed."""
_LESS_VISIBLE = np.float32(0.5)
"""A difference of colour is seen half as well as one of lightness, and grain of cameras is coloured."""
_RGB = 3


def measure_pictures(before: NDArray[Any], after: NDArray[Any], regions: Sequence[Region]) -> list[Drift]:
    """The drift under each region between two pictures, uint8 or uint16 [H, W, C].

    C is 1 or 2 (grey and alpha), 3 or 4 (RGB and alpha). Otherwise as `drift.measure`.
    """
    found = measure(*grey_pair(before, after), regions)
    if before.shape[2] < _RGB:
        return found
    return [one if one.measured else _in_colour(before, after, regions[one.index], one) for one in found]


def _in_colour(before: NDArray[Any], after: NDArray[Any], region: Region, unmeasured: Drift) -> Drift:
    top, left, bottom, right = _around(before.shape, region)
    box = Box(region.x1 - left, region.y1 - top, region.x2 - left, region.y2 - top)
    rows, columns = slice(*grown(box.y1, box.y2, bottom - top)), slice(*grown(box.x1, box.x2, right - left))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return unmeasured
    low, scale = stretch_of(before)
    old: GreyImage = (before[top:bottom, left:right, :_RGB].astype(np.float32) - low) * scale
    new: GreyImage = (after[top:bottom, left:right, :_RGB].astype(np.float32) - low) * scale
    mixture = _most_different(old[rows, columns])
    if mixture is None:
        return unmeasured
    reference: GreyImage = old @ mixture
    following: GreyImage = new @ _following(new[rows, columns], reference[rows, columns])
    (found,) = measure(_LESS_VISIBLE * reference, _LESS_VISIBLE * following, [box])
    return replace(found, index=unmeasured.index)


def _around(shape: tuple[int, ...], region: Region) -> tuple[int, int, int, int]:
    """Rows and columns of what the measurement of a region looks at: top, left, bottom, right."""
    side = max(region.x2 - region.x1, region.y2 - region.y1)
    spare = _AROUND_PX * math.ceil(max(side, 1.0) / (LARGEST_SIDE_PX - 2 * SEARCH_PX))
    top, left = (max(math.floor(low) - spare, 0) for low in (region.y1, region.x1))
    bottom, right = (
        max(min(math.ceil(high) + spare, size), low)
        for high, size, low in zip((region.y2, region.x2), shape, (top, left), strict=False)
    )
    return top, left, bottom, right


def _most_different(levels: GreyImage) -> NDArray[np.float32] | None:
    """The mixture of channels [3], weights adding up to 0 and of length 1, that differs most in a region.

    None where all of it has one chroma: what is seen from outside of the region is none of it.
    """
    chroma = levels.reshape(-1, _RGB) - levels.reshape(-1, _RGB).mean(axis=1, keepdims=True)
    variances, vectors = np.linalg.eigh(np.cov(chroma, rowvar=False, bias=True))
    if math.sqrt(max(float(variances[-1]), 0.0)) * _LESS_VISIBLE < MIN_STRUCTURE_LEVELS:
        return None
    mixture: NDArray[np.float32] = vectors[:, -1].astype(np.float32)
    return mixture


def _following(levels: GreyImage, reference: GreyImage) -> NDArray[np.float32]:
    """The mixture of channels [3] of length 1 that follows the reference best."""
    channels = levels.reshape(-1, _RGB) - levels.reshape(-1, _RGB).mean(axis=0)
    wanted = reference.ravel() - reference.mean()
    floor = _STEADYING_LEVELS**2 * len(channels)
    mixture = np.linalg.solve(channels.T @ channels + floor * np.eye(_RGB), channels.T @ wanted)
    length = float(np.linalg.norm(mixture))
    scaled: NDArray[np.float32] = (mixture / length if length > 0 else mixture).astype(np.float32)
    return scaled
