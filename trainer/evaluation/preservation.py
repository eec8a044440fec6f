"""Owns what refinement did to the content: how far structure moved, how much of it and of colours is left."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.preservation.drift import (
    MAX_REGIONS,
    MAX_SHIFT_PX,
    MIN_LEAST_KEPT,
    MIN_STRUCTURE_KEPT,
    Box,
    Drift,
)
from model.preservation.pictures import measure_pictures
from trainer.evaluation.colours import colours_lost
from trainer.evaluation.results import Histogram, Preservation, Region
from trainer.labels.regions import Regions
from trainer.samples import fitting_at_once
from trainer.sources import Images

MOST_REGIONS = 4000
WORST_SHOWN = 12
FLAT = 1e-6
BINS = 40
AT_ONCE = 256
MOST_PIXELS_AT_ONCE = AT_ONCE * 128 * 128


def measure_preservation(synthetic: Images, refined: Images, regions: Regions) -> Preservation:
    """What the service would report of every region, and how much changed over all; no estimator.

    Grey levels [N, H, W, C] before and after, `regions` in the same images. Of more than MOST_REGIONS,
    as many are measured at equal distances through their list. Where nothing could be measured the quantiles
    are 0 for the shift and 1 for what is kept.
    """
    assert synthetic.shape == refined.shape, (synthetic.shape, refined.shape)
    chosen = _chosen(len(regions))
    colours = Regions(regions.of, regions.boxes[chosen], regions.images[chosen])
    drifts = _drifts(synthetic, refined, regions, chosen)
    measured = [(region, drift) for region, drift in drifts if drift.measured]
    shifts = np.array([d.shift_px for _, d in measured if d.shift_px is not None] or [0.0])
    kept = np.array([d.structure_kept for _, d in measured] or [1.0])
    lost = [_is_lost(drift) for _, drift in measured]
    return Preservation(
        regions_of=regions.of,
        measured=len(measured),
        unmeasured=len(drifts) - len(measured),
        shift_px=_quantiles(shifts, {"median": 50, "p95": 95, "max": 100}),
        structure_kept=_quantiles(kept, {"median": 50, "p05": 5, "min": 0}),
        lost_fraction=float(np.mean(lost)) if lost else 0.0,
        worst=_worst(regions, measured),
        mean_absolute_change_levels=_mean_absolute_change(synthetic, refined),
        gradient_correlation=_gradient_correlation(synthetic, refined),
        estimator=None,
        shift_histogram=_histogram(shifts, 0.0, max(2 * MAX_SHIFT_PX, float(shifts.max()))),
        kept_histogram=_histogram(kept, 0.0, 1.0),
        colours_lost_fraction=colours_lost(synthetic, refined, colours),
    )


def _chosen(count: int) -> NDArray[np.int64]:
    """Which regions are measured, sorted by nothing but their place in the list."""
    if count <= MOST_REGIONS:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, MOST_REGIONS).astype(np.int64)


def _drifts(
    synthetic: Images, refined: Images, regions: Regions, chosen: NDArray[np.int64]
) -> list[tuple[int, Drift]]:
    """Index of the region and its drift, image by image."""
    of_image: dict[int, list[int]] = {}
    for region in chosen.tolist():
        of_image.setdefault(int(regions.images[region]), []).append(region)
    found = []
    for image, mine in of_image.items():
        pair = synthetic[image], refined[image]
        boxes = [Box(*regions.boxes[region].tolist()) for region in mine]
        for start in range(0, len(mine), MAX_REGIONS):
            part = measure_pictures(*pair, boxes[start : start + MAX_REGIONS])
            found += [(mine[start + drift.index], drift) for drift in part]
    return found


def _is_lost(drift: Drift) -> bool:
    """As the service decides by default."""
    moved = drift.shift_px is not None and drift.shift_px > MAX_SHIFT_PX
    erased = drift.least_kept is not None and drift.least_kept < MIN_LEAST_KEPT
    return moved or erased or (drift.structure_kept is not None and drift.structure_kept < MIN_STRUCTURE_KEPT)


def _worst(regions: Regions, measured: Sequence[tuple[int, Drift]]) -> tuple[Region, ...]:
    """By how far beyond a threshold they are, in units of what it allows."""

    def badness(found: tuple[int, Drift]) -> float:
        drift = found[1]
        lost = (1 - (drift.structure_kept or 0.0)) / (1 - MIN_STRUCTURE_KEPT)
        erased = 0.0 if drift.least_kept is None else (1 - drift.least_kept) / (1 - MIN_LEAST_KEPT)
        return max(lost, erased, (drift.shift_px or 0.0) / MAX_SHIFT_PX)

    worst = sorted(measured, key=badness, reverse=True)[:WORST_SHOWN]
    return tuple(_region(regions, region, drift) for region, drift in worst)


def _region(regions: Regions, index: int, drift: Drift) -> Region:
    x1, y1, x2, y2 = regions.boxes[index].tolist()
    image = int(regions.images[index])
    return Region(image, (x1, y1, x2, y2), drift.shift_px, drift.structure_kept, drift.least_kept)


def _quantiles(values: NDArray[np.float64], percents: dict[str, float]) -> dict[str, float]:
    return {name: float(np.percentile(values, percent)) for name, percent in percents.items()}


def _histogram(values: NDArray[np.float64], low: float, high: float) -> Histogram:
    counts, edges = np.histogram(np.clip(values, low, high), BINS, (low, high))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _mean_absolute_change(synthetic: Images, refined: Images) -> float:
    """In grey levels of the images' own depth."""
    total = 0.0
    at_once = fitting_at_once(synthetic, AT_ONCE, MOST_PIXELS_AT_ONCE)
    for start in range(0, len(synthetic), at_once):
        before, after = (
            images[start : start + at_once].astype(np.float32) for images in (synthetic, refined)
        )
        total += float(np.abs(after - before).sum(dtype=np.float64))
    return total / synthetic.size


def _gradient_correlation(synthetic: Images, refined: Images) -> float:
    """Mean over images of the correlation of gradient magnitudes before and after, -1 to 1.

    A flat image has no edge to keep and is left out; 1 if there is no other.
    """
    found: list[float] = []
    at_once = fitting_at_once(synthetic, AT_ONCE, MOST_PIXELS_AT_ONCE)
    for start in range(0, len(synthetic), at_once):
        part = slice(start, start + at_once)
        correlations = _row_correlations(*(_gradient_magnitude(s[part]) for s in (synthetic, refined)))
        found += correlations[np.isfinite(correlations)].tolist()
    return float(np.mean(found)) if found else 1.0


def _gradient_magnitude(images: Images) -> NDArray[np.float32]:
    """Flat [N, pixels], from the mean over channels."""
    grey = images.mean(axis=3, dtype=np.float32)
    vertical, horizontal = np.gradient(grey, axis=(1, 2))
    magnitude: NDArray[np.float32] = np.hypot(vertical, horizontal).reshape(len(images), -1)
    return magnitude


def _row_correlations(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """NaN where one of the two is flat."""
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1, dtype=np.float64)
    return np.where(scale > FLAT, products / np.maximum(scale, FLAT), np.nan)
