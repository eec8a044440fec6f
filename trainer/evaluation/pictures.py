"""Owns which pictures an evaluation shows: samples, the worst regions, the images that changed most."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from trainer.evaluation.results import Region
from trainer.sampling import stream_seed
from trainer.sources import Images

COLUMNS = 9
MOST_CHANGED = 6
SURROUNDINGS_PX = 6
"""What is shown of the image around a region, at least."""
SMALLEST_CUTOUT_PX = 32
WHOLE_PX = 96
"""Smaller images are shown whole."""


@dataclass(frozen=True)
class Pair:
    """One place before and after refinement: grey levels [H, W, C]."""

    before: Images
    after: Images
    box: tuple[float, float, float, float] | None
    """x1, y1, x2, y2 in px of the cut-out."""
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Refinements:
    """The pictures of one refiner."""

    refined: Images
    """The samples of `Pictures.synthetic`, refined."""
    worst: tuple[Pair, ...]
    most_changed: tuple[Pair, ...]


@dataclass(frozen=True)
class Pictures:
    """Samples [N, H, W, C] of both sets, and the pictures of each refiner in the order of the report."""

    synthetic: Images
    real: Images
    candidates: tuple[Refinements, ...]


def sample(count: int, index: int) -> list[int]:
    """Indices of the samples among `count` images, always the same ones; `index` tells the sets apart."""
    rng = np.random.default_rng(stream_seed(0, "grid/synthetic" if index == 0 else "grid/real"))
    return sorted(rng.permutation(count)[:COLUMNS].tolist())


def worst_pairs(
    synthetic: Images, refined: Images, regions: Sequence[Region], names: Sequence[int]
) -> tuple[Pair, ...]:
    """The regions that lost most, cut out with their surroundings; `names` as in most_changed."""
    return tuple(
        _cut_out(synthetic[region.image], refined[region.image], region, names[region.image])
        for region in regions
    )


def most_changed(synthetic: Images, refined: Images, names: Sequence[int]) -> tuple[Pair, ...]:
    """The images whose grey levels changed most, most first; `names` are their numbers in the whole set."""
    change = mean_changes(synthetic, refined)
    peak = int(np.iinfo(synthetic.dtype).max)
    order = np.argsort(-change, kind="stable")[:MOST_CHANGED].tolist()
    return tuple(
        Pair(
            synthetic[i],
            refined[i],
            None,
            (f"image {names[i]}", f"changed by {change[i] * 255 / peak:.0f} of 255 levels"),
        )
        for i in order
    )


def mean_changes(synthetic: Images, refined: Images) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Mean absolute change of each image, grey levels [N]; one image at a time, for sets that fill memory."""
    pairs = zip(synthetic, refined, strict=True)
    return np.array([np.abs(a.astype(np.int32) - b.astype(np.int32)).mean() for a, b in pairs])


def _cut_out(before: Images, after: Images, region: Region, name: int) -> Pair:
    height, width = before.shape[:2]
    x1, y1, x2, y2 = region.box
    left, right = _reach(x1, x2, width)
    top, bottom = _reach(y1, y2, height)
    part = slice(top, bottom), slice(left, right)
    shift = "not to be located" if region.shift_px is None else f"moved {region.shift_px:.2f} px"
    kept = "" if region.structure_kept is None else f"{100 * region.structure_kept:.0f} % left"
    if region.least_kept is not None:
        kept += f" ({100 * region.least_kept:.0f} % where least)"
    return Pair(
        before[part],
        after[part],
        (x1 - left, y1 - top, x2 - left, y2 - top),
        (f"image {name}", f"{kept}, {shift}" if kept else shift),
    )


def _reach(low: float, high: float, size: int) -> tuple[int, int]:
    """From where to where to cut: the region and its surroundings, all of a small image."""
    if size <= WHOLE_PX:
        return 0, size
    room = max(SURROUNDINGS_PX, (SMALLEST_CUTOUT_PX - (high - low)) / 2)
    return max(0, floor(low - room)), min(size, ceil(high + room))
