"""Owns how the runs of a study are measured: all on the same images, the frame only once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.errors import DataError
from trainer.evaluation.alarms import alarms_of
from trainer.evaluation.candidate import Candidate
from trainer.evaluation.judge import Judging
from trainer.evaluation.preservation import measure_preservation
from trainer.evaluation.realism import FEWEST_IMAGES, RealismSettings, measure_realism, realities
from trainer.evaluation.results import CandidateResult, EstimatorChange, Realities
from trainer.evaluation.usefulness.change import measure_estimator_change
from trainer.evaluation.usefulness.learning import QUICK as QUICK_LEARNING
from trainer.evaluation.usefulness.learning import Learning
from trainer.evaluation.usefulness.trials import Trials
from trainer.labels.regions import Regions
from trainer.labels.task import Task, load_task
from trainer.sampling import stream_seed
from trainer.sources import Images, Reading


@dataclass(frozen=True)
class Effort:
    """How much is compared: enough to tell variants apart, a fraction of what `evaluate` does."""

    realism: RealismSettings = field(
        default_factory=lambda: RealismSettings(images=1000, judging=Judging(folds=2, updates=200))
    )
    learning: Learning = QUICK_LEARNING

    def said(self, task: Path | None) -> str:
        """In words: what outcomes must share to be compared."""
        judging = self.realism.judging
        words = f"{self.realism.images} images, {judging.folds} judges of {judging.updates} updates"
        if task is None:
            return words
        learning = self.learning
        return f"{words}; {task}: {learning.seeds} estimators of {learning.updates or 'enough'} updates"


class Measuring:
    """The images and labels of one study, and what does not depend on a run."""

    def __init__(
        self,
        data: TrainingData,
        task: Task | None,
        effort: Effort,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        """`task` labels `data.synthetic`; DataError when there are too few images to compare."""
        if min(len(data.synthetic), len(data.real) // 2) < FEWEST_IMAGES:
            raise DataError(
                f"a study needs {FEWEST_IMAGES} synthetic and {2 * FEWEST_IMAGES} real images, there are "
                f"{len(data.synthetic)} and {len(data.real)}"
            )
        self._data, self._task, self._effort, self._report = data, task, effort, report
        rng = np.random.default_rng(stream_seed(0, "realism/images", 3))
        self._rows = np.sort(rng.permutation(len(data.synthetic))[: effort.realism.images])
        self._synthetic = data.synthetic[self._rows]

    @property
    def peak(self) -> int:
        """The largest grey level of the images."""
        return self._data.peak

    @cached_property
    def frame(self) -> Realities:
        """Floor and start."""
        self._report("measuring the floor and the start")
        return realities(self._window(self._synthetic), self._window(self._data.real), self._effort.realism)

    @cached_property
    def _trials(self) -> Trials:
        assert self._task is not None
        return Trials(self._task, self._data.synthetic, self._effort.learning, self._report)

    def measure(self, candidate: Candidate) -> CandidateResult:
        """Everything about one refiner."""
        self._report(f"measuring {candidate.name}")
        refined = candidate.refine(self._synthetic, 0)
        realism = measure_realism(self._window(refined), self._window(self._data.real), self._effort.realism)
        kept = measure_preservation(self._synthetic, refined, self._regions())
        kept = replace(kept, estimator=self._estimator_change(refined))
        usefulness = None if self._task is None else self._trials.measure(candidate.refine)
        alarms = alarms_of(self.frame, realism, kept, usefulness, self.peak)
        return CandidateResult(candidate.name, realism, kept, usefulness, (*alarms, *candidate.alarms))

    def _estimator_change(self, refined: Images) -> EstimatorChange | None:
        if self._task is None:
            return None
        return measure_estimator_change(
            self._task.labels.of(self._rows),
            self._synthetic,
            refined,
            self._effort.learning,
            survives_moves=self._task.survives_moves,
            report=self._report,
        )

    def _regions(self) -> Regions | None:
        """Those of the compared images, whose numbers count from 0."""
        if self._task is None:
            return None
        regions = self._task.regions
        here = np.isin(regions.images, self._rows)
        images = np.searchsorted(self._rows, regions.images[here]).astype(np.int64)
        return Regions(regions.of, regions.boxes[here], images)

    def _window(self, images: Images) -> Images:
        """The middle of the images, as large as what the networks saw: both sets in one size."""
        height, width = self._data.window
        top, left = (
            (size - part) // 2 for size, part in zip(images.shape[1:3], (height, width), strict=True)
        )
        return images[:, top : top + height, left : left + width]


def read_task(file: Path | None, config: TrainConfig, data: TrainingData) -> Task | None:
    """The task of a study, its images read as those of training; DataError when it labels other images."""
    if file is None:
        return None
    reading = Reading(config.resize, config.crop, data.channels, data.bit_depth)
    task = load_task(file, config.synthetic, reading)
    if len(task.labels) != len(data.synthetic):
        raise DataError(f"{file} labels {len(task.labels)} synthetic images, there are {len(data.synthetic)}")
    return task
