"""Owns the first numbers on what refinement does to content: how much it changes, and whether edges stay."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.sources import Images

FLAT = 1e-6


@dataclass(frozen=True)
class Preservation:
    """Means over images."""

    mean_absolute_change_levels: float
    """Mean |refined - synthetic| in grey levels of the images' own depth."""
    gradient_correlation: float
    """Pearson correlation of gradient magnitudes before and after, in [-1, 1]; 1 keeps every edge."""


def measure_preservation(synthetic: Images, refined: Images) -> Preservation:
    """Compare grey levels [N, H, W, C] before and after; a flat image has no edge to keep and is left out."""
    before, after = synthetic.astype(np.float32), refined.astype(np.float32)
    correlations = _row_correlations(_gradient_magnitude(before), _gradient_magnitude(after))
    return Preservation(float(np.abs(after - before).mean()), float(np.nanmean(correlations)))


def _gradient_magnitude(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flat [N, pixels], from the mean over channels."""
    grey = images.mean(axis=3)
    vertical, horizontal = np.gradient(grey, axis=(1, 2))
    magnitude: NDArray[np.float32] = np.hypot(vertical, horizontal).reshape(len(images), -1)
    return magnitude


def _row_correlations(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1, dtype=np.float64)
    return np.where(scale > FLAT, products / np.maximum(scale, FLAT), np.nan)
