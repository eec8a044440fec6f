"""Owns the statistics of scores: interval of a mean, rank correlation, average precision."""

from collections.abc import Sequence
from math import nan, sqrt
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluation.results import Estimate

# Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom.
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL_95 = 1.96


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval (Student's t) of independent values; a single one is its own interval."""
    mean, count = fmean(values), len(values)
    if count < 2:
        return Estimate(mean, mean, mean, tuple(values))
    half = student_95(count - 1) * stdev(values) / sqrt(count)
    return Estimate(mean, mean - half, mean + half, tuple(values))


def student_95(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t for 1 or more degrees of freedom, to 0.002.

    Beyond the table by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5).
    """
    if freedom <= len(STUDENT_95):
        return STUDENT_95[freedom - 1]
    z = NORMAL_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two [N], ties sharing their mean rank; NaN where one is constant."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (one, other)]
    scale = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / scale if scale > 0 else nan


def rank_agreement(values: NDArray[np.floating], ordinal: NDArray[np.floating]) -> float:
    """Spearman's correlation over the highest that its ties allow: 1 for values [N] in the ordinal's order.

    An ordinal of few steps has many ties, and values without any then correlate by less than 1 however well
    they are ordered: 0.87 at most with two steps of equal size, 0.44 with one of 7 % and one of 93 %. NaN
    where one is constant.
    """
    highest = spearman(np.sort(values), np.sort(ordinal))
    return spearman(values, ordinal) / highest if highest > 0 else nan


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts + 1) / 2)[places]
    return ranks


def average_precision(scores: NDArray[np.floating], right: NDArray[np.bool_], truths: int) -> float:
    """Area under the precision-recall curve of ranked detections, with precision made to fall monotonically.

    `right` [N]: whether each detection found an object that no better one had; `truths` objects in all, NaN
    where there are none to be found.
    The area is exact (every point of the curve), as PASCAL VOC has it since 2010.
    """
    if truths == 0:
        return nan
    if len(scores) == 0:
        return 0.0
    found = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = found / np.arange(1, len(found) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(found, prepend=0) / truths
    return float((steps * best_from_here).sum())


def overlap_lost(before: Tensor, after: Tensor) -> Tensor:
    """1 - overlap of probabilities [N, H, W], mean over images: 0 where they are equal.

    Least over greatest, summed over pixels, is 1 for equal ones, which the product of Dice's overlap is only
    for 0 and 1. A pixel of both added keeps images in which nothing is said from counting.
    """
    shared = torch.minimum(before, after).sum(dim=(1, 2)) + 1.0
    either = torch.maximum(before, after).sum(dim=(1, 2)) + 1.0
    return (1.0 - shared / either).mean()
