"""Owns the order of an evaluation: every measure of every refiner, and what they share measured once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainer.data import TrainingData
from trainer.errors import DataError
from trainer.evaluation.alarms import alarms_of
from trainer.evaluation.candidate import Candidate
from trainer.evaluation.html.text import counted
from trainer.evaluation.judge import Judging
from trainer.evaluation.pictures import Pictures, Refinements, most_changed, sample, worst_pairs
from trainer.evaluation.preservation import measure_preservation
from trainer.evaluation.progress import Progress, Watch, Work
from trainer.evaluation.realism import FEWEST_IMAGES, RealismSettings, measure_realism, realities
from trainer.evaluation.results import CandidateResult, EstimatorChange, Realities
from trainer.evaluation.usefulness.change import measure_estimator_change
from trainer.evaluation.usefulness.learning import QUICK, Learning
from trainer.evaluation.usefulness.trials import SHARED_ARMS, Trials, plan_trials
from trainer.labels.regions import Regions, whole_images
from trainer.labels.task import Task
from trainer.sampling import stream_seed
from trainer.sources import Images

MOST_BYTES = 1 << 30
"""Of the synthetic images in memory beside their refinements."""
QUICK_IMAGES = 500
QUICK_JUDGING = Judging(updates=100)


@dataclass(frozen=True)
class Plan:
    """How much work an evaluation may be."""

    seeds: int = 3
    images: int = 2000
    """Of each set, for realism and preservation."""
    variants: int = 2
    """Refinements of every synthetic image that estimators learn from, where the refiner takes noise."""
    updates: int | None = None
    """Of every estimator; None: as many as its kind of label takes."""
    quick: bool = False
    """A first look: few images, short training."""


@dataclass(frozen=True)
class Measured:
    """What came out so far."""

    realities: Realities
    candidates: tuple[CandidateResult, ...]
    pictures: Pictures
    settings: Mapping[str, str]
    """What was measured on how much, in words."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What all refiners are measured on."""

    synthetic: Images
    """[N, H, W, C]: what every refiner refines. Whole images with a task, else their central windows."""
    numbers: NDArray[np.int64]
    """[N]: of these images in the whole set."""
    chosen: NDArray[np.int64]
    """Rows of those that realism and preservation look at."""
    regions: Regions
    """Of the chosen images; they are whole images without a task, and where no label has a region."""
    real: Images
    """Central windows."""
    window: tuple[int, int]
    settings: RealismSettings
    realities: Realities
    learning: Learning
    task: Task | None
    trials: Trials | None


def evaluate(
    candidates: Sequence[Candidate], data: TrainingData, task: Task | None, plan: Plan, watch: Watch
) -> Iterator[Measured]:
    """Measure refiners side by side on one pair of sets; DataError where they do not fit the images.

    Gives, after every refiner, all that is known by then: the last is the whole. Realism sees central
    windows of the size `data.window`, all else the whole images.
    """
    for candidate in candidates:
        _check(candidate, data)
    works = frame_works(plan)
    for place in range(len(candidates)):
        works += refiner_works(plan, task, first=place == 0)
    progress = Progress(works, watch)
    ground = prepare(data, task, plan, progress)
    synthetic = _central(ground.synthetic[_samples(ground)], ground.window)
    real = ground.real[sample(len(ground.real), 1)]
    results: tuple[CandidateResult, ...] = ()
    shown: tuple[Refinements, ...] = ()
    for candidate in candidates:
        result, refinements = measure(candidate, ground, progress)
        results, shown = (*results, result), (*shown, refinements)
        yield Measured(ground.realities, results, Pictures(synthetic, real, shown), _words(ground, data))


def _check(candidate: Candidate, data: TrainingData) -> None:
    if (candidate.channels, candidate.bit_depth) != (data.channels, data.bit_depth):
        raise DataError(
            f"{candidate.name} refines {candidate.channels} x {candidate.bit_depth} bits, the images have "
            f"{data.channels} x {data.bit_depth}"
        )


def _learning(plan: Plan) -> Learning:
    if plan.quick:
        quick = replace(QUICK, seeds=min(plan.seeds, QUICK.seeds))
        return quick if plan.updates is None else replace(quick, updates=plan.updates)
    return Learning(plan.seeds, plan.updates, variants=plan.variants)


def _realism_settings(plan: Plan, images: int) -> RealismSettings:
    return RealismSettings(images, judging=QUICK_JUDGING) if plan.quick else RealismSettings(images)


def frame_works(plan: Plan) -> list[Work]:
    """The pieces of work of `prepare`: the judges of floor and start."""
    return 2 * _judges(plan)


def refiner_works(plan: Plan, task: Task | None, *, first: bool) -> list[Work]:
    """Those of `measure`; with the first refiner come the estimators that all share."""
    works: list[Work] = ["refining", *_judges(plan), "preservation"]
    if task is None:
        return works
    works += ["estimator", "estimator"]
    if task.test is None:
        return works
    arms = [arm for arm, _ in plan_trials(task) if first or arm not in SHARED_ARMS]
    trials: list[Work] = ["estimator"] * (len(arms) * _learning(plan).seeds)
    return [*works, "variants", *trials]


def _judges(plan: Plan) -> list[Work]:
    return ["judge"] * _realism_settings(plan, plan.images).judging.folds


def prepare(data: TrainingData, task: Task | None, plan: Plan, progress: Progress) -> Ground:
    """What every refiner is measured on, with floor and start; DataError where there is too little of it."""
    if min(len(data.synthetic), len(data.real) // 2) < FEWEST_IMAGES:
        raise DataError(
            f"an evaluation needs {FEWEST_IMAGES} synthetic and {2 * FEWEST_IMAGES} real images, there are "
            f"{len(data.synthetic)} and {len(data.real)}"
        )
    learning = _learning(plan)
    most = min(plan.images, QUICK_IMAGES) if plan.quick else plan.images
    fitting = max(_fitting(data.synthetic), FEWEST_IMAGES)
    count = min(len(data.synthetic), len(data.real) // 2, most, fitting)
    refined = count if task is None else max(count, min(learning.most_images, fitting))
    numbers = _choose(np.arange(len(data.synthetic)), refined)
    chosen = _choose(np.arange(len(numbers)), count)
    synthetic = data.synthetic[numbers] if task else _central(data.synthetic[numbers], data.window)
    real = _central(data.real, data.window)
    height, width = synthetic.shape[1:3]
    regions = whole_images(count, height, width)
    if task is not None and len(labelled := _of(task.regions, numbers[chosen])):
        regions = labelled
    settings = _realism_settings(plan, count)
    frame = realities(_central(synthetic[chosen], data.window), real, settings, progress)
    trials = Trials(task, data.synthetic, learning) if task and task.test else None
    return Ground(
        synthetic, numbers, chosen, regions, real, data.window, settings, frame, learning, task, trials
    )


def measure(candidate: Candidate, ground: Ground, progress: Progress) -> tuple[CandidateResult, Refinements]:
    """Every measure of one refiner of the same channels and depth, and its pictures."""
    progress.turn_to(candidate.name)
    progress.begin("refining", f"refining {counted(len(ground.synthetic))} images")
    refined = candidate.refine(ground.synthetic, 0)
    before, after = ground.synthetic[ground.chosen], refined[ground.chosen]
    realism = measure_realism(_central(after, ground.window), ground.real, ground.settings, progress)
    progress.begin("preservation", "preservation")
    kept = measure_preservation(before, after, ground.regions)
    numbers = ground.numbers[ground.chosen].tolist()
    shown = Refinements(
        _central(refined[_samples(ground)], ground.window),
        worst_pairs(before, after, kept.worst, numbers),
        most_changed(before, after, numbers),
    )
    worst = tuple(replace(region, image=numbers[region.image]) for region in kept.worst)
    kept = replace(kept, worst=worst, estimator=_estimator_change(ground, refined, progress))
    usefulness = ground.trials.measure(candidate.refine, progress) if ground.trials else None
    peak = int(np.iinfo(before.dtype).max)
    alarms = alarms_of(ground.realities, realism, kept, usefulness, peak)
    return CandidateResult(candidate.name, realism, kept, usefulness, (*alarms, *candidate.alarms)), shown


def _estimator_change(ground: Ground, refined: Images, progress: Progress) -> EstimatorChange | None:
    if ground.task is None:
        return None
    return measure_estimator_change(
        ground.task.labels.of(ground.numbers),
        ground.synthetic,
        refined,
        ground.learning,
        survives_moves=ground.task.survives_moves,
        progress=progress,
    )


def _samples(ground: Ground) -> NDArray[np.int64]:
    """Rows of the images that the page shows."""
    return ground.chosen[sample(len(ground.chosen), 0)]


def _choose(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` rows, always the same ones, in their order."""
    rng = np.random.default_rng(stream_seed(0, "judge", 2))
    return np.sort(rng.permutation(rows)[:count])


def _fitting(images: Images) -> int:
    """How many of them may be in memory at once."""
    return MOST_BYTES // max(int(images[0].nbytes), 1)


def _of(regions: Regions, chosen: NDArray[np.int64]) -> Regions:
    """The regions of the chosen images, which are numbered anew."""
    rows = np.flatnonzero(np.isin(regions.images, chosen))
    return Regions(regions.of, regions.boxes[rows], np.searchsorted(chosen, regions.images[rows]))


def _central(images: Images, window: tuple[int, int]) -> Images:
    top, left = ((size - part) // 2 for size, part in zip(images.shape[1:3], window, strict=True))
    return images[:, top : top + window[0], left : left + window[1]]


def _words(ground: Ground, data: TrainingData) -> dict[str, str]:
    """What was measured on how much."""
    height, width = ground.window
    settings, learning, task = ground.settings, ground.learning, ground.task
    used = {
        "realism": f"{counted(ground.realities.images)} images of each set, {height} x {width} px, out of "
        f"{counted(len(data.synthetic))} synthetic and {counted(len(data.real))} real ones; judges: "
        f"{settings.judging.folds} folds, {settings.judging.updates} updates each",
        "preservation": f"{counted(len(ground.regions))} {ground.regions.of} in "
        f"{counted(len(ground.chosen))} images",
    }
    if task is not None and task.test is None:
        used["usefulness"] = "not measured: the task has no labelled real images to test on"
    if task is not None and task.test is not None:
        updates = f"{learning.updates} updates" if learning.updates else "as many updates as the labels need"
        trained = min(int(task.labels.answers.sum()), learning.most_images)
        used["usefulness"] = (
            f"{counted(trained)} images to train on, {counted(len(task.test.images))} real ones to test on; "
            f"{learning.seeds} seed{'s' * (learning.seeds > 1)}, {updates}, "
            f"{learning.variants} refinements of each where they differ"
        )
    if settings.judging == QUICK_JUDGING:
        used["quick"] = "a first look with few images and short training; not for the record"
    return used
