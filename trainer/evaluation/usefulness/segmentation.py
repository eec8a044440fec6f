"""Owns segmentation: a class for every pixel, scored by intersection over union."""

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
from trainer.evaluation.usefulness.statistics import overlap_lost
from trainer.labels.labels import VOID, Labels


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Answers are uint8 [N, H, W]: 0 is background."""

    frame: Frame
    height: int
    width: int
    """Of the masks, px of the original."""
    classes: int
    """With the background; 2 where instances are one class."""
    updates: int = 2400
    batch_size: int = 16
    freedom: Freedom = "all"
    largest_occluder: float = 0.15

    @staticmethod
    def of(frame: Frame, labels: Labels) -> "Segmentation":
        """For the classes of these labels; DataError when all is background."""
        highest = int(labels.values[_known(labels)].max(initial=0))
        if highest == 0:
            raise DataError("the masks hold nothing but background")
        height, width = labels.values.shape[1:]
        return Segmentation(frame, height, width, highest + 1 if labels.classes else 2)

    @property
    def metric(self) -> str:
        """Over all pixels of the test set; several classes: their mean, background included."""
        return "foreground IoU" if self.classes == 2 else "mean IoU"

    def network(self) -> nn.Module:
        """One logit per class, or one for the foreground."""
        return Pyramid(self.frame.channels, 1 if self.classes == 2 else self.classes, stride=1)

    def targets(self, labels: Labels) -> Tensor:
        """uint8 [N, h, w]: the most frequent class in each pixel of the frame, the first of several."""
        classes, factor = self._classes_of(labels), self.frame.factor
        if factor == 1:
            return torch.from_numpy(classes)
        return torch.stack([_most_frequent(torch.from_numpy(image), factor) for image in classes])

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """The masks moved likewise, nearest neighbour."""
        return moves.images(targets[:, None].float(), "nearest")[:, 0].to(targets.dtype)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy; for a foreground also Dice's overlap, which does not mind how small it is."""
        if self.classes > 2:
            return nn.functional.cross_entropy(outputs, targets.long(), ignore_index=VOID)
        known = targets != VOID
        logits, truth = outputs[:, 0][known], targets[known].float()
        said = torch.sigmoid(logits)
        overlap = (2 * (said * truth).sum() + 1) / (said.sum() + truth.sum() + 1)
        return nn.functional.binary_cross_entropy_with_logits(logits, truth) + 1.0 - overlap

    def divergence(self, before: Tensor, after: Tensor, _labels: Labels) -> Tensor:
        """Kullback-Leibler divergence per pixel, nats; for a foreground also the overlap that is lost."""
        if self.classes > 2:
            logs, wanted = after.log_softmax(dim=1), before.log_softmax(dim=1)
            return nn.functional.kl_div(logs, wanted, reduction="none", log_target=True).sum(dim=1).mean()
        said, wanted = torch.sigmoid(after), torch.sigmoid(before)
        entropy = nn.functional.binary_cross_entropy_with_logits(before, wanted)
        crossed = nn.functional.binary_cross_entropy_with_logits(after, wanted)
        return crossed - entropy + overlap_lost(wanted[:, 0], said[:, 0])

    def answers(self, outputs: Tensor) -> Answers:
        """uint8 [N, H, W] at the size of the original."""
        answers: Answers = torch.cat([self._answer(one) for one in torch.split(outputs, 1)]).numpy()
        return answers

    def _answer(self, outputs: Tensor) -> Tensor:
        """Of one image: at full size, the logits of many would not fit into memory."""
        if self.frame.factor > 1:
            outputs = nn.functional.interpolate(
                outputs, scale_factor=self.frame.factor, mode="bilinear", align_corners=False
            )
        classes = (outputs[:, 0] > 0) if self.classes == 2 else outputs.argmax(dim=1)
        return classes.to(torch.uint8)

    def score(self, answers: Answers, labels: Labels) -> dict[str, float]:
        """IoU over all pixels, and the mean over images of each image's own."""
        truth = self._classes_of(labels)
        answers = answers[:, : truth.shape[1], : truth.shape[2]]
        answers = np.where(truth == VOID, VOID, answers)
        counted = range(1, 2) if self.classes == 2 else range(self.classes)
        present = [one for one in counted if (truth == one).any()]
        by_class = [float(_iou(answers == one, truth == one)) for one in present]
        by_image = _iou_by_image(np.where(truth == VOID, 0, answers), np.where(truth == VOID, 0, truth))
        by_image = by_image[np.isfinite(by_image)]
        said = (answers > 0) & (answers != VOID)
        return {
            self.metric: float(np.mean(by_class)) if by_class else 0.0 if said.any() else nan,
            "IoU by image": float(by_image.mean()) if len(by_image) else nan,
        }

    def skill(self, answers: Answers, labels: Labels) -> float:
        """By IoU, against the same class for every pixel: the most frequent of those that are counted."""
        pixels = np.bincount(self._classes_of(labels)[_known(labels)], minlength=self.classes)
        counted = pixels[1:] if self.classes == 2 else pixels
        blind = counted.max() / max(pixels.sum(), 1) / max(np.count_nonzero(counted), 1)
        score = self.score(answers, labels)[self.metric]
        return float((score - blind) / (1 - blind)) if 0 < blind < 1 else nan

    def change(self, before: Answers, after: Answers, _labels: Labels) -> Change:
        """Overlap of the masks said before and after; two empty masks are the same."""
        values = np.nan_to_num(_iou_by_image(before, after), nan=1.0)
        return Change("mask IoU", "", values, more_is_better=True)

    def _classes_of(self, labels: Labels) -> Answers:
        values = labels.values
        highest = int(values[_known(labels)].max(initial=0))
        if labels.classes and highest >= self.classes:
            name = labels.class_names.get(highest, highest)
            raise DataError(f"a mask holds class {name}; no synthetic one does")
        classes: Answers = (values if labels.classes else values > 0).astype(np.uint8)
        return classes


def _most_frequent(classes: Tensor, factor: int) -> Tensor:
    """uint8 [H, W] → [h, w], over squares of pixels; those at the border may be cut off."""
    present = torch.from_numpy(np.unique(classes.numpy()))
    shares = nn.functional.avg_pool2d(
        (classes == present[:, None, None]).float()[:, None],
        factor,
        ceil_mode=True,
        count_include_pad=False,
    )
    most: Tensor = present[shares[:, 0].argmax(dim=0)]
    return most


def _known(labels: Labels) -> NDArray[np.bool_]:
    """Pixels that have a class; instances all have one."""
    known: NDArray[np.bool_] = labels.values != VOID if labels.classes else labels.values >= 0
    return known


def _iou(one: Answers, other: Answers) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def _iou_by_image(one: Answers, other: Answers) -> Answers:
    """float64 [N]: of the pixels that are no background on either side, the part where both agree; NaN
    where there are none.
    """
    union = ((one > 0) | (other > 0)).sum(axis=(1, 2)).astype(np.float64)
    same = ((one > 0) & (one == other)).sum(axis=(1, 2))
    shares: Answers = np.divide(same, union, out=np.full(len(union), np.nan), where=union > 0)
    return shares
