"""Owns regression: numbers for an image, scored by their error or by rank correlation with an ordinal."""

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
from trainer.evaluation.usefulness.statistics import rank_agreement
from trainer.labels.labels import Labels
from trainer.labels.task import Rank

SMALLEST_DEVIATION = 1e-6
BETA = 0.25
"""Error, in deviations of the labels, from which on it counts by its size and not by its square."""


@dataclass(frozen=True, eq=False)
class Regression:
    """Answers are float32 [N, D]."""

    frame: Frame
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    names: tuple[str, ...]
    unit: str
    freedom: Freedom
    rank: Rank | None
    updates: int = 3600
    batch_size: int = 32
    largest_occluder: float = 0.25

    @staticmethod
    def of(frame: Frame, labels: Labels, *, survives_moves: bool, rank: Rank | None) -> "Regression":
        """Targets are standardised by the mean and deviation of these labels; DataError where one is 0."""
        deviation = labels.values.std(axis=0).clip(min=SMALLEST_DEVIATION)
        names = labels.names or tuple(str(column) for column in range(labels.values.shape[1]))
        for name, least, most in zip(
            names, labels.values.min(axis=0), labels.values.max(axis=0), strict=True
        ):
            if least == most:
                raise DataError(f"the labels' column {name} is {least:g} in every image: nothing to learn")
        freedom: Freedom = "axes" if survives_moves else "none"
        return Regression(frame, labels.values.mean(axis=0), deviation, names, labels.unit, freedom, rank)

    @property
    def metric(self) -> str:
        """Rank correlation with an ordinal, else the error as a part of what guessing the mean would err."""
        return "1 - MAE / std" if self.rank is None else "rank correlation"

    def network(self) -> nn.Module:
        """One output per column."""
        frame = self.frame
        return whole_image_network(frame.channels, frame.height, frame.width, len(self.mean), dropout=0.0)

    def targets(self, labels: Labels) -> Tensor:
        """float32 [N, D], standardised."""
        return torch.from_numpy((labels.values - self.mean) / self.deviation)

    def move(self, targets: Tensor, moves: Moves) -> Tensor:  # noqa: ARG002
        """The task says that they survive."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Huber: the mean for small errors, the median for large ones."""
        return nn.functional.smooth_l1_loss(outputs, targets, beta=BETA)

    def divergence(self, before: Tensor, after: Tensor, _labels: Labels) -> Tensor:
        """Absolute, so that small changes count like large ones, in quarters of the labels' deviation."""
        return nn.functional.l1_loss(after, before) / BETA

    def answers(self, outputs: Tensor) -> Answers:
        """float32 [N, D]."""
        answers: Answers = outputs.numpy() * self.deviation + self.mean
        return answers

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """Spearman's correlation of one column, or 1 - MAE / std (mean over columns) and each MAE."""
        if self.rank is not None:
            column = self.rank.sign * answers[:, self.rank.column]
            return {"rank correlation": rank_agreement(column, labels.values[:, 0])}
        errors = np.abs(answers - labels.values).mean(axis=0)
        spread = labels.values.std(axis=0).clip(min=SMALLEST_DEVIATION)
        absolute = {f"MAE of {name}": float(error) for name, error in zip(self.names, errors, strict=True)}
        return {"1 - MAE / std": float(1.0 - (errors / spread).mean()), **absolute}

    def skill(self, answers: Answers, labels: Labels) -> float:
        """By MAE, mean over columns, against the labels' mean for all images; for labels in its own units."""
        values = labels.values
        errors, blind = (np.abs(said - values).mean(axis=0) for said in (answers, values.mean(axis=0)))
        return float(1.0 - (errors / blind).mean()) if blind.all() else nan

    def change(self, before: Answers, after: Answers, _labels: Labels) -> Change:
        """Euclidean over the columns."""
        values = np.linalg.norm(after.astype(np.float64) - before, axis=1)
        return Change(f"change of {', '.join(self.names)}", self.unit, values, more_is_better=False)
