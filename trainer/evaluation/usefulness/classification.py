"""Owns classification: one class an image, scored by accuracy."""

from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.errors import DataError
from trainer.evaluation.usefulness.augmentation import Freedom, Moves
from trainer.evaluation.usefulness.estimation import Answers, Change
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.networks import whole_image_network
from trainer.labels.labels import Labels

DOUBT = 0.3
"""Nats from 95 % sure of a class, which is all that labels smoothed by 5 % teach, to 62 %."""


@dataclass(frozen=True, eq=False)
class Classification:
    """Answers are int64 [N]: the classes themselves."""

    frame: Frame
    classes: NDArray[np.int64]
    """int64 [K], sorted."""
    metric: str = "accuracy"
    updates: int = 2700
    batch_size: int = 32
    freedom: Freedom = "all"
    largest_occluder: float = 0.4

    @staticmethod
    def of(frame: Frame, labels: Labels) -> "Classification":
        """For the classes of these labels; DataError unless there are at least 2."""
        classes = np.unique(labels.values)
        if len(classes) < 2:
            raise DataError(f"a classification needs at least 2 classes, the labels have {len(classes)}")
        return Classification(frame, classes)

    def network(self) -> nn.Module:
        """One logit per class."""
        frame = self.frame
        return whole_image_network(frame.channels, frame.height, frame.width, len(self.classes), dropout=0.3)

    def targets(self, labels: Labels) -> Tensor:
        """int64 [N]: places in `classes`; DataError for a class that is not among them."""
        places = np.searchsorted(self.classes, labels.values).clip(max=len(self.classes) - 1)
        unknown = labels.values[self.classes[places] != labels.values]
        if len(unknown):
            raise DataError(
                f"there are images of class {unknown[0]}, but no synthetic ones to learn it from; leave_out "
                "names classes that are no answer"
            )
        return torch.from_numpy(places)

    def move(self, targets: Tensor, moves: Moves) -> Tensor:  # noqa: ARG002
        """A class survives."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy, slightly smoothed."""
        return nn.functional.cross_entropy(outputs, targets, label_smoothing=0.05)

    def divergence(self, before: Tensor, after: Tensor, _labels: Labels) -> Tensor:
        """Kullback-Leibler divergence of the classes' probabilities, nats, beyond what doubt alone costs.

        Real images are harder to read than drawn ones: the class must stay the same, not how sure it is.
        """
        logs, wanted = after.log_softmax(dim=1), before.log_softmax(dim=1)
        each = nn.functional.kl_div(logs, wanted, reduction="none", log_target=True).sum(dim=1)
        return (each - DOUBT).clamp(min=0).mean()

    def answers(self, outputs: Tensor) -> Answers:
        """int64 [N]."""
        answers: Answers = self.classes[outputs.argmax(dim=1).numpy()]
        return answers

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """Accuracy, and its mean over the classes."""
        right = answers == labels.values
        by_class = [float(right[labels.values == one].mean()) for one in np.unique(labels.values)]
        return {"accuracy": float(right.mean()), "balanced accuracy": float(np.mean(by_class))}

    def skill(self, answers: Answers, labels: Labels) -> float:
        """By balanced accuracy, of which any class for all images has 1 / K."""
        chance = 1 / len(np.unique(labels.values))
        balanced = self.score(answers, labels)["balanced accuracy"]
        return (balanced - chance) / (1 - chance) if chance < 1 else nan

    def change(self, before: Answers, after: Answers, _labels: Labels) -> Change:
        """1 where the class is the same."""
        return Change("same class", "", (before == after).astype(np.float64), more_is_better=True)
