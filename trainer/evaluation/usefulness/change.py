"""Owns what refinement changed, by the word of an estimator that learned the synthetic labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.errors import DataError
from trainer.evaluation.progress import Progress
from trainer.evaluation.results import EstimatorChange
from trainer.evaluation.usefulness.estimation import Answers, Change, Estimation
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.harmless import seen_otherwise
from trainer.evaluation.usefulness.kinds import estimation_for
from trainer.evaluation.usefulness.learning import Learning
from trainer.evaluation.usefulness.training import Pool, ask, train
from trainer.labels.labels import Labels
from trainer.sampling import stream_seed
from trainer.sources import Images

FEWEST_IMAGES = 16
SEED = 0


def measure_estimator_change(
    labels: Labels,
    synthetic: Images,
    refined: Images,
    learning: Learning,
    *,
    survives_moves: bool = False,
    progress: Progress | None = None,
) -> EstimatorChange:
    """What an estimator says about synthetic images [N, H, W, C] before and after refinement.

    It learns from half of the synthetic images and is asked about the other half. It is strongly augmented
    (light, blur, noise, occlusion), so that a change of style alone moves its answers little; what is
    left may still be its own trouble with the style, and an upper bound on the change of content. The
    second number, `of_both`, comes from an estimator that has also learned from the first half refined:
    it knows the style, and where it too changes its mind, the content changed. But it may learn a
    systematic change of content as if it were style, so neither number replaces the other. The third,
    `of_harmless`, is what the first estimator says of the synthetic images seen otherwise, which no label
    minds: nobody can ask for less change than that.

    Classes that are no answer are learned here as well: an erased object must be able to look like one.
    DataError where there is too little to learn from.
    """
    assert len(labels) == len(synthetic) == len(refined), (len(labels), len(synthetic), len(refined))
    progress = progress or Progress()
    counts = labels.answers
    labels = replace(labels, leave_out=())
    learnt, asked = _halves(labels, learning.most_images)
    frame = Frame.of(synthetic, learning.most_side)
    # Both halves say which classes there are: a rare one may be in the second half only.
    every = labels.of(np.concatenate([learnt, asked]))
    estimation = estimation_for(every, frame, survives_moves=survives_moves)
    views = [(frame.take(images[learnt]), frame.take(images[asked])) for images in (synthetic, refined)]
    harmless = frame.take(seen_otherwise(synthetic[asked], SEED))
    targets = estimation.targets(labels.of(learnt))

    def changed(name: str, pools: Sequence[Tensor]) -> EstimatorChange:
        progress.begin("estimator", f"preservation, estimator trained on {name}")
        pool = Pool(torch.cat(list(pools)), torch.cat([targets] * len(pools)), _all_rows(pools))
        before, after, otherwise = _asked(estimation, pool, [views[0][1], views[1][1], harmless], learning)
        result, of_harmless = (
            summarise(estimation, before, answers, labels.of(asked), counts[asked])
            for answers in (after, otherwise)
        )
        progress.found(f"{result.measure}, mean {result.mean:.4f}")
        return replace(result, of_harmless=of_harmless)

    alone = changed("synthetic images", [views[0][0]])
    return replace(alone, of_both=changed("synthetic and refined images", [views[0][0], views[1][0]]))


def summarise(
    estimation: Estimation, before: Answers, after: Answers, truth: Labels, counts: NDArray[np.bool_]
) -> EstimatorChange:
    """Two sets of answers about N images, and their labels; `counts` [N]: which are an answer of the task."""
    change = estimation.change(before, after, truth)
    values = change.values[counts]
    worst = 5 if change.more_is_better else 95
    known = truth.of(counts)
    scores = [next(iter(estimation.score(said[counts], known).values())) for said in (before, after)]
    return EstimatorChange(
        change.measure,
        change.unit,
        median=float(np.median(values)),
        mean=float(values.mean()),
        p95_worst=float(np.percentile(values, worst)),
        per_class=_by_class(change, truth),
        score_before=scores[0],
        score_after=scores[1],
        metric=estimation.metric,
        skill_before=estimation.skill(before[counts], known),
    )


def _by_class(change: Change, truth: Labels) -> dict[str, float]:
    if truth.kind != "classification":
        return {}
    return {
        truth.class_names.get(int(one), str(one)): float(change.values[truth.values == one].mean())
        for one in np.unique(truth.values)
    }


def _asked(estimation: Estimation, pool: Pool, views: Sequence[Tensor], learning: Learning) -> list[Answers]:
    device = torch.device(learning.device)
    updates = learning.updates or estimation.updates
    network = train(estimation, pool, SEED, augmentation="strong", updates=updates, device=device)
    return [ask(estimation, network, view, device) for view in views]


def _all_rows(pools: Sequence[Tensor]) -> NDArray[np.int64]:
    return np.arange(sum(map(len, pools)))


def _halves(labels: Labels, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which images are learnt from, and which are asked about, at most `most` in all."""
    if (showing := int(labels.showing.sum())) < FEWEST_IMAGES:
        raise DataError(
            f"an estimator needs {FEWEST_IMAGES} images whose labels show something, not {showing}"
        )
    rows = np.flatnonzero(labels.answers).astype(np.int64)
    chosen = np.random.default_rng(stream_seed(SEED, "usefulness/halves")).permutation(rows)[:most]
    return np.sort(chosen[: len(chosen) // 2]), np.sort(chosen[len(chosen) // 2 :])
