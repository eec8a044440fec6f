"""Owns keypoints: where the K points of an object are, scored by the part found near enough."""

from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor, nn

from trainer.evaluation.usefulness.augmentation import Freedom, Moves
from trainer.evaluation.usefulness.estimation import Answers, Change
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.networks import Pyramid
from trainer.labels.labels import Labels

STRIDE = 2
NEAR = 0.05
"""Of the image's longer side."""
SIGMA_CELLS = 1.0
"""Of the Gaussian that a heat map should look like."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Answers are float32 [N, K, 2], x, y in px of the original.

    A heat map per point; the answer is its mean place, as in DSNT (Nibali et al., arXiv 1801.07372), with
    a Kullback-Leibler term that keeps the map close to a Gaussian round the truth.
    """

    frame: Frame
    points: int
    updates: int = 2800
    batch_size: int = 16
    freedom: Freedom = "all"
    largest_occluder: float = 0.2
    metric: str = "points within 5 %"

    @staticmethod
    def of(frame: Frame, labels: Labels) -> "Keypoints":
        """As many points as these labels have."""
        return Keypoints(frame, labels.values.shape[1])

    def network(self) -> nn.Module:
        """One heat map per point."""
        return Pyramid(self.frame.channels, self.points, STRIDE)

    def targets(self, labels: Labels) -> Tensor:
        """float32 [N, K, 2], px of the frame; NaN where a point is unknown."""
        return torch.from_numpy(labels.values / np.float32(self.frame.factor))

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """The points moved likewise; those that leave the image are no longer asked for."""
        moved = moves.points(targets)
        limits = torch.tensor((moves.width, moves.height), device=moved.device)
        inside = ((moved >= 0) & (moved <= limits)).all(dim=2, keepdim=True)
        return torch.where(inside, moved, torch.nan)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Distance in cells of the heat map, and how far the map is from a Gaussian."""
        known = torch.isfinite(targets).all(dim=2)
        cells = torch.where(known[..., None], targets, 0.0) / STRIDE
        logs = outputs.flatten(2).log_softmax(dim=2)
        distance = nn.functional.smooth_l1_loss(_mean_place(outputs), cells, reduction="none").sum(2)
        wanted = _gaussians(cells, outputs.shape[2], outputs.shape[3])
        divergence = (wanted * (wanted.clamp(min=1e-9).log() - logs)).sum(dim=2)
        return ((distance + divergence) * known).sum() / known.sum().clamp(min=1)

    def divergence(self, before: Tensor, after: Tensor, labels: Labels) -> Tensor:
        """Distance of the places in cells of the heat map, an image's known points together; see `change`."""
        known = torch.from_numpy(np.isfinite(labels.values).all(axis=2)).to(after.device)
        distance = (_mean_place(after) - _mean_place(before)).abs().sum(dim=2)
        return ((distance * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)).mean()

    def answers(self, outputs: Tensor) -> Answers:
        """float32 [N, K, 2]."""
        answers: Answers = (_mean_place(outputs) * (STRIDE * self.frame.factor)).numpy()
        return answers

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """Part of the known points within 5 % of the longer side (PCK); mean and median distance in px."""
        distances = np.linalg.norm(answers - labels.values, axis=2)
        distances = distances[np.isfinite(distances)]
        near = NEAR * max(self.frame.height, self.frame.width) * self.frame.factor
        return {
            "points within 5 %": float((distances <= near).mean()),
            "mean distance px": float(distances.mean()),
            "median distance px": float(np.median(distances)),
        }

    def skill(self, answers: Answers, labels: Labels) -> float:
        """By mean distance, against each point's mean place for all images."""
        known = np.isfinite(labels.values).all(axis=2)
        places = np.where(known[..., None], labels.values, 0.0)
        mean = places.sum(axis=0) / known.sum(axis=0).clip(min=1)[:, None]
        far, blind = (np.linalg.norm(said - places, axis=2)[known].sum() for said in (answers, mean))
        return float(1.0 - far / blind) if blind > 0 else nan

    def change(self, before: Answers, after: Answers, labels: Labels) -> Change:
        """Mean over an image's known points of how far they moved; NaN where none is known.

        Nobody taught where a point is that is not to be seen: what is said of it changes with anything.
        """
        known = np.isfinite(labels.values).all(axis=2)
        moved = np.linalg.norm(after.astype(np.float64) - before, axis=2)
        counts = np.where(known.any(axis=1), known.sum(axis=1), nan)
        values = np.where(known, moved, 0.0).sum(axis=1) / counts
        return Change("keypoint shift", "px", values, more_is_better=False)


def _mean_place(outputs: Tensor) -> Tensor:
    """Heat maps as logits [N, K, h, w] → x, y [N, K, 2] in cells; a cell's middle is at + 0.5."""
    height, width = outputs.shape[2:]
    heat = outputs.flatten(2).softmax(dim=2).reshape(outputs.shape)
    columns = torch.arange(width, device=outputs.device) + 0.5
    rows = torch.arange(height, device=outputs.device) + 0.5
    return torch.stack([(heat.sum(2) * columns).sum(2), (heat.sum(3) * rows).sum(2)], dim=2)


def _gaussians(cells: Tensor, height: int, width: int) -> Tensor:
    """Normalised maps [N, K, height * width] round places [N, K, 2]."""
    columns = torch.arange(width, device=cells.device) + 0.5
    rows = torch.arange(height, device=cells.device) + 0.5
    across = -((columns - cells[..., :1]) ** 2)[:, :, None, :]
    down = -((rows - cells[..., 1:]) ** 2)[:, :, :, None]
    return ((across + down) / (2 * SIGMA_CELLS**2)).flatten(2).softmax(dim=2)
