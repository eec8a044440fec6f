"""Owns content balance: real patches weighted so that structure is as frequent as in the synthetic set.

Where real images are emptier than synthetic ones (or fuller), a discriminator rewards the refiner for erasing
content (or inventing it): that is what tells the sets apart. Weighting takes this reward away. It looks only
at whether a patch shows structure, not at how much: real structure is often fainter or softer, and that the
refiner shall learn. So each set has a threshold of its own, where its patches fall into two groups best
(Otsu 1979), and all real patches of a group get one weight. No label is needed. Not part of the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

BINS = 64
FEWEST = 0.01
"""Share of patches below which a group is too small to be one; then nothing is weighted."""


@dataclass(frozen=True)
class ContentBalance:
    """Weights of real patches, by whether they show structure."""

    local_contrast: nn.Module
    receptive_field: int
    threshold: float
    """Structure of a real patch from which it counts as one that shows something."""
    weight_empty: float
    weight_full: float

    @torch.no_grad()
    def __call__(self, real: Tensor, patches: tuple[int, int]) -> Tensor:
        """A weight for each patch of real images [N, C, H, W] in [-1, 1]: float32 [N, h, w], mean about 1."""
        full = structure(self.local_contrast, real, self.receptive_field, patches) >= self.threshold
        return torch.where(full, self.weight_full, self.weight_empty)


def structure(
    local_contrast: nn.Module, images: Tensor, receptive_field: int, patches: tuple[int, int]
) -> Tensor:
    """Mean absolute local contrast within each patch of a discriminator: float32 [N, h, w], 0 where flat."""
    (contrast,) = local_contrast(images.float())
    energy = contrast.abs().mean(dim=1, keepdim=True)
    side = min(receptive_field, *(2 * (size // 2) + 1 for size in energy.shape[2:]))
    around = functional.avg_pool2d(energy, side, 1, side // 2, count_include_pad=False)
    return functional.adaptive_avg_pool2d(around, patches)[:, 0]


def balance_content(
    local_contrast: nn.Module,
    receptive_field: int,
    synthetic: Tensor,
    real: Tensor,
    *,
    patches: tuple[int, int],
    limit: float,
) -> ContentBalance | None:
    """Weights between 1 / limit and limit, from samples [N, C, H, W] of both sets; None when none are due."""
    of_synthetic, of_real = (
        structure(local_contrast, images, receptive_field, patches).flatten() for images in (synthetic, real)
    )
    threshold = otsu_threshold(of_real)
    synthetic_full = (of_synthetic >= otsu_threshold(of_synthetic)).float().mean().item()
    real_full = (of_real >= threshold).float().mean().item()
    if not all(FEWEST <= share <= 1 - FEWEST for share in (synthetic_full, real_full)):
        return None
    empty, full = (
        min(max(wanted / there, 1 / limit), limit)
        for wanted, there in ((1 - synthetic_full, 1 - real_full), (synthetic_full, real_full))
    )
    mean = empty * (1 - real_full) + full * real_full
    return ContentBalance(local_contrast, receptive_field, threshold, empty / mean, full / mean)


def otsu_threshold(values: Tensor) -> float:
    """The value that parts a sample [n] into two groups of the largest variance between them (Otsu 1979).

    Values equal to it belong to the upper group. A constant sample has all of it there.
    """
    low, high = values.min().item(), values.max().item()
    if high <= low:
        return low
    counts = torch.histc(values.double(), BINS, low, high)
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = counts.cumsum(0)[:-1], counts.sum()
    sum_below = (counts * middles).cumsum(0)[:-1]
    above = total - below
    sum_above = (counts * middles).sum() - sum_below
    between = below * above * (sum_below / below.clamp_min(1) - sum_above / above.clamp_min(1)).square()
    return edges[1:-1][int(between.argmax())].item()
