"""Drift: how far the structure under an annotation moved, and how much of it is left.

Both pictures are band-passed (difference of Gaussians), so a change of exposure, contrast, gamma or slow
shading does not count. The displacement is found by correlation over whole pixels and then by Gauss-Newton
steps on the sub-pixel part with a free gain; the Gaussians themselves are sampled at the displaced
positions, so nothing is interpolated. What is left is compared as a visibility: of the part of the new
picture that follows the old one, against the part that does not and against a floor below which nobody sees
anything.

What this cannot see: structure invented where there was none (regions without structure are not measured);
movement along a straight edge (it is taken as none); movement of more than 4 px at the measured scale (the
structure then counts as lost); a change of identity that keeps most edges, such as 3 into 8 (it shows as
part of the structure lost); rotation or scaling as such (they show as some structure lost); colours of
equal luma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.preservation.grey import GreyImage

MAX_REGIONS = 64
"""Regions measured per image; of more, as many are taken at equal distances through their list."""

SEARCH_PX = 4
"""Largest whole-pixel displacement that is tried, at the measured scale."""

LARGEST_SIDE_PX = 96
"""Longer regions are averaged down to this side, and displacements scaled back: their error grows alike."""

SMALLEST_SIDE_PX = 8
"""Smaller regions and points are looked at with their surroundings: less has too few pixels to compare."""

VISIBLE_LEVELS = 2.0
"""Band-passed contrast (rms, grey levels of 255) that is just visible: the floor of what counts as left."""

MIN_STRUCTURE_LEVELS = 1.5
"""Band-passed contrast below which a region has no structure to measure."""

MAX_SHIFT_PX = 1.0
"""How far structure may move before its label counts as lost, px: above what harmless changes do (0.5)."""

MIN_STRUCTURE_KEPT = 0.6
"""How much of it must be left, 0..1: harmless changes (gamma, contrast, blur, noise and texture together)
leave 0.77 or more (5th percentile on our three sets); erased structure scores below 0.4, another digit in
the place of one 0.47 (median).
"""

_FINE_PX, _COARSE_PX, _MOST_COARSE_PX = 1.0, 2.5, 12.0
_HALO_PX = 3
_STEPS = 4
_TOO_LITTLE_TO_LOCATE = 0.2
# Share of the mean gradient energy added in both directions: an edge does not move along itself.
_STEADYING = 0.02
_NEARNESS = 2e-3  # correlation given up per squared pixel: among equals the smaller displacement wins


class Region(Protocol):
    """Anything with bounds in px, where pixel (r, c) covers [c, c + 1) x [r, r + 1)."""

    @property
    def x1(self) -> float: ...  # noqa: D102
    @property
    def y1(self) -> float: ...  # noqa: D102
    @property
    def x2(self) -> float: ...  # noqa: D102
    @property
    def y2(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of the structure under one annotation.

    index: the region's place in the given list. structure_kept: 0 (gone) to 1 (all there), None without
    structure to measure. dx, dy, shift_px: the displacement in px, right and down positive; None without
    structure, or when too little of it is left to be located.
    """

    index: int
    structure_kept: float | None
    dx: float | None = None
    dy: float | None = None

    @property
    def shift_px(self) -> float | None:
        """Length of the displacement in px."""
        return None if self.dx is None or self.dy is None else math.hypot(self.dx, self.dy)

    @property
    def measured(self) -> bool:
        """Whether there was structure to measure."""
        return self.structure_kept is not None


def measure(before: GreyImage, after: GreyImage, regions: Sequence[Region]) -> list[Drift]:
    """The drift under each region between two pictures, float32 [H, W] in 0..255.

    At most MAX_REGIONS regions are measured; a result names its region by index.
    """
    assert before.shape == after.shape, (before.shape, after.shape)
    count = len(regions)
    chosen = (
        range(count) if count <= MAX_REGIONS else np.linspace(0, count - 1, MAX_REGIONS).astype(int).tolist()
    )
    return [_measure_one(before, after, index, regions[index]) for index in chosen]


def _measure_one(before: GreyImage, after: GreyImage, index: int, region: Region) -> Drift:
    window = _window(before.shape, region)
    if window is None:
        return Drift(index, None)
    old, new = _cut(before, window), _cut(after, window)
    fine = _Filter(old.shape, window.coarse_px)
    reference = fine.at(old, 0.0, 0.0)
    strength = _rms(reference)
    if strength < MIN_STRUCTURE_LEVELS:
        return Drift(index, None)
    dx, dy = _displacement(fine, old, reference, new)
    kept = _kept(reference, fine.at(new, dx, dy), strength)
    if kept < _TOO_LITTLE_TO_LOCATE:
        return Drift(index, kept)
    return Drift(index, kept, dx * window.factor, dy * window.factor)


@dataclass(frozen=True, slots=True)
class _Window:
    """What is cut out: rows and columns with a margin on all sides, and the factor it is averaged down by."""

    top: int
    bottom: int
    left: int
    right: int
    factor: int
    coarse_px: float


_MARGIN = SEARCH_PX + _HALO_PX


def _window(shape: tuple[int, ...], region: Region) -> _Window | None:
    """The region and a pixel more on each side; None if nothing of it lies in the picture."""
    left, right = _grown(region.x1, region.x2, shape[1])
    top, bottom = _grown(region.y1, region.y2, shape[0])
    if right - left < 3 or bottom - top < 3:
        return None
    factor = -(-max(right - left, bottom - top) // LARGEST_SIDE_PX)
    side = min(right - left, bottom - top) / factor
    coarse = min(max(side / 4, _COARSE_PX), _MOST_COARSE_PX)
    return _Window(top, bottom, left, right, factor, round(coarse, 1))


def _grown(low: float, high: float, size: int) -> tuple[int, int]:
    """[low, high] a pixel wider on each side, and at least SMALLEST_SIDE_PX wide, cut at the picture's
    border.
    """
    spare = max(SMALLEST_SIDE_PX - (high - low), 2.0) / 2
    return max(math.floor(low - spare), 0), min(math.ceil(high + spare), size)


def _cut(image: GreyImage, window: _Window) -> GreyImage:
    """The window with its margin, the picture's border repeated where the margin leaves it, averaged down."""
    factor, margin = window.factor, _MARGIN * window.factor
    rows = -(-(window.bottom - window.top) // factor) * factor
    columns = -(-(window.right - window.left) // factor) * factor
    top, left = window.top - margin, window.left - margin
    bottom, right = window.top + rows + margin, window.left + columns + margin
    height, width = image.shape
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    beyond = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    cut = np.pad(inside, beyond, mode="edge") if any(map(any, beyond)) else inside
    if factor == 1:
        return cut
    lower = cut.reshape(cut.shape[0] // factor, factor, -1).mean(axis=1)
    mean: GreyImage = lower.reshape(lower.shape[0], -1, factor).mean(axis=2)
    return mean


class _Filter:
    """The band-pass of one window, sampled anywhere: a matrix for the rows and one for the columns."""

    def __init__(self, shape: tuple[int, ...], coarse_px: float) -> None:
        self._height, self._width = shape
        self._coarse_px = coarse_px

    def at(self, image: GreyImage, dx: float, dy: float, reach: int = 0) -> GreyImage:
        """The band-passed core (and `reach` px around it), looked up (dx, dy) px away."""
        fine = self._smooth(image, dx, dy, _FINE_PX, reach)
        return fine - self._smooth(image, dx, dy, self._coarse_px, reach)

    def slopes(self, image: GreyImage) -> tuple[GreyImage, GreyImage]:
        """The derivatives of the band-passed core along x and y, per px."""
        across = self.at(image, 0.25, 0.0) - self.at(image, -0.25, 0.0)
        down = self.at(image, 0.0, 0.25) - self.at(image, 0.0, -0.25)
        return across * np.float32(2.0), down * np.float32(2.0)

    def _smooth(self, image: GreyImage, dx: float, dy: float, sigma: float, reach: int) -> GreyImage:
        down = _gaussians(self._height, dy, sigma, reach)
        across = _gaussians(self._width, dx, sigma, reach)
        return (down @ image @ across.T).astype(np.float32, copy=False)


@lru_cache(maxsize=128)
def _gaussians(size: int, offset: float, sigma: float, reach: int) -> NDArray[np.float32]:
    """float32 [core, size]: row i weighs the samples around core position i + offset."""
    positions = np.arange(_MARGIN - reach, size - _MARGIN + reach, dtype=np.float64) + offset
    weights = np.exp(-0.5 * ((np.arange(size) - positions[:, None]) / sigma) ** 2)
    rows: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows


def _displacement(fine: _Filter, old: GreyImage, reference: GreyImage, new: GreyImage) -> tuple[float, float]:
    """(dx, dy) at which the new picture fits the reference best.

    With e the displacement still to go, new = gain (reference - slopes e): linear in (gain e, gain), so
    each step is a product with one fixed matrix.
    """
    dx, dy = _whole_pixels(reference, fine.at(new, 0.0, 0.0, SEARCH_PX))
    solver = _solver(reference, *fine.slopes(old))
    limit = SEARCH_PX + 0.75
    for _ in range(_STEPS):
        across, down, gain = (solver @ fine.at(new, dx, dy).ravel()).tolist()
        if gain <= 0:
            break
        step_x, step_y = (min(max(-moved / gain, -0.7), 0.7) for moved in (across, down))
        dx, dy = (min(max(d + step, -limit), limit) for d, step in ((dx, step_x), (dy, step_y)))
        if math.hypot(step_x, step_y) < 0.01:
            break
    return dx, dy


def _whole_pixels(reference: GreyImage, around: GreyImage) -> tuple[float, float]:
    """The whole-pixel displacement of the highest normalised correlation."""
    height, width = reference.shape
    offsets = np.arange(-SEARCH_PX, SEARCH_PX + 1)
    places = [(row, column) for row in range(len(offsets)) for column in range(len(offsets))]
    products = [
        np.einsum("ij,ij", reference, around[row : row + height, column : column + width])
        for row, column in places
    ]
    sums = np.pad((around.astype(np.float64) ** 2).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    energies = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    )
    floor = reference.size * VISIBLE_LEVELS**2
    own = math.sqrt(float((reference**2).sum()))
    scores = np.reshape(products, energies.shape) / np.sqrt(energies + floor) / own
    scores -= _NEARNESS * (offsets[:, None] ** 2 + offsets**2)
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return float(offsets[column]), float(offsets[row])


def _solver(reference: GreyImage, across: GreyImage, down: GreyImage) -> NDArray[np.float32]:
    """float32 [3, pixels]: from a picture to its least-squares coefficients of (slope x, slope y,
    reference).
    """
    columns = np.stack([across.ravel(), down.ravel(), reference.ravel()])
    normal = (columns @ columns.T).astype(np.float64)
    normal[[0, 1], [0, 1]] += _STEADYING * (normal[0, 0] + normal[1, 1]) / 2
    solver: NDArray[np.float32] = np.linalg.solve(normal, columns.astype(np.float64)).astype(np.float32)
    return solver


def _kept(reference: GreyImage, moved: GreyImage, strength: float) -> float:
    """gain s / sqrt((gain s)^2 + residual^2 + floor^2), s = rms of the reference; 0 for an inverted
    picture.
    """
    gain = float((moved * reference).sum()) / float((reference * reference).sum())
    if gain <= 0:
        return 0.0
    residual = _rms(moved - np.float32(gain) * reference)
    following = gain * strength
    return following / math.sqrt(following**2 + residual**2 + VISIBLE_LEVELS**2)


def _rms(values: GreyImage) -> float:
    return math.sqrt(float(np.mean(values * values)))
