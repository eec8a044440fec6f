"""Owns the automatic judge: a fresh classifier that tells two sets apart, scored on images it never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor, nn

from trainer.batches import to_unit_range
from trainer.sampling import Sampler, stream_seed
from trainer.sources import Images

# Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom; beyond, the normal one.
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Judging:
    """How a judge is trained: images of each set (the smaller one decides), updates, batch size.

    The number of updates does not depend on the number of images: counted in passes, a small set would leave
    its judge untrained, and an untrained judge calls everything real.
    """

    most_images: int = 2000
    updates: int = 400
    batch_size: int = 64
    learning_rate: float = 3e-3
    """At the first update; it falls to 0 in a straight line, so that the last updates do not decide."""


@dataclass(frozen=True)
class Verdict:
    """Balanced accuracy over several judges: 0.5 cannot tell the sets apart, 1 always can."""

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the judges."""
        return fmean(self.accuracies)

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean (Student's t); 0 for a single judge."""
        count = len(self.accuracies)
        if count < 2:
            return 0.0
        quantile = STUDENT_95[count - 2] if count - 2 < len(STUDENT_95) else NORMAL_95
        return quantile * stdev(self.accuracies) / sqrt(count)


def judge(one: Images, other: Images, seeds: Sequence[int], judging: Judging | None = None) -> Verdict:
    """Train one judge per seed on half of the images and score it on the other half.

    Grey levels [N, H, W, C], at least 4 images each, of the same size. They are judged on their own scale,
    not standardised, so a wrong exposure counts.
    """
    judging = judging or Judging()
    return Verdict(tuple(_accuracy(one, other, seed, judging) for seed in seeds))


def halves(images: Images, seed: int) -> tuple[Images, Images]:
    """Split a set in two at random: what the floor (real against real) is judged on."""
    order = np.random.default_rng(stream_seed(seed, "judge", 1)).permutation(len(images))
    middle = len(images) // 2
    return images[order[:middle]], images[order[middle:]]


def _accuracy(one: Images, other: Images, seed: int, judging: Judging) -> float:
    rng = np.random.default_rng(stream_seed(seed, "judge"))
    count = min(len(one), len(other), judging.most_images)
    sets = [_tensor(images[rng.permutation(len(images))[:count]]) for images in (one, other)]
    middle = count // 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "judge"))
        classifier = _classifier(one.shape[3])
    _train(classifier, [images[:middle] for images in sets], seed, judging)
    return _balanced_accuracy(classifier, [images[middle:] for images in sets])


def _tensor(images: Images) -> Tensor:
    return to_unit_range(images, int(np.iinfo(images.dtype).max), torch.device("cpu"))


def _classifier(channels: int) -> nn.Module:
    classifier = nn.Sequential(
        nn.Conv2d(channels, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 1),
    )
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _train(classifier: nn.Module, sets: Sequence[Tensor], seed: int, judging: Judging) -> None:
    images = torch.cat(list(sets))
    labels = torch.cat([torch.full((len(part),), float(index)) for index, part in enumerate(sets)])
    optimiser = torch.optim.Adam(classifier.parameters(), lr=judging.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, judging.updates)
    sampler = Sampler(seed, "judge/order", len(images))
    for update in range(judging.updates):
        chosen = torch.from_numpy(sampler.indices(update, min(judging.batch_size, len(images))))
        logits = classifier(images[chosen]).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def _balanced_accuracy(classifier: nn.Module, sets: Sequence[Tensor]) -> float:
    said_other = [
        torch.cat([classifier(part) > 0 for part in torch.split(images, 256)]).float().mean().item()
        for images in sets
    ]
    return (1.0 - said_other[0] + said_other[1]) / 2.0
