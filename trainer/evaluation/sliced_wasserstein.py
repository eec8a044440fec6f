"""Owns the sliced Wasserstein distance of patches: how unlike the textures of two sets are."""

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.results import Estimate
from trainer.evaluation.usefulness.statistics import estimate
from trainer.sampling import stream_seed
from trainer.sources import Images

Levels = NDArray[np.float32]

PATCH_PX = 7
DIRECTIONS = 128
MOST_PATCHES = 32_768
"""Patches of each set and scale."""
MOST_PATCHES_PER_IMAGE = 32
SMALLEST_SIDE_PX = 16
MOST_SCALES = 4


def sliced_wasserstein(images: Images, real: Images) -> Estimate:
    """Mean over scales, in grey levels of 255; 0 for equal sets; a value per scale, the finest first.

    Grey levels [N, H, W, C], equally many of each. As in ProGAN (Karras et al. 2018, section 5): patches of
    7x7 px from every band of a pyramid, compared as the mean distance between their sorted projections onto
    random directions of length 1. Different: bands are differences to the blurred image without taking it
    down and up again, and levels are not standardised, so that a wrong exposure counts in the coarsest band.
    The interval is that of the choice of directions.
    """
    assert images.shape == real.shape, (images.shape, real.shape)
    rng = np.random.default_rng(stream_seed(0, "realism/directions"))
    by_scale = []
    for mine, yours in zip(_pyramid(images), _pyramid(real), strict=True):
        directions = rng.normal(size=(DIRECTIONS, PATCH_PX * PATCH_PX * images.shape[3])).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        by_scale.append(_distances(_patches(mine, 0), _patches(yours, 1), directions))
    spread = estimate(np.mean(by_scale, axis=0).tolist())
    values = tuple(float(distances.mean()) for distances in by_scale)
    return Estimate(spread.mean, max(spread.low, 0.0), spread.high, values)


def _distances(one: Levels, other: Levels, directions: Levels) -> NDArray[np.float64]:
    """W1 along each direction between equally many patches [P, d]."""
    sorted_ones, sorted_others = (np.sort(directions @ patches.T, axis=1) for patches in (one, other))
    distances: NDArray[np.float64] = np.abs(sorted_ones - sorted_others).mean(axis=1, dtype=np.float64)
    return distances


def _pyramid(images: Images) -> list[Levels]:
    """Bands [N, h, w, C] in grey levels of 255, fine to coarse; the last is what is left, brightness too."""
    levels = images.astype(np.float32) * np.float32(255.0 / np.iinfo(images.dtype).max)
    bands: list[Levels] = []
    while min(levels.shape[1:3]) >= 2 * SMALLEST_SIDE_PX and len(bands) < MOST_SCALES - 1:
        smooth = _blurred(_blurred(levels, 1), 2)
        bands.append(levels - smooth)
        levels = smooth[:, ::2, ::2]
    return [*bands, levels]


def _blurred(levels: Levels, axis: int) -> Levels:
    """Binomial, 5 px wide, along one axis; past the border the edge pixels repeat."""
    size = levels.shape[axis]
    pad = [(0, 0)] * 4
    pad[axis] = (2, 2)
    padded = np.pad(levels, pad, mode="edge")
    lines = np.moveaxis(padded, axis, 0)
    parts = [np.moveaxis(lines[start : start + size], 0, axis) for start in range(5)]
    weights = np.array((1, 4, 6, 4, 1), np.float32) / 16
    blurred: Levels = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return blurred


def _patches(band: Levels, side: int) -> Levels:
    """Patches at random places, as many from every image: float32 [P, 7 · 7 · C]."""
    count, height, width, _ = band.shape
    per_image = max(min(MOST_PATCHES // count, MOST_PATCHES_PER_IMAGE), 1)
    rng = np.random.default_rng(stream_seed(0, "realism/directions", 1 + side))
    image = np.repeat(np.arange(count), per_image)
    top = rng.integers(0, height - PATCH_PX + 1, len(image))
    left = rng.integers(0, width - PATCH_PX + 1, len(image))
    windows = np.lib.stride_tricks.sliding_window_view(band, (PATCH_PX, PATCH_PX), axis=(1, 2))
    patches: Levels = windows[image, top, left].reshape(len(image), -1)
    return patches
