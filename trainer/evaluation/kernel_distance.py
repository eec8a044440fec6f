"""Owns the kernel distance (KID): how far apart two sets are in the features of a fixed random network."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.batches import to_unit_range
from trainer.evaluation.results import Estimate
from trainer.evaluation.usefulness.statistics import estimate
from trainer.sampling import generator, stream_seed
from trainer.sources import Images

Features = NDArray[np.float64]

WIDTHS = (24, 48, 64)
"""Filters of 3x3 px; each layer after the first halves the resolution."""
MOST_SUBSETS = 8
SMALLEST_SUBSET = 32
MOST_DEVIATIONS = 5.0
"""Features are cut here, so that the cube of a few far ones does not drown the rest."""
AT_ONCE = 128


def kernel_distance(images: Images, real: Images) -> Estimate:
    """Unbiased squared MMD with the polynomial kernel (x·y / d + 1)³ of KID (Bińkowski et al. 2018, Eq. 4).

    Grey levels [N, H, W, C], equally many of each, at least 4. A value per subset; subsets share no image,
    so the interval is honest. About 0 for sets of one kind, and it may be below. Different from the paper:
    features of a random network instead of Inception, each standardised by the real images.
    """
    assert len(images) == len(real) >= 4, (len(images), len(real))
    reference = features_of(real)
    centre, scale = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    one, other = (
        np.clip((features - centre) / scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        for features in (features_of(images), reference)
    )
    subsets = min(max(len(real) // SMALLEST_SUBSET, 2), MOST_SUBSETS)
    rng = np.random.default_rng(stream_seed(0, "realism/subsets"))
    orders = [np.array_split(rng.permutation(len(real)), subsets) for _ in range(2)]
    return estimate([squared_mmd(one[mine], other[yours]) for mine, yours in zip(*orders, strict=True)])


def squared_mmd(one: Features, other: Features) -> float:
    """The unbiased estimate from two samples [n, d] and [m, d], n and m at least 2."""
    n, m = len(one), len(other)
    within = [(kernel.sum() - np.trace(kernel)) for kernel in (_kernel(one, one), _kernel(other, other))]
    across = _kernel(one, other).mean()
    return float(within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * across)


def _kernel(one: Features, other: Features) -> Features:
    kernel: Features = (one @ other.T / one.shape[1] + 1.0) ** 3
    return kernel


@torch.no_grad()
def features_of(images: Images) -> Features:
    """float64 [N, d]: mean and deviation of every filter's answers; of the last ones also by quarter."""
    layers = _layers(images.shape[3])
    peak = int(np.iinfo(images.dtype).max)
    parts = []
    for start in range(0, len(images), AT_ONCE):
        batch = to_unit_range(images[start : start + AT_ONCE], peak, torch.device("cpu"))
        parts.append(_features(batch, layers).double().numpy())
    return np.concatenate(parts)


def _layers(channels: int) -> list[Tensor]:
    """Fixed random filters, each [out, in, 3, 3]; all but an eighth of the first layer's have the mean 0."""
    random = generator(0, "realism/features")
    layers = []
    for width, inputs in zip(WIDTHS, (channels, *WIDTHS), strict=False):
        filters = torch.randn(width, inputs, 3, 3, generator=random)
        layers.append(filters / filters.flatten(1).norm(dim=1)[:, None, None, None])
    first = layers[0][WIDTHS[0] // 8 :]
    first -= first.mean(dim=(2, 3), keepdim=True)
    first /= first.flatten(1).norm(dim=1)[:, None, None, None]
    return layers


def _features(batch: Tensor, layers: list[Tensor]) -> Tensor:
    pooled = []
    for index, filters in enumerate(layers):
        answers = functional.conv2d(
            functional.pad(batch, [1] * 4, mode="replicate"), filters, stride=2 if index else 1
        )
        batch = functional.relu(answers)
        pooled += [batch.mean(dim=(2, 3)), batch.std(dim=(2, 3))]
    pooled.append(functional.adaptive_avg_pool2d(batch, 2).flatten(1))
    return torch.cat(pooled, dim=1)
