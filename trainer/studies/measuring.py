"""Owns how the runs of a study are measured: as `evaluate --quick` does, all against one frame."""

from functools import cached_property
from pathlib import Path

from trainer.config import TrainConfig
from trainer.console import Console
from trainer.evaluating import read_images_of, read_task
from trainer.evaluation.candidate import load_candidate
from trainer.evaluation.evaluate import Ground, Plan, frame_works, measure, prepare, refiner_works
from trainer.evaluation.progress import Piece, Progress
from trainer.evaluation.results import CandidateResult, Realities

QUICK = Plan(seeds=2, images=500, quick=True)
"""Enough to tell variants apart; several seeds of each variant say how sure that is."""


class Measuring:
    """The images and labels of one study; opened, and its frame measured, when the first run is."""

    def __init__(
        self, config: TrainConfig, task: Path | None, cache: Path, console: Console, plan: Plan = QUICK
    ) -> None:
        """`config` says which images; those too many for memory lie in `cache`."""
        self._first = True
        self._config, self._task, self._cache, self._console, self._plan = config, task, cache, console, plan
        effort = f"at most {plan.images} images of each set, {plan.seeds} seeds{', quick' * plan.quick}"
        self.said = f"{effort}, {'no task' if task is None else f'task {task}'}"
        """In words: what outcomes must share to be compared."""

    def measure(self, run: Path) -> CandidateResult:
        """Everything about the newest refiner of a run."""
        candidate, ground = load_candidate(run, self._console.say), self._ground
        works = refiner_works(self._plan, ground.task, first=self._first)
        self._first = False
        return measure(candidate, ground, Progress(works, self._say))[0]

    @property
    def frame(self) -> Realities:
        """Floor and start."""
        return self._ground.realities

    @property
    def peak(self) -> int:
        """The largest grey level of the images."""
        return 255 if self._ground.real.dtype.itemsize == 1 else 65_535

    @cached_property
    def _ground(self) -> Ground:
        data = read_images_of(self._config, self._cache, self._console)
        task = read_task(self._task, self._config, data)
        return prepare(data, task, self._plan, Progress(frame_works(self._plan), self._say))

    def _say(self, piece: Piece) -> None:
        self._console.say(str(piece))
