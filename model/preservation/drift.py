"""Drift: how far the structure under an annotation moved, and how much of it is left.

Both pictures are band-passed (difference of Gaussians), so a change of exposure, contrast, gamma or slow
shading does not count. The displacement is found by correlation over whole pixels and then by Gauss-Newton
steps on the sub-pixel part with a free gain; the Gaussians themselves are sampled at the displaced
positions, so nothing is interpolated. What is left is compared as a visibility: of the part of the new
picture that follows the old one, against the part that does not and against a floor below which nobody sees
anything. Small parts lost beside a strong outline hardly change that: where most was lost is looked at too.

What this cannot see: structure invented where there was none (regions without structure are not measured);
movement along a straight edge (it is taken as none); movement of more than 4 px at the measured scale (the
structure then counts as lost); a change of identity that keeps most edges, such as 3 into 8 (it shows as
part of the structure lost); rotation or scaling as such (they show as some structure lost); the loss of
parts that are faint beside the rest of their region; colours (see `pictures`, which looks at them where
lightness shows nothing, grain included).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.preservation.grey import LEAST_EXPONENT, GreyImage
from model.preservation.least import least_kept

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

MIN_LEAST_KEPT = 0.4
"""How much must be left where most was lost, 0..1. Drawn dice, digits, nuclei, eyes, blood and photographs
under harmless changes, all at once (gamma, exposure, shading, contrast also locally, blur to 1 px, grain to 8
levels, a shift to 1 px): 0.1 % score below it, 5 % below 0.82. Erased: all pips of a die (found in 91 %), one
pip (89 %; most others are faint), a fifth or more of the strokes of a digit (98 %), one of two to six nuclei
(94 %); the median of each is 0.00.
"""

_FINE_PX, _COARSE_PX, _MOST_COARSE_PX = 1.0, 2.5, 12.0
_HALO_PX = 3
_MOST_STEPS = 4
_NEAR, _FAR = np.float32(2 / 3), np.float32(1 / 12)  # of central differences of fourth order
_CLOSE_PX = 0.05
"""A step this small is the last: what is left to go is a small share of it."""
_SEARCHED_SIDE = 32
"""Samples along a side in the whole-pixel search; the band-passed picture is smooth enough to skip some."""
_FARTHEST_PX = SEARCH_PX + 0.75
"""Nothing is followed further; what would be has moved out of the search."""
_TOO_LITTLE_TO_LOCATE = 0.2
# Share of the mean gradient energy added in both directions: an edge does not move along itself.
_STEADYING = 0.02
_NEARNESS = 2e-3  # correlation given up per squared pixel: among equals the smaller displacement wins
_TRIED = 2 * SEARCH_PX + 1
_SQUARES = np.arange(-SEARCH_PX, SEARCH_PX + 1) ** 2
_FARNESS = _NEARNESS * (_SQUARES[:, None] + _SQUARES)


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


class Box(NamedTuple):
    """A Region and nothing else."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of the structure under one annotation.

    index: the region's place in the given list. structure_kept: 0 (gone) to 1 (all there), None without
    structure to measure. least_kept: the same where most of it was lost, None also where no part stands out.
    dx, dy, shift_px: the displacement in px, right and down positive; None without
    structure, or when too little of it is left to be located.
    """

    index: int
    structure_kept: float | None
    dx: float | None = None
    dy: float | None = None
    least_kept: float | None = None

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
    window = window_of(before.shape, region)
    if window is None:
        return Drift(index, None)
    return measure_window(cut(before, window), cut(after, window), window, index)


def measure_window(old: GreyImage, new: GreyImage, window: Window, index: int) -> Drift:
    """The drift between what was cut out of two pictures; `index` is that of the region."""
    around = _BandPass(old.shape, window.coarse_px, 0.0, 0.0, SEARCH_PX)
    old_around = around.of(old)
    reference = np.ascontiguousarray(_core(old_around))
    energy = _product(reference, reference)
    strength = math.sqrt(energy / reference.size)
    if strength < MIN_STRUCTURE_LEVELS:
        return Drift(index, None)
    start = _whole_pixels(reference, around.of(new))
    dx, dy, there = _displacement(old_around, new, window.coarse_px, start)
    if max(abs(dx), abs(dy)) >= _FARTHEST_PX:
        return Drift(index, 0.0, least_kept=0.0)  # wherever it is, it is not here
    gain = _product(there, reference) / energy
    kept = _kept(reference, energy, there, gain)
    least = least_kept(reference, there, gain, VISIBLE_LEVELS)
    if kept < _TOO_LITTLE_TO_LOCATE:
        return Drift(index, kept, least_kept=least)
    return Drift(index, kept, dx * window.factor, dy * window.factor, least)


MARGIN_PX = SEARCH_PX + _HALO_PX
"""Samples around a window that are cut out with it."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is cut out: rows and columns with a margin on all sides, and the factor it is averaged down by."""

    top: int
    bottom: int
    left: int
    right: int
    factor: int
    coarse_px: float


def window_of(shape: tuple[int, ...], region: Region) -> Window | None:
    """The region and a pixel more on each side; None if nothing of it lies in the picture."""
    left, right = _grown(region.x1, region.x2, shape[1])
    top, bottom = _grown(region.y1, region.y2, shape[0])
    if right - left < 3 or bottom - top < 3:
        return None
    factor = -(-max(right - left, bottom - top) // LARGEST_SIDE_PX)
    side = min(right - left, bottom - top) / factor
    coarse = min(max(side / 4, _COARSE_PX), _MOST_COARSE_PX)
    return Window(top, bottom, left, right, factor, round(coarse, 1))


def _grown(low: float, high: float, size: int) -> tuple[int, int]:
    """The samples from low to high that are looked at: a pixel more on each side, SMALLEST_SIDE_PX at least,
    cut at the border of the picture.
    """
    spare = max(SMALLEST_SIDE_PX - (high - low), 2.0) / 2
    return max(math.floor(low - spare), 0), min(math.ceil(high + spare), size)


def cut(image: GreyImage, window: Window) -> GreyImage:
    """The window with its margin, the picture's border repeated where the margin leaves it, averaged down."""
    factor, margin = window.factor, MARGIN_PX * window.factor
    rows = -(-(window.bottom - window.top) // factor) * factor
    columns = -(-(window.right - window.left) // factor) * factor
    top, left = window.top - margin, window.left - margin
    bottom, right = window.top + rows + margin, window.left + columns + margin
    height, width = image.shape
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    beyond = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    whole = np.pad(inside, beyond, mode="edge") if any(map(any, beyond)) else inside
    if factor == 1:
        return whole
    lower = whole.reshape(whole.shape[0] // factor, factor, -1).mean(axis=1)
    mean: GreyImage = lower.reshape(lower.shape[0], -1, factor).mean(axis=2)
    return mean


class _BandPass:
    """The difference of two Gaussians, sampled (dx, dy) px away from the core and `reach` px around it.

    Two matrices for the rows and two for the columns.
    """

    def __init__(self, shape: tuple[int, ...], coarse_px: float, dx: float, dy: float, reach: int) -> None:
        gaussians = _whole_gaussians if dx == 0 and dy == 0 else _gaussians
        self._down = gaussians(shape[0], dy, coarse_px, reach)
        self._across = gaussians(shape[1], dx, coarse_px, reach)

    def of(self, image: GreyImage) -> GreyImage:
        """A window, float32 [H, W], band-passed."""
        _, rows, height = self._down.shape
        smooth = self._down.reshape(2 * rows, height) @ image
        fine: GreyImage = smooth[:rows] @ self._across[0].T
        fine -= smooth[rows:] @ self._across[1].T
        return fine


def _gaussians(size: int, offset: float, coarse_px: float, reach: int) -> NDArray[np.float32]:
    """float32 [2, core, size], fine and coarse: row i weighs the samples around core position i + offset."""
    edge = MARGIN_PX - reach
    core = size - 2 * edge
    weights = (_positions(size, core) - np.float32(edge + offset)) / _sigmas(coarse_px)
    np.square(weights, out=weights)
    weights *= np.float32(-0.5)
    np.maximum(weights, LEAST_EXPONENT, out=weights)
    np.exp(weights, out=weights)
    long, short = weights.strides
    # Row i is row i - 1 moved by one sample: all of them are views into one line.
    rows: NDArray[np.float32] = np.ndarray(
        (2, core, size), np.float32, weights, (core - 1) * short, (long, -short, short)
    )
    normalised: NDArray[np.float32] = rows / rows.sum(axis=2, keepdims=True)
    return normalised


_whole_gaussians = lru_cache(maxsize=128)(_gaussians)


@lru_cache(maxsize=256)
def _positions(size: int, core: int) -> NDArray[np.float32]:
    return np.arange(1 - core, size, dtype=np.float32)


@lru_cache(maxsize=128)
def _sigmas(coarse_px: float) -> NDArray[np.float32]:
    return np.array(((_FINE_PX,), (coarse_px,)), np.float32)


def _core(around: GreyImage, dx: int = 0, dy: int = 0) -> GreyImage:
    """The part (dx, dy) px away of a picture that reaches SEARCH_PX beyond the core on all sides."""
    height, width = around.shape[0] - 2 * SEARCH_PX, around.shape[1] - 2 * SEARCH_PX
    return around[SEARCH_PX + dy :, SEARCH_PX + dx :][:height, :width]


def _displacement(
    old_around: GreyImage, new: GreyImage, coarse_px: float, start: tuple[float, float]
) -> tuple[float, float, GreyImage]:
    """(dx, dy) at which the new window fits the old core best, and its band-passed core there.

    With e the displacement still to go, new = gain (reference - slopes e): linear in (gain e, gain), so
    each step is a product with one fixed matrix.
    """
    columns = _columns(old_around)
    inverse = _inverse(columns)
    dx, dy = start
    for _ in range(_MOST_STEPS):
        there = _BandPass(new.shape, coarse_px, dx, dy, 0).of(new)
        products = (columns @ there.ravel()).tolist()
        across, down, gain = (sum(map(mul, row, products)) for row in inverse)
        if gain <= 0:
            return dx, dy, there
        step_x, step_y = (min(max(-moved / gain, -0.7), 0.7) for moved in (across, down))
        dx, dy = (min(max(d + step, -_FARTHEST_PX), _FARTHEST_PX) for d, step in ((dx, step_x), (dy, step_y)))
        if math.hypot(step_x, step_y) < _CLOSE_PX:
            break
    return dx, dy, _BandPass(new.shape, coarse_px, dx, dy, 0).of(new)


def _columns(around: GreyImage) -> NDArray[np.float32]:
    """float32 [3, pixels]: slope along x and y (central differences of fourth order), and the core itself."""
    columns = np.empty((3, around.shape[0] - 2 * SEARCH_PX, around.shape[1] - 2 * SEARCH_PX), np.float32)
    for axis, (dx, dy) in enumerate(((1, 0), (0, 1))):
        np.subtract(_core(around, dx, dy), _core(around, -dx, -dy), out=columns[axis])
        columns[axis] *= _NEAR
        columns[axis] -= _FAR * (_core(around, 2 * dx, 2 * dy) - _core(around, -2 * dx, -2 * dy))
    columns[2] = _core(around)
    return columns.reshape(3, -1)


def _inverse(columns: NDArray[np.float32]) -> tuple[tuple[float, float, float], ...]:
    """[3][3], symmetric: from products with the columns to least-squares coefficients."""
    (xx, xy, xr), (_, yy, yr), (_, _, rr) = (columns @ columns.T).tolist()
    steadying = _STEADYING * (xx + yy) / 2
    xx, yy = xx + steadying, yy + steadying
    # Cofactors, which for three unknowns take a tenth of the time that calling LAPACK does.
    first, second, third = yy * rr - yr * yr, xr * yr - xy * rr, xy * yr - xr * yy
    determinant = xx * first + xy * second + xr * third
    rows = (
        (first, second, third),
        (second, xx * rr - xr * xr, xy * xr - xx * yr),
        (third, xy * xr - xx * yr, xx * yy - xy * xy),
    )
    return tuple((x / determinant, y / determinant, r / determinant) for x, y, r in rows)


def _whole_pixels(reference: GreyImage, around: GreyImage) -> tuple[float, float]:
    """The displacement of the highest normalised correlation: a whole pixel, then the top of a parabola."""
    step_y, step_x = (-(-side // _SEARCHED_SIDE) for side in reference.shape)
    sparse = np.ascontiguousarray(reference[::step_y, ::step_x])
    row, column = around.strides
    moved = np.ndarray(
        (_TRIED, _TRIED, *sparse.shape),
        np.float32,
        around,
        0,
        (row, column, row * step_y, column * step_x),
    ).reshape(-1, sparse.size)
    energies = np.einsum("ij,ij->i", moved, moved)
    own = math.sqrt(_product(sparse, sparse)) or 1.0
    scores = (moved @ sparse.ravel()) / np.sqrt(energies + np.float32(sparse.size * VISIBLE_LEVELS**2)) / own
    surface = scores.reshape(_TRIED, _TRIED) - _FARNESS
    row, column = divmod(int(surface.argmax()), _TRIED)
    dy = row - SEARCH_PX + _top(surface[row - 1 : row + 2, column].tolist())
    dx = column - SEARCH_PX + _top(surface[row, column - 1 : column + 2].tolist())
    return dx, dy


def _top(scores: list[float]) -> float:
    """Where the parabola through three scores is highest, in px from the middle one; 0 at the search's end.

    Flat ones stay near the middle: an edge does not move along itself.
    """
    if len(scores) < 3:
        return 0.0
    low, middle, high = scores
    return (high - low) / 2 / (2 * middle - low - high + _STEADYING)


def _kept(reference: GreyImage, energy: float, there: GreyImage, gain: float) -> float:
    """gain s / sqrt((gain s)^2 + residual^2 + floor^2), s = rms of the reference; 0 for an inverted
    picture.
    """
    if gain <= 0:
        return 0.0
    residual = there - np.float32(gain) * reference
    following = gain**2 * energy
    floor = VISIBLE_LEVELS**2 * reference.size
    return math.sqrt(following / (following + _product(residual, residual) + floor))


def _product(one: GreyImage, other: GreyImage) -> float:
    """The inner product of two pictures without gaps."""
    return float(one.ravel() @ other.ravel())
