"""Owns the evaluation of a refiner: the judge between floor and start, and the preservation numbers."""

from dataclasses import dataclass

import numpy as np

from trainer.data import TrainingData
from trainer.errors import DataError
from trainer.evaluation.candidate import Candidate
from trainer.evaluation.judge import Judging, Verdict, halves, judge
from trainer.evaluation.preservation import Preservation, measure_preservation
from trainer.sampling import stream_seed
from trainer.sources import Images

FEWEST_IMAGES = 8


@dataclass(frozen=True)
class Evaluation:
    """What came out, for one refiner on one pair of sets."""

    candidate: str
    floor: Verdict
    """Real against real: what a judge scores where there is nothing to find."""
    start: Verdict
    """Synthetic against real: before refinement."""
    refined: Verdict
    """Refined against real."""
    preservation: Preservation


def evaluate(
    candidate: Candidate, data: TrainingData, seeds: int, judging: Judging | None = None
) -> Evaluation:
    """Judge a refiner with `seeds` fresh judges; all three verdicts see as many images."""
    judging = judging or Judging()
    _check(candidate, data)
    synthetic, real = _window(data.synthetic, data), _window(data.real, data)
    count = min(len(synthetic), len(real) // 2, judging.most_images)
    synthetic = _some(synthetic, count)
    refined = candidate.refine(synthetic, 0)
    one, other = halves(real, 0)
    return Evaluation(
        candidate.name,
        floor=judge(one[:count], other[:count], range(seeds), judging),
        start=judge(synthetic, one[:count], range(seeds), judging),
        refined=judge(refined, one[:count], range(seeds), judging),
        preservation=measure_preservation(synthetic, refined),
    )


def _check(candidate: Candidate, data: TrainingData) -> None:
    if (candidate.channels, candidate.bit_depth) != (data.channels, data.bit_depth):
        raise DataError(
            f"{candidate.name} refines {candidate.channels} x {candidate.bit_depth} bits, the images have "
            f"{data.channels} x {data.bit_depth}"
        )
    if min(len(data.synthetic), len(data.real) // 2) < FEWEST_IMAGES:
        raise DataError(
            f"an evaluation needs {FEWEST_IMAGES} synthetic and {2 * FEWEST_IMAGES} real images, there are "
            f"{len(data.synthetic)} and {len(data.real)}"
        )


def _window(images: Images, data: TrainingData) -> Images:
    top, left = ((size - part) // 2 for size, part in zip(images.shape[1:3], data.window, strict=True))
    return images[:, top : top + data.window[0], left : left + data.window[1]]


def _some(images: Images, count: int) -> Images:
    chosen = np.random.default_rng(stream_seed(0, "judge", 2)).permutation(len(images))[:count]
    return images[np.sort(chosen)]
