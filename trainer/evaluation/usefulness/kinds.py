"""Owns which estimation belongs to which kind of label."""

from trainer.evaluation.usefulness.boxes import Boxes
from trainer.evaluation.usefulness.classification import Classification
from trainer.evaluation.usefulness.estimation import Estimation
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.keypoints import Keypoints
from trainer.evaluation.usefulness.regression import Regression
from trainer.evaluation.usefulness.segmentation import Segmentation
from trainer.labels.labels import Labels
from trainer.labels.task import Rank


def estimation_for(
    labels: Labels, frame: Frame, *, survives_moves: bool = False, rank: Rank | None = None
) -> Estimation:
    """The estimation that learns from these labels; DataError where there is nothing to learn."""
    match labels.kind:
        case "classification":
            return Classification.of(frame, labels)
        case "segmentation":
            return Segmentation.of(frame, labels)
        case "boxes":
            return Boxes.of(frame, labels)
        case "keypoints":
            return Keypoints.of(frame, labels)
        case "regression":
            return Regression.of(frame, labels, survives_moves=survives_moves, rank=rank)
