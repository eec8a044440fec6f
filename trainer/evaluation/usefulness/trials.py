"""Owns the trials of usefulness: estimators trained on every arm and tested on the same real images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import hypot

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.errors import DataError
from trainer.evaluation.html.text import counted
from trainer.evaluation.progress import Progress
from trainer.evaluation.results import AUGMENTATIONS, Arm, Augmentation, Estimate, Score, Usefulness
from trainer.evaluation.usefulness.estimation import Answers, Estimation
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.kinds import estimation_for
from trainer.evaluation.usefulness.learning import Learning
from trainer.evaluation.usefulness.statistics import estimate
from trainer.evaluation.usefulness.training import Pool, ask, train
from trainer.labels.labels import Labels
from trainer.labels.task import LabelledImages, Rank, Task
from trainer.samples import fitting_at_once
from trainer.sampling import stream_seed
from trainer.sources import Images

Refine = Callable[[Images, int], Images]
"""Grey levels [N, H, W, C] and the seed of the first image's noise → refined grey levels."""
MOST_PIXELS_AT_ONCE = 1 << 28
"""Of the synthetic images beside their refinements."""
SHARED_ARMS: tuple[Arm, ...] = ("synthetic", "real")
"""What is trained without any refined image."""
SMALLEST_GAP = 0.005
"""Between real-supervised and synthetic, in the primary metric; below it, there is nothing to close."""


class Trials:
    """All arms of one task. What does not depend on the refiner is trained once and kept."""

    def __init__(self, task: Task, synthetic: Images, learning: Learning) -> None:
        """For a task with test images; `synthetic` are its own images, grey levels [N, H, W, C].

        DataError where labels, images and test images do not belong together.
        """
        assert task.test is not None
        test = task.test
        _check(task, test, synthetic)
        self._learning = learning
        self._device = torch.device(learning.device)
        rows = _sample(task.labels, learning.most_images)
        self._synthetic, self._rows = synthetic, rows
        labels = task.labels.of(rows)
        self._frame = Frame.of(synthetic, learning.most_side)
        self._estimation = estimation_for(
            labels, self._frame, survives_moves=task.survives_moves, rank=test.rank
        )
        self._targets = self._estimation.targets(labels)
        self._estimation.targets(test.labels)  # before hours of training: do its classes exist?
        self._task, self._test = task, test
        self._test_images = self._frame.take(test.images)
        self._real = None if task.upper_bound is None else self._upper_bound(task.upper_bound)
        self._known: dict[tuple[Arm, Augmentation], tuple[dict[str, float], ...]] = {}

    def measure(self, refine: Refine, progress: Progress | None = None) -> Usefulness:
        """Train and test every arm with every augmentation and seed; `progress` is told of each."""
        progress = progress or Progress()
        progress.begin("variants", f"usefulness, refining {counted(len(self._rows))} images to learn from")
        variants = self._refined(refine)
        arms: dict[Arm, tuple[Estimation, Pool]] = {"synthetic": (self._estimation, self._pool([], plain=1))}
        arms["refined"] = (self._estimation, self._pool(variants, plain=0))
        arms["both"] = (self._estimation, self._pool(variants, plain=len(variants)))
        if self._real is not None:
            arms["real"] = self._real
        results = {
            (arm, augmentation): self._results(arm, *arms[arm], augmentation, progress)
            for arm, augmentation in plan_trials(self._task)
        }
        metric = self._estimation.metric
        primary = {
            key: tuple(next(iter(scores.values())) for scores in seeds) for key, seeds in results.items()
        }
        return Usefulness(
            self._task.kind,
            metric,
            len(self._test_images),
            tuple(_score(*key, seeds) for key, seeds in results.items()),
            *(
                gap_closed({arm: values for (arm, own), values in primary.items() if own == augmentation})
                for augmentation in AUGMENTATIONS
            ),
        )

    def _results(
        self, arm: Arm, estimation: Estimation, pool: Pool, augmentation: Augmentation, progress: Progress
    ) -> tuple[dict[str, float], ...]:
        if (arm, augmentation) in self._known:
            return self._known[arm, augmentation]
        results, shared = [], arm in SHARED_ARMS
        for seed in range(self._learning.seeds):
            words = ("usefulness", arm, AUGMENTATIONS[augmentation], f"seed {seed}")
            what = ", ".join(word for word in words if word)
            progress.begin("estimator", what, of_all=shared)
            scores = self._result(estimation, pool, seed, augmentation)
            name, value = next(iter(scores.items()))
            progress.found(f"{name} {value:.4f}")
            results.append(scores)
        if shared:
            self._known[arm, augmentation] = tuple(results)
        return tuple(results)

    def _result(
        self, estimation: Estimation, pool: Pool, seed: int, augmentation: Augmentation
    ) -> dict[str, float]:
        updates = self._learning.updates or estimation.updates
        network = train(
            estimation, pool, seed, augmentation=augmentation, updates=updates, device=self._device
        )
        answers = ask(estimation, network, self._test_images, self._device)
        return score_by_group(estimation, answers, self._test)

    def _refined(self, refine: Refine) -> list[Tensor]:
        """One set per variant; only one where the refiner takes no noise."""
        variants = [self._taken(refine, 0)]
        for variant in range(1, self._learning.variants):
            first_seed = variant * len(self._rows)
            probe = self._frame.take(refine(self._synthetic[self._rows[:1]], first_seed))
            if torch.equal(probe, variants[0][:1]):
                break
            variants.append(self._taken(refine, first_seed))
        return variants

    def _taken(self, refine: Refine, first_seed: int) -> Tensor:
        """The images refined and taken into the frame, part by part: the set may be larger than memory."""
        at_once = fitting_at_once(self._synthetic, len(self._rows), MOST_PIXELS_AT_ONCE)
        parts = [
            self._frame.take(refine(self._synthetic[self._rows[start : start + at_once]], first_seed + start))
            for start in range(0, len(self._rows), at_once)
        ]
        return torch.cat(parts)

    def _pool(self, variants: Sequence[Tensor], plain: int) -> Pool:
        """Refined variants, and the synthetic images as often as `plain` says."""
        parts = [*variants, self._taken(_unrefined, 0)] if plain else list(variants)
        count = len(self._rows)
        last = np.arange(count) + len(variants) * count
        draws = np.concatenate([np.arange(len(variants) * count), np.tile(last, plain)])
        return Pool(torch.cat(parts), torch.cat([self._targets] * len(parts)), draws)

    def _upper_bound(self, real: LabelledImages) -> tuple[Estimation, Pool]:
        task, estimation = self._task, self._estimation
        if task.kind == "regression":  # its own mean and spread: it may be an ordinal
            # Who has learned the ordinal itself answers with it: no column to choose, no sign to turn.
            rank = Rank(column=0, sign=1) if real.rank is not None else self._test.rank
            estimation = estimation_for(
                real.labels, self._frame, survives_moves=task.survives_moves, rank=rank
            )
        pool = Pool(
            self._frame.take(real.images), estimation.targets(real.labels), np.arange(len(real.images))
        )
        return estimation, pool


def score_by_group(estimation: Estimation, answers: Answers, test: LabelledImages) -> dict[str, float]:
    """Metrics on the test images; with groups, each group's, averaged.

    A group in which a metric is not defined (a rank correlation where the ordinal never changes, a precision
    where there is no object) says nothing about it.
    """
    if test.groups is None:
        return {name: _mean_of_known([one]) for name, one in estimation.score(answers, test.labels).items()}
    scores = [
        estimation.score(answers[test.groups == group], test.labels.of(test.groups == group))
        for group in np.unique(test.groups)
    ]
    return {name: _mean_of_known([one[name] for one in scores]) for name in scores[0]}


def _unrefined(images: Images, _seed: int) -> Images:
    return images


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else 0.0


def plan_trials(task: Task) -> list[tuple[Arm, Augmentation]]:
    """Every arm and augmentation in the order in which they are tried.

    Moves alone are not tried where labels cannot follow one, and not on both kinds of images together.
    """
    own: tuple[Arm, ...] = ("synthetic", "refined", "both")
    arms = own if task.upper_bound is None else (*own, "real")
    return [
        (arm, augmentation)
        for augmentation in AUGMENTATIONS
        for arm in arms
        if augmentation != "moves" or (task.survives_moves and arm != "both")
    ]


def gap_closed(primary: dict[Arm, tuple[float, ...]]) -> Estimate | None:
    """(refined - synthetic) / (real - synthetic), a value per seed; None where there is no gap.

    Each seed's gain is divided by the mean gap of all seeds: a ratio of two noisy differences would have
    no mean. The 95 % interval holds what the seeds say of that gap, too (a first-order ratio).
    """
    if "real" not in primary:
        return None
    gap = float(np.mean(primary["real"]) - np.mean(primary["synthetic"]))
    if gap < SMALLEST_GAP:
        return None
    pairs = zip(primary["refined"], primary["synthetic"], strict=True)
    closed = estimate([(refined - synthetic) / gap for refined, synthetic in pairs])
    of_gap = estimate([real - one for real, one in zip(primary["real"], primary["synthetic"], strict=True)])
    of_ratio = (of_gap.high - of_gap.low) / 2 / gap * closed.mean
    half = hypot((closed.high - closed.low) / 2, of_ratio)
    return replace(closed, low=closed.mean - half, high=closed.mean + half)


def _score(arm: Arm, augmentation: Augmentation, seeds: Sequence[dict[str, float]]) -> Score:
    primary, *others = (estimate([scores[name] for scores in seeds]) for name in seeds[0])
    return Score(arm, augmentation, primary, dict(zip(list(seeds[0])[1:], others, strict=True)))


def _sample(labels: Labels, most: int) -> NDArray[np.int64]:
    """Images that have an answer, at most so many, in their order."""
    rows = np.flatnonzero(labels.answers).astype(np.int64)
    rng = np.random.default_rng(stream_seed(0, "usefulness/images"))
    return np.sort(rng.permutation(rows)[:most])


def _check(task: Task, test: LabelledImages, synthetic: Images) -> None:
    if len(synthetic) != len(task.labels):
        raise DataError(f"there are labels of {len(task.labels)} images, but {len(synthetic)} images")
    for role, real in (("test", test), ("upper bound", task.upper_bound)):
        if real is None:
            continue
        if (real.images.shape[3], real.images.dtype) != (synthetic.shape[3], synthetic.dtype):
            raise DataError(
                f"the {role} images have {real.images.shape[3]} channels of {real.images.dtype}, the "
                f"synthetic ones {synthetic.shape[3]} of {synthetic.dtype}"
            )
