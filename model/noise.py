"""The noise field: numbers that depend only on the seed, the channel and the place in the image."""

import hashlib
from functools import cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.card import NoiseSpec

_WORD: Final = 2**64
_GOLDEN: Final = 0x9E3779B97F4A7C15
_LEVELS: Final = 2**16
_PIXEL, _IMAGE = 1, 2


def noise_field(
    seed: int, height: int, width: int, spec: NoiseSpec, *, top: int = 0, left: int = 0
) -> NDArray[np.float32]:
    """Draw the noise of one image, or of the tile of it that begins at (`top`, `left`).

    Returns float32 [H, W, K] ~ N(0, 1): first the pixel channels, then the image channels (constant over the
    image). A value is a hash of (seed, channel, absolute y, absolute x), looked up in a table of normal
    quantiles: no random stream and no transcendental function, so a tile's field is the crop of the whole
    image's field bit for bit, on every machine. `seed` is taken modulo 2^64.
    """
    field = np.empty((height, width, spec.channels), dtype=np.float32)
    for index in range(spec.pixel_channels):
        field[:, :, index] = _white(_key(seed, _PIXEL, index), height, width, top, left)
    for index in range(spec.image_channels):
        bits = np.uint64(_mix(_key(seed, _IMAGE, index)) >> 48)
        field[:, :, spec.pixel_channels + index] = _normal_quantiles()[bits]
    return field


def seed_for_image(seed: int, pixels: NDArray[np.integer[Any]]) -> int:
    """A 64-bit seed of an image's own, from grey levels of any shape: same seed and image, same noise.

    Where each of ten thousand images shall look as if taken in its own moment, and yet none may depend on its
    place in a data set or on its neighbours in a batch, its own pixels decide.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{seed % _WORD}/{pixels.shape}/{pixels.dtype.newbyteorder('<').str}".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return int.from_bytes(digest.digest(), "little")


def _key(seed: int, kind: int, index: int) -> int:
    """An own stream for every seed and channel."""
    return _mix(_mix(seed % _WORD) + (kind << 32) + index)


def _white(key: int, height: int, width: int, top: int, left: int) -> NDArray[np.float32]:
    rows = _mixed(np.arange(top, top + height, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(key))
    columns = np.arange(left, left + width, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _mixed(rows[:, None] + columns[None, :]) >> np.uint64(48)
    quantiles: NDArray[np.float32] = _normal_quantiles()[bits]
    return quantiles


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), in place: every bit depends on every bit."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _mix(word: int) -> int:
    return int(_mixed(np.array([(word + _GOLDEN) % _WORD], dtype=np.uint64))[0])


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """The 65536 mid-quantiles of N(0, 1), from about -4.3 to 4.3; their variance is 0.99997."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((_LEVELS / 2 + rank + 0.5) / _LEVELS) for rank in range(_LEVELS // 2)])
    table = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    table.flags.writeable = False
    return table
