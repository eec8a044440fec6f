"""Owns the automatic judge: fresh classifiers that tell two sets apart, scored on images they never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.feature_transform import apart
from trainer.batches import to_unit_range
from trainer.evaluation.progress import Progress
from trainer.evaluation.results import Estimate
from trainer.evaluation.usefulness.statistics import NORMAL_95, estimate
from trainer.sampling import Sampler, stream_seed
from trainer.sources import Images

Indices = NDArray[np.int64]

WINDOW_PX = 48
"""Longer sides are cut to this while a judge learns; it is asked about whole images."""
MOST_SHIFT_PX = 2
TESTED_AT_ONCE = 128
LEAK = 0.1
"""Slope below 0, with clipped gradients: a judge whose units have died calls everything real."""
SCALED_BY = 512
"""Images that the judge's input is standardised by."""


@dataclass(frozen=True)
class Judging:
    """How judges are trained and asked.

    The number of updates does not depend on the number of images: counted in passes, a small set would leave
    its judges untrained, and an untrained judge calls everything real.
    """

    folds: int = 4
    """Each image is judged by the one of so many judges that learned from the other folds."""
    blocks: int = 4
    """Rows of consecutive images in a fold, which is no random choice: real images often come in groups of
    near-duplicates (frames of a film), and a judge that has seen the neighbour of an image knows it by heart.
    Only groups cut by the end of a row are still on both sides."""
    updates: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-2
    """Highest of a cycle that starts and ends near 0, so that the last updates do not decide."""
    weight_decay: float = 1e-2


def cross_judge(
    one: Images,
    other: Images,
    seeds: Sequence[int] = (0,),
    judging: Judging | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Balanced accuracy of judges on images they never saw: 0.5 cannot tell the sets apart, 1 always can.

    Grey levels [N, H, W, C], equally many of each set and at least two per fold, sides of 8 px or more. They
    are judged on one scale, not each on its own, so a wrong exposure counts. A value per seed and fold; the
    95 % interval is Student's over folds (each a mean over seeds) and never narrower than the binomial one
    of the images.
    """
    judging, progress = judging or Judging(), progress or Progress()
    assert one.shape == other.shape, (one.shape, other.shape)
    assert len(one) >= 2 * judging.folds, (len(one), judging.folds)
    fold_of = _folds(len(one), judging)
    values = []
    for fold in range(judging.folds):
        progress.begin("judge", f"realism, judge {fold + 1} of {judging.folds}")
        values.append(
            [_accuracy(one, other, fold_of == fold, seed * judging.folds + fold, judging) for seed in seeds]
        )
    spread = estimate([fmean(of_fold) for of_fold in values])
    binomial = NORMAL_95 * sqrt(spread.mean * (1 - spread.mean) / (2 * len(one)))
    half_width = max((spread.high - spread.low) / 2, binomial)
    low, high = max(spread.mean - half_width, 0.0), min(spread.mean + half_width, 1.0)
    return Estimate(spread.mean, low, high, tuple(value for of_fold in values for value in of_fold))


def _folds(count: int, judging: Judging) -> Indices:
    """The fold of each image: rows of consecutive images take turns."""
    rows = min(judging.folds * judging.blocks, count)
    return (np.arange(count) * rows // count) % judging.folds


def _accuracy(one: Images, other: Images, held_out: NDArray[np.bool_], index: int, judging: Judging) -> float:
    learned = np.concatenate([one[~held_out], other[~held_out]])
    labels = torch.arange(2.0).repeat_interleave(len(learned) // 2)
    classifier = _classifier(learned, index)
    _train(classifier, learned, labels, index, judging)
    said_other = [_says_other(classifier, images[held_out]) for images in (one, other)]
    return (1.0 - said_other[0] + said_other[1]) / 2.0


class _Classifier(nn.Module):
    """A small convolutional network on levels and on what a slight blur takes away from them.

    That residual shows grain, sharpness and compression, which are faint beside the picture itself: without
    it the judge does not find grain of 2 levels or a blur of half a pixel. No layer normalises, so levels
    count. Means over the image of every layer's features let texture speak directly, and the highest values
    of the last layer let single odd places speak.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int] = (16, 32, 48)) -> None:
        super().__init__()
        first, second, third = widths
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(2 * channels, first, 3, padding=1),
                nn.Conv2d(first, second, 3, stride=2, padding=1),
                nn.Conv2d(second, third, 3, stride=2, padding=1),
                nn.Conv2d(third, third, 3, padding=1),
            ]
        )
        self.says = nn.Linear(first + second + 3 * third, 1)
        for layer in self.layers:
            nn.init.kaiming_normal_(cast(Tensor, layer.weight), nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.zeros_(self.says.weight)
        nn.init.zeros_(self.says.bias)
        self.register_buffer("centre", torch.zeros(1, 2 * channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, 2 * channels, 1, 1))

    @torch.no_grad()
    def standardise_by(self, images: Tensor) -> None:
        """Learn the scale of the input from [N, C, H, W] in [-1, 1]."""
        features = _with_residual(images)
        self.centre = features.mean(dim=(0, 2, 3), keepdim=True)
        self.scale = features.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] → logits [N], above 0 for the other set."""
        features = (_with_residual(images) - self.centre) / self.scale
        features = features.contiguous(memory_format=torch.channels_last)
        pooled = []
        for layer in self.layers:
            features = functional.leaky_relu(layer(features), LEAK)
            pooled.append(features.mean(dim=(2, 3)))
        logits: Tensor = self.says(torch.cat([*pooled, features.amax(dim=(2, 3))], dim=1))
        return logits.squeeze(1)


def _with_residual(images: Tensor) -> Tensor:
    """[N, C, H, W] → [N, 2 C, H, W]: the image, and what is left of it after a binomial blur of 3x3 px."""
    weights = torch.tensor([0.25, 0.5, 0.25], device=images.device)
    padded = functional.pad(apart(images), [1] * 4, mode="replicate")
    smooth = functional.conv2d(padded, (weights[:, None] * weights)[None, None])
    return torch.cat([images, images - smooth.reshape(images.shape)], dim=1)


def _classifier(images: Images, index: int) -> _Classifier:
    rng = np.random.default_rng(stream_seed(index, "judge", 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(index, "judge"))
        classifier = _Classifier(images.shape[3]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    classifier.standardise_by(_tensor(images[rng.permutation(len(images))[:SCALED_BY]]))
    return cast(_Classifier, classifier)


def _train(classifier: nn.Module, images: Images, labels: Tensor, index: int, judging: Judging) -> None:
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=judging.learning_rate, weight_decay=judging.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, judging.learning_rate, total_steps=judging.updates, pct_start=0.15
    )
    batch_size = min(judging.batch_size, len(images))
    sampler = Sampler(index, "judge/order", len(images))
    for update in range(judging.updates):
        chosen = sampler.indices(update, batch_size)
        logits = classifier(_augmented(_tensor(images[chosen]), index, update))
        loss = functional.binary_cross_entropy_with_logits(logits, labels[torch.from_numpy(chosen)])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def _augmented(images: Tensor, index: int, update: int) -> Tensor:
    """A batch moved by up to MOST_SHIFT_PX or cut to WINDOW_PX, and one in two mirrored."""
    rng = np.random.default_rng(stream_seed(index, "judge/augmentation", update))
    sides = [min(side, WINDOW_PX) for side in images.shape[2:]]
    pad_y, pad_x = (MOST_SHIFT_PX if side <= WINDOW_PX else 0 for side in images.shape[2:])
    padded = functional.pad(images, [pad_x, pad_x, pad_y, pad_y], mode="reflect")
    top, left = (int(rng.integers(padded.shape[2 + i] - sides[i] + 1)) for i in (0, 1))
    moved = padded[:, :, top : top + sides[0], left : left + sides[1]]
    return moved.flip(3) if rng.integers(2) else moved


@torch.no_grad()
def _says_other(classifier: nn.Module, images: Images) -> float:
    """The share of images [N, H, W, C] that the judge, asked about each and its mirror image, calls other."""
    said = []
    for start in range(0, len(images), TESTED_AT_ONCE):
        part = _tensor(images[start : start + TESTED_AT_ONCE])
        said.append(classifier(part) + classifier(part.flip(3)) > 0)
    return torch.cat(said).float().mean().item()


def _tensor(images: Images) -> Tensor:
    return to_unit_range(images, int(np.iinfo(images.dtype).max), torch.device("cpu"))
