"""The noise field: numbers that depend only on the seed, the channel and the place in the image."""

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.card import NoiseSpec

_WORD: Final = 2**64
_GOLDEN: Final = 0x9E3779B97F4A7C15
_LEVELS: Final = 2**16
_PIXEL, _IMAGE, _SMOOTH = 1, 2, 3
_AT_ONCE_PIXELS: Final = 1 << 15
"""Drawn at once: of more, 64-bit words do not fit into the caches of a core."""
_SIDES: Final = 64
"""Of so many sides of images and tiles is kept what no seed changes."""
SMOOTH_PX: Final = 16
"""Between the random numbers of a smooth channel, which is interpolated: haze, shadows, uneven light."""


def noise_field(
    seed: int, height: int, width: int, spec: NoiseSpec, *, top: int = 0, left: int = 0
) -> NDArray[np.float32]:
    """Draw the noise of one image, or of the tile of it that begins at (`top`, `left`).

    Returns float32 [H, W, K] ~ N(0, 1): first the pixel channels, then the smooth ones, then the image
    channels (constant over the image). A value is a hash of (seed, channel, absolute y, absolute x), looked
    up in a table of normal quantiles: no random stream and no transcendental function, so a tile's field is
    the crop of the whole image's field bit for bit, on every machine. `seed` is taken modulo 2^64.
    """
    field: NDArray[np.float32] = noise_fields([seed], height, width, spec, top=top, left=left)[0]
    return field


def noise_fields(
    seeds: Sequence[int], height: int, width: int, spec: NoiseSpec, *, top: int = 0, left: int = 0
) -> NDArray[np.float32]:
    """Draw the noise of many images of one size, for each what `noise_field` gives: float32 [N, H, W, K].

    Of eight small images each takes less than half the time of a call of its own.
    """
    fields = np.empty((len(seeds), height, width, spec.channels), np.float32)
    at_once = max(1, _AT_ONCE_PIXELS // max(1, height * width))
    for start in range(0, len(seeds), at_once):
        part = slice(start, start + at_once)
        _fill(fields[part], [_mix(seed % _WORD) for seed in seeds[part]], spec, top, left)
    return fields


def _fill(fields: NDArray[np.float32], streams: list[int], spec: NoiseSpec, top: int, left: int) -> None:
    height, width = fields.shape[1:3]
    for index in range(spec.pixel_channels):
        fields[..., index] = _white(_keys(streams, _PIXEL, index), height, width, top, left)
    for index in range(spec.smooth_channels):
        smooth = _smooth(_keys(streams, _SMOOTH, index), height, width, top, left)
        fields[..., spec.pixel_channels + index] = smooth
    if spec.image_channels:
        looks = [
            [_mix(_key(stream, _IMAGE, index)) >> 48 for index in range(spec.image_channels)]
            for stream in streams
        ]
        first = spec.channels - spec.image_channels
        fields[..., first:] = _normal_quantiles().take(looks)[:, np.newaxis, np.newaxis]


def interpolation(size: int, start: int) -> NDArray[np.float32]:
    """What each of `size` pixels from `start` >= 0 on takes from the random numbers around it: [size, nodes].

    Node i lies at pixel (start // SMOOTH_PX + i) * SMOOTH_PX. The two weights of a pixel have squares that
    add up to 1, so that the variance is the same everywhere, and level out at the nodes, so that none shows.
    """
    node, first, second = _between_nodes(size, start)
    weights = np.zeros((size, int(node[-1]) + 2), np.float32)
    weights[np.arange(size), node] = first
    weights[np.arange(size), node + 1] = second
    return weights


@lru_cache(_SIDES)
def _between_nodes(
    size: int, start: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """For each pixel the node before it, and the weights of that and of the next one: all [size]."""
    pixel = np.arange(start, start + size)
    step = pixel % SMOOTH_PX
    found = (pixel // SMOOTH_PX - start // SMOOTH_PX, _falling()[step], _falling()[SMOOTH_PX - step])
    for kept in found:
        kept.flags.writeable = False
    return found


@cache
def _falling() -> NDArray[np.float32]:
    """cos(pi / 2 u) at u = 3 t^2 - 2 t^3, from 1 to 0 for t = 0, 1 / SMOOTH_PX, …, 1."""
    t = np.arange(SMOOTH_PX + 1) / SMOOTH_PX
    table = np.cos(np.pi / 2 * (3 * t**2 - 2 * t**3)).astype(np.float32)
    table[-1] = 0.0
    table.flags.writeable = False
    return table


def seed_for_image(seed: int, pixels: NDArray[np.integer[Any]]) -> int:
    """A 64-bit seed of an image's own, from grey levels of any shape: same seed and image, same noise.

    Where each of ten thousand images shall look as if taken in its own moment, and yet none may depend on its
    place in a data set or on its neighbours in a batch, its own pixels decide.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{seed % _WORD}/{pixels.shape}/{pixels.dtype.newbyteorder('<').str}".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return int.from_bytes(digest.digest(), "little")


def _key(stream: int, kind: int, index: int) -> int:
    """An own stream for every channel; `stream` is the mixed seed."""
    return _mix(stream + (kind << 32) + index)


def _keys(streams: list[int], kind: int, index: int) -> NDArray[np.uint64]:
    return np.array([_key(stream, kind, index) for stream in streams], np.uint64)


def _white(keys: NDArray[np.uint64], height: int, width: int, top: int, left: int) -> NDArray[np.float32]:
    """[N, H, W] of N keys."""
    rows = _mixed(_steps(height, top) + keys[:, np.newaxis])
    words = _mixed(rows[:, :, np.newaxis] + _steps(width, left))
    words >>= np.uint64(48)
    quantiles: NDArray[np.float32] = _normal_quantiles().take(words)
    return quantiles


@lru_cache(_SIDES)
def _steps(size: int, start: int) -> NDArray[np.uint64]:
    """How far the words of `size` rows or columns from `start` on are apart."""
    steps = np.arange(start, start + size, dtype=np.uint64) * np.uint64(_GOLDEN)
    steps.flags.writeable = False
    return steps


def _smooth(keys: NDArray[np.uint64], height: int, width: int, top: int, left: int) -> NDArray[np.float32]:
    """[N, H, W] of N keys; elementwise, not as matrix products, whose order differs between machines."""
    row, above, below = _between_nodes(height, top)
    column, before, behind = _between_nodes(width, left)
    nodes = _white(keys, int(row[-1]) + 2, int(column[-1]) + 2, top // SMOOTH_PX, left // SMOOTH_PX)
    rows = above[:, np.newaxis] * nodes.take(row, axis=1) + below[:, np.newaxis] * nodes.take(row + 1, axis=1)
    fields: NDArray[np.float32] = before * rows.take(column, axis=2)
    fields += behind * rows.take(column + 1, axis=2)
    return fields


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), in place: every bit depends on every bit."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _mix(word: int) -> int:
    """The same for one word, by Python's integers, which are faster than an array of one."""
    word = (word + _GOLDEN) % _WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % _WORD
    return word ^ word >> 31


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """The 65536 mid-quantiles of N(0, 1), from about -4.3 to 4.3; their variance is 0.99997."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((_LEVELS / 2 + rank + 0.5) / _LEVELS) for rank in range(_LEVELS // 2)])
    table = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    table.flags.writeable = False
    return table
