"""Owns what all estimators have in common: from labels to targets, from a network's outputs to a score."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.evaluation.usefulness.augmentation import Freedom, Moves
from trainer.labels.labels import Labels

Answers = NDArray[Any]
"""What an estimator says about N images, first dimension N; each estimation has its own."""


@dataclass(frozen=True, eq=False)
class Change:
    """How much what an estimator says of each image changed."""

    measure: str
    unit: str
    values: NDArray[np.float64]
    """[N]."""
    more_is_better: bool


class Estimation(Protocol):
    """One kind of answer: its network, its loss, its score."""

    @property
    def metric(self) -> str:
        """Name of the primary metric, the first of `score`; higher is better."""

    @property
    def updates(self) -> int:
        """Updates until the loss on held-out images of its own kind falls only slowly."""

    @property
    def batch_size(self) -> int:
        """Images per update."""

    @property
    def freedom(self) -> Freedom:
        """Moves that the labels follow."""

    @property
    def largest_occluder(self) -> float:
        """Part of the side that may be hidden and the label still holds."""

    def network(self) -> nn.Module:
        """A fresh one; takes float32 [N, C, H, W] in [0, 1]."""

    def targets(self, labels: Labels) -> Tensor:
        """What the loss compares with, one row an image, in px of the frame."""

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """Targets of the moved images."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch."""

    def divergence(self, before: Tensor, after: Tensor, labels: Labels) -> Tensor:
        """How far outputs are from those of before, which have no gradient: 0 where they are the same.

        In what the images' labels say at all. Mean over the batch, differentiable, about 1 where the answers
        have nothing to do with each other.
        """

    def answers(self, outputs: Tensor) -> Answers:
        """What the outputs say, in the units of the labels."""

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """Metrics of answers against the truth; the first is the primary one."""

    def skill(self, answers: Answers, labels: Labels) -> float:
        """How much better than one answer for all images: 0 no better, 1 all right, NaN cannot be told."""

    def change(self, before: Answers, after: Answers, labels: Labels) -> Change:
        """The difference between two answers about the same images, in what their labels say at all."""
