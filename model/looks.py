"""Looks: how bright and how grainy images are as a whole, and how often. Not part of the paper.

A discriminator of patches asks whether each patch could be real, hardly how often its like occurs. So a
refiner draws most often what it draws best: where bright haze is easier than dark grain, there is too much
and too bright haze. Exposure and grain can be measured without looking at what an image shows. Their
distribution over the refined images is compared with that over the real ones, by the energy distance
(Székely and Rizzo 2013), whose estimate from a few images is unbiased.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from model.discriminator import fine_detail

GRAIN_FLOOR: Final = 0.03
"""Half a grey level of enlarged fine detail: less is no grain."""
SMALLEST_SPREAD: Final = 0.02
"""Statistics that differ less over the real images count as if they differed so much: 2.5 grey levels."""
_ROOT_FLOOR: Final = 1e-8
"""Added before square roots, whose slope at 0 has no bound."""

Gather = Callable[[Tensor], Tensor]
"""Joins the rows of all processes."""


def _alone(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks of the real images, to be matched."""

    real: Tensor
    """float32 [M, F], M >= 2, divided by `scale`."""
    scale: Tensor
    """float32 [F]: the spread of each statistic over the real images."""
    within_real: Tensor
    """Half the mean distance between two of them, a scalar: what the energy distance subtracts."""

    @classmethod
    def of(cls, real: Tensor) -> Self:
        """The looks of images [M, C, H, W] in [-1, 1], M >= 2."""
        statistics = look_statistics(real)
        scale = statistics.std(dim=0).clamp_min(SMALLEST_SPREAD)
        scaled = statistics / scale
        return cls(scaled, scale, _mean_to_others(scaled, scaled, 0) / 2)

    def distance(self, refined: Tensor, gather: Gather = _alone, first: int = 0) -> Tensor:
        """Energy distance of refined images [N, C, H, W] in [-1, 1] to the real ones, a float32 scalar.

        It is 0 on average where looks are as frequent as in the real images; single estimates may be below.
        Where several processes share a batch, `gather` joins their rows and `first` is the place of this
        one's first: the mean of their distances, and of its gradients, is then that of the whole batch.
        """
        scaled = look_statistics(refined) / self.scale
        across = _distances(scaled, self.real).mean()
        within = _mean_to_others(scaled, gather(scaled.detach()), first)
        # Both ends of a pair move: half the mean distance has the gradient of all of it with one end held.
        return across - within + within.detach() / 2 - self.within_real


def look_statistics(images: Tensor) -> Tensor:
    """Exposure and grain of images [N, C, H, W] in [-1, 1]: float32 [N, 2 C].

    Exposure is the mean of the middle half of the values of a channel; grain the logarithm of the mean of
    the smaller half of its fine detail, which leaves edges out. What covers less than a quarter of an image
    hardly changes either.
    """
    images = images.float()
    values = images.flatten(2).sort(dim=2).values
    quarter = values.shape[2] // 4
    exposure = values[:, :, quarter : values.shape[2] - quarter].mean(dim=2)
    detail = fine_detail(images).abs().flatten(2).sort(dim=2).values
    grain = (detail[:, :, : (detail.shape[2] + 1) // 2].mean(dim=2) + GRAIN_FLOOR).log()
    return torch.cat([exposure, grain], dim=1)


def _distances(some: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances between rows: [N, F] and [M, F] to [N, M]."""
    return ((some[:, None] - others[None]).square().sum(dim=2) + _ROOT_FLOOR).sqrt()


def _mean_to_others(rows: Tensor, everyone: Tensor, first: int) -> Tensor:
    """Mean distance of rows [N, F] to the others of [M, F], where they are the N from `first` on."""
    distances = _distances(rows, everyone)
    own = distances.diagonal(offset=first).sum()
    return (distances.sum() - own) / (rows.shape[0] * max(everyone.shape[0] - 1, 1))
