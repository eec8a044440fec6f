"""How much of the refinement is taken, and where: strength and locked pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidOptions
from app.refining.images import Pixels

_TABLE_PAYS_FROM = 1 << 17  # values; below, computing each is faster than the table of all 65 536 pairs
_BLOCK = 1 << 18  # values computed at once in float64, so that temporaries stay in the cache


def blend(
    original: Pixels, refined: Pixels, strength: float, locked: NDArray[np.bool_] | None = None
) -> Pixels:
    """original + strength x (refined - original), rounded half to even; the dtype and shape of `original`.

    original, refined: uint8 or uint16 [H, W, C]. strength: in [0, 1]; 0 gives the original and 1 the
    refined image bit for bit. locked: bool [H, W]; pixels where it is True are the original's, bit for bit.
    Returns a new array. Raises InvalidOptions for a strength outside [0, 1].
    """
    assert original.shape == refined.shape, (original.shape, refined.shape)
    assert original.dtype == refined.dtype, (original.dtype, refined.dtype)
    if not (math.isfinite(strength) and 0.0 <= strength <= 1.0):
        raise InvalidOptions(f"Strength is {strength}; it must lie between 0 and 1.")
    blended = _mix(original, refined, float(strength))
    if locked is not None:
        assert locked.shape == original.shape[:2], (locked.shape, original.shape)
        np.copyto(blended, original, where=locked[:, :, None])
    return blended


def _mix(original: Pixels, refined: Pixels, strength: float) -> Pixels:
    if strength in (0.0, 1.0):
        return np.array(refined if strength else original, order="C")
    if original.dtype == np.uint8 and original.size >= _TABLE_PAYS_FROM:
        return _mix_by_table(original, refined, strength)
    return _mix_by_blocks(original, refined, strength)


def _mix_by_table(original: NDArray[Any], refined: NDArray[Any], strength: float) -> NDArray[np.uint8]:
    """The same numbers as _mix_by_blocks, looked up: each of the 256 x 256 pairs is computed once."""
    levels = np.arange(256, dtype=np.uint8)
    pairs = np.meshgrid(levels, levels, indexing="ij")
    table = _mix_by_blocks(pairs[0], pairs[1], strength).ravel()
    index = original.astype(np.uint16)
    index <<= 8
    index |= refined
    return table[index]


def _mix_by_blocks(original: NDArray[Any], refined: NDArray[Any], strength: float) -> NDArray[Any]:
    blended = np.empty(original.shape, original.dtype)
    flat, before, after = blended.reshape(-1), original.reshape(-1), refined.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        mixed = after[block].astype(np.float64)
        mixed -= before[block]
        mixed *= strength
        mixed += before[block]
        flat[block] = np.rint(mixed, out=mixed)
    return blended
