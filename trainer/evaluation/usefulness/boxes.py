"""Owns boxes: where the objects are, found at their middles, scored by average precision."""

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
from trainer.evaluation.usefulness.networks import Pyramid
from trainer.evaluation.usefulness.statistics import average_precision, overlap_lost
from trainer.labels.labels import Labels

SMALL_SIDE = 64
MOST_FOUND = 64
FOUND_IOU = 0.5
SURE = 0.3
"""Score above which a detection counts as said, where single images are compared."""
LEFT_AFTER_MOVE = 0.3
"""Part of a box that must still be in the moved image."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Answers are float32 [N, 64, 5]: x1, y1, x2, y2 in px of the original and a score, best first, NaN after
    the last. One class of objects.

    A heat map of middles with a focal loss, sizes and offsets beside it: CenterNet (Zhou et al., arXiv
    1904.07850).
    """

    frame: Frame
    stride: int
    updates: int = 2800
    batch_size: int = 16
    freedom: Freedom = "axes"
    largest_occluder: float = 0.2
    metric: str = "average precision at IoU 0.5"

    @staticmethod
    def of(frame: Frame, labels: Labels) -> "Boxes":
        """DataError when no image has a box."""
        if not np.isfinite(labels.values).any():
            raise DataError("the labels hold no box to learn from")
        return Boxes(frame, 2 if max(frame.height, frame.width) <= SMALL_SIDE else 4)

    def network(self) -> nn.Module:
        """Heat, width and height (log of cells), offset of the middle in its cell."""
        network = Pyramid(self.frame.channels, 5, self.stride)
        assert network.answer.bias is not None
        nn.init.constant_(network.answer.bias[:1], -3.0)  # at first nothing is found
        return network

    def targets(self, labels: Labels) -> Tensor:
        """float32 [N, K, 4], px of the frame; NaN for none."""
        return torch.from_numpy(labels.values / np.float32(self.frame.factor))

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """The boxes moved likewise and cut at the edges; those that mostly left are gone."""
        count, most, _ = targets.shape
        moved = moves.points(targets.reshape(count, 2 * most, 2)).reshape(count, most, 4)
        limits = torch.tensor((moves.width, moves.height) * 2, device=targets.device)
        cut = torch.minimum(moved.clamp(min=0), limits)
        left = _area(cut) / _area(moved).clamp(min=1e-6)
        return torch.where((left >= LEFT_AFTER_MOVE)[..., None], cut, torch.nan)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Focal loss on the heat, absolute error of sizes (log) and offsets at the true middles."""
        image, box = torch.nonzero(torch.isfinite(targets).all(dim=2), as_tuple=True)
        corners = targets[image, box] / self.stride
        size = (corners[:, 2:] - corners[:, :2]).clamp(min=0.1)
        middle = (corners[:, 2:] + corners[:, :2]) / 2
        height, width = outputs.shape[2:]
        column, row = middle[:, 0].long().clamp(0, width - 1), middle[:, 1].long().clamp(0, height - 1)
        wanted = _heat(outputs[:, 0], image, torch.stack([column, row], 1), size)
        said = outputs[image, :, row, column]
        offset = middle - torch.stack([column, row], 1)
        errors = (said[:, 1:3] - size.log()).abs().sum() + (said[:, 3:5].sigmoid() - offset).abs().sum()
        return (_focal(outputs[:, 0], wanted) + errors) / max(1, len(image))

    def divergence(self, before: Tensor, after: Tensor, _labels: Labels) -> Tensor:
        """Of the heat, the overlap that is lost; where it is hot, sizes (log) and offsets, too."""
        hot, heat = torch.sigmoid(before[:, 0]), torch.sigmoid(after[:, 0])
        sizes = (after[:, 1:3] - before[:, 1:3]).abs().sum(dim=1)
        offsets = (after[:, 3:5].sigmoid() - before[:, 3:5].sigmoid()).abs().sum(dim=1)
        errors = (hot * (sizes + offsets)).sum(dim=(1, 2)) / hot.sum(dim=(1, 2)).clamp(min=1.0)
        return overlap_lost(hot, heat) + errors.mean()

    def answers(self, outputs: Tensor) -> Answers:
        """The peaks of the heat map, at most 64 an image."""
        heat = outputs[:, 0].sigmoid()
        peak = nn.functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
        found = torch.where(heat == peak, heat, 0.0).flatten(1)
        scores, cells = found.topk(min(MOST_FOUND, found.shape[1]), dim=1)
        said = outputs.flatten(2).gather(2, cells[:, None].expand(-1, 5, -1))
        width = outputs.shape[3]
        corner = torch.stack([cells % width, cells // width], dim=2)
        middle = corner + said[:, 3:5].sigmoid().transpose(1, 2)
        half = said[:, 1:3].clamp(-5, 8).exp().transpose(1, 2) / 2
        px = torch.cat([middle - half, middle + half], dim=2) * (self.stride * self.frame.factor)
        px = torch.where((scores > 0)[..., None], px, torch.nan)
        boxes = torch.cat([px, scores[..., None]], dim=2).numpy()
        padding = ((0, 0), (0, MOST_FOUND - boxes.shape[1]), (0, 0))
        answers: Answers = np.pad(boxes, padding, constant_values=np.nan)
        return answers

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """Average precision at IoU 0.5; mean IoU of true boxes with the best of as many detections."""
        scores, right, truths, overlaps = [], [], 0, []
        for said, values in zip(answers, labels.values, strict=True):
            found, true = _present(said), _present(values)
            truths += len(true)
            table = box_iou(found[:, :4], true)
            scores.append(found[:, 4])
            right.append(_matched(table))
            best = table[: len(true)].max(axis=0, initial=0.0)
            overlaps.append(best)
        precision = average_precision(np.concatenate(scores), np.concatenate(right), truths)
        mean = np.concatenate(overlaps)
        return {self.metric: precision, "mean IoU": float(mean.mean()) if len(mean) else nan}

    def skill(self, answers: Answers, labels: Labels) -> float:
        """The average precision itself: nobody finds a box without looking."""
        return self.score(answers, labels)[self.metric]

    def change(self, before: Answers, after: Answers, _labels: Labels) -> Change:
        """Mean IoU of the boxes said before with the best said after, and the other way round."""
        values = np.array([_agreement(one, other) for one, other in zip(before, after, strict=True)])
        return Change("box IoU", "", values, more_is_better=True)


def box_iou(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of boxes [N, 4] and [M, 4]: float64 [N, M]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2, dtype=np.float64)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float64) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    overlap: NDArray[np.float64] = shared / np.maximum(union, 1e-9)
    return overlap


def _matched(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [N]: detections, best first, that overlap an object enough which no better one has taken."""
    table = table.copy()
    right = np.zeros(len(table), np.bool_)
    for place in range(len(table)):
        if table.shape[1] and table[place].max() >= FOUND_IOU:
            right[place] = True
            table[:, table[place].argmax()] = 0.0
    return right


def _agreement(before: Answers, after: Answers) -> float:
    one, other = (_present(said[said[:, 4] >= SURE])[:, :4] for said in (before, after))
    if not len(one) or not len(other):
        return 1.0 if len(one) == len(other) else 0.0
    table = box_iou(one, other)
    return float(np.concatenate([table.max(axis=1), table.max(axis=0)]).mean())


def _present(boxes: Answers) -> Answers:
    present: Answers = boxes[np.isfinite(boxes).all(axis=1)]
    return present


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def _heat(like: Tensor, image: Tensor, cell: Tensor, size: Tensor) -> Tensor:
    """[N, h, w]: 1 in the cell of each middle, round it a Gaussian as wide as a sixth of the box."""
    height, width = like.shape[1:]
    sigma = (size / 6).clamp(min=0.7)
    columns = torch.arange(width, device=like.device)
    rows = torch.arange(height, device=like.device)
    across = ((columns - cell[:, :1]) / sigma[:, :1]) ** 2
    down = ((rows - cell[:, 1:]) / sigma[:, 1:]) ** 2
    bumps = torch.exp(-0.5 * (down[:, :, None] + across[:, None, :])).flatten(1)
    heat = torch.zeros(like.shape[0], height * width, device=like.device)
    index = image[:, None].expand(-1, height * width)
    return heat.scatter_reduce(0, index, bumps, "amax").reshape(like.shape)


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Sum over all cells; near a middle, being wrong weighs little (CenterNet, equation 1)."""
    said = logits.sigmoid()
    hit = wanted >= 1.0
    found = -((1 - said) ** 2) * nn.functional.logsigmoid(logits)
    quiet = -((1 - wanted) ** 4) * said**2 * nn.functional.logsigmoid(-logits)
    return torch.where(hit, found, quiet).sum()
