"""What is left of structure where most of it was lost: small parts erased beside a strong outline count."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.preservation.grey import LEAST_EXPONENT, GreyImage

_AROUND_PX = 2.0
"""Standard deviation of the Gaussian that a place is looked at through, px at the measured scale."""
_CLOSEST_PX, _MOST_PLACES = 2, 32
"""Places lie 2 px apart, or farther where there would be more than this along a side."""
_LEVEL_TAKEN_OUT = 0.8
# Share of the local mean's energy that does not count: what an outline casts far around is no detail of the
# place. Taking out all of it would leave the texture inside things, which may change.
_PLAIN_LEVELS = 6.0
"""Local contrast (rms, grey levels of 255) below which a place had nothing that could be lost."""
_PLAIN_SHARE = 1 / 3
# Of the mean energy of the region: fainter places are its texture, and no part of its own.
_PASSED_OVER = 1  # of the places that lost most: a single one may be an accident


def least_kept(old: GreyImage, new: GreyImage, gain: float, floor_levels: float) -> float | None:
    """How much is left where most was lost, 0 to 1, of band-passed pictures [H, W] that lie on each other.

    gain: of the whole; new structure beyond it is not held against a place that kept its own. floor_levels:
    contrast that is just visible. None if no place stood out.
    """
    down, across = _windows(old.shape[0]), _windows(old.shape[1])
    height, width = old.shape
    products = np.empty((5, height, width), np.float32)
    products[0], products[1] = old, new
    np.multiply(old, products[:2], out=products[2:4])
    np.multiply(new, new, out=products[4])
    sums = down @ (products.reshape(-1, width) @ across.T).reshape(5, height, -1)
    sums[2:4] -= np.float32(_LEVEL_TAKEN_OUT) * sums[0] * sums[:2]
    sums[4] -= np.float32(_LEVEL_TAKEN_OUT) * sums[1] ** 2
    energy = float(products[2].mean())
    own, shared, there = sums[2:][:, sums[2] > max(_PLAIN_LEVELS**2, _PLAIN_SHARE * energy)]
    if own.size <= _PASSED_OVER:
        return None
    explained = np.minimum(there, np.float32(max(gain, 0.0) ** 2) * own)
    kept = shared / np.sqrt(own * (explained + np.float32(floor_levels**2)))
    return min(max(float(np.partition(kept, _PASSED_OVER)[_PASSED_OVER]), 0.0), 1.0)


@lru_cache(maxsize=128)
def _windows(size: int) -> NDArray[np.float32]:
    """float32 [places, size]: row i weighs the samples around place i."""
    apart = max(_CLOSEST_PX, -(-size // _MOST_PLACES))
    away = (np.arange(0, size, apart)[:, None] - np.arange(size)) / _AROUND_PX
    weights = np.exp(np.maximum(-0.5 * away**2, LEAST_EXPONENT))
    normalised: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised
