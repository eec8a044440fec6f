"""Owns the alarms of an evaluation: what its numbers say has gone wrong, one sentence each."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from model.preservation.drift import MIN_STRUCTURE_KEPT
from trainer.alarms import IDENTITY_LEVELS
from trainer.evaluation.layout import CELL_PX
from trainer.evaluation.results import (
    EstimatorChange,
    Preservation,
    Realism,
    Realities,
    Usefulness,
)

SATURATED = 0.98
"""Balanced accuracy from which the judge no longer says how far refined images are from real ones."""
OTHER_CONTENT = 0.65
"""Lower end of that of judges of layout from which the sets differ in what they show."""
SAME_JUDGE = 0.01
"""The judge's accuracy must fall by more than this from start to refined."""
MOST_LOST = 0.05
"""Fraction of the regions that may be lost."""
MOST_MOVED_PX = 0.5
"""Median displacement."""
LEAST_AGREEMENT = 0.9
"""Fraction of the images of a class that an estimator calls the same before and after."""
LEAST_OVERLAP = 0.9
"""Mean of a fraction such as mask IoU, before against after."""
MOST_CHANGE = {"px": 1.0, "deg": 2.0}
"""Median change of what an estimator says, by unit; other units have no limit that holds everywhere."""
LEAST_SKILL = 0.1
"""How much better than without looking an estimator must read synthetic images, where 1 is all right."""
OUTDONE_BY = 0.02
"""How much more a judge of layout may tell than one of pixels, who sees that too; so much is chance."""
CLASSES_NAMED = 6


def alarms_of(
    realities: Realities,
    realism: Realism,
    preservation: Preservation,
    usefulness: Usefulness | None,
    peak: int = 255,
) -> tuple[str, ...]:
    """Sentences about one refiner, gravest first; `peak` is the largest grey level of its images."""
    found = (
        _identity(preservation, peak),
        _erased(preservation),
        _recoloured(preservation),
        _moved(preservation),
        _blind(preservation.estimator),
        _drifting(preservation.estimator),
        _no_gain(usefulness),
        _no_better_than_augmentation(usefulness),
        _no_more_real(realities, realism),
        _saturated(realism),
        _other_content(realism),
        _outdone(realism),
    )
    return tuple(sentence for sentence in found if sentence is not None)


def cannot_read(metric: str, score: float | None, skill: float | None) -> str | None:
    """A sentence about an estimator that learned nothing, by its own score on images that it has not seen.

    None where its `skill` is sound or was not measured.
    """
    if skill is None or skill >= LEAST_SKILL:
        return None
    said = f"is {score:.3f}" if score is not None and math.isfinite(score) else "is not defined"
    return (
        f"the estimator cannot read the synthetic images: {metric} {said} on those that it has not seen, "
        "hardly better than without looking, so that it says the same before and after refinement tells "
        "nothing about labels; look whether they fit the images, label more of them or let it learn longer"
    )


def run_alarms(metrics: Path) -> tuple[str, ...]:
    """What the training run itself raised, from its `metrics.jsonl`; nothing where there is no such file."""
    if not metrics.is_file():
        return ()
    told: list[str] = []
    for text in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
        line = _object(text)
        if "alarm" in line and isinstance(sentence := line.get("sentence"), str):
            told.append(f"while training, {sentence}")
    return tuple(told)


def _object(text: str) -> Mapping[str, object]:
    """A line as an object; empty for the last line of a run that was killed while it wrote."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _identity(kept: Preservation, peak: int) -> str | None:
    change = kept.mean_absolute_change_levels * 255 / peak
    if change >= IDENTITY_LEVELS:
        return None
    return f"the refiner does nothing: it changes grey levels by {change:.2f} of 255 on average"


def _erased(kept: Preservation) -> str | None:
    median = kept.structure_kept.get("median", 1.0)
    if median < MIN_STRUCTURE_KEPT:
        return (
            f"content is being erased: under the {kept.regions_of}, {median:.0%} of the structure is left "
            "(median), so labels no longer show what they say"
        )
    if kept.lost_fraction > MOST_LOST:
        return (
            f"content is being lost: {kept.lost_fraction:.1%} of the {kept.regions_of} moved or faded beyond "
            "what the service lets pass; look at the worst ones below"
        )
    return None


def _recoloured(kept: Preservation) -> str | None:
    lost = kept.colours_lost_fraction
    if lost is None or lost <= MOST_LOST:
        return None
    return (
        f"colours are being lost: in {lost:.1%} of the {kept.regions_of} that have some, they can no longer "
        "be told from others as before; where labels depend on colours, they no longer hold"
    )


def _moved(kept: Preservation) -> str | None:
    median = kept.shift_px.get("median", 0.0)
    if not median > MOST_MOVED_PX:
        return None
    return (
        f"structure moves: by {median:.2f} px under the {kept.regions_of} (median), so labels lie beside it"
    )


def _blind(change: EstimatorChange | None) -> str | None:
    return None if change is None else cannot_read(change.metric, change.score_before, change.skill_before)


def _drifting(change: EstimatorChange | None) -> str | None:
    """By the estimator of synthetic images; one that knows the refined style, too, may acquit the content."""
    if change is None or (sentence := _drift(change)) is None:
        return None
    if change.of_both is None or _drift(change.of_both) is not None:
        return sentence
    return (
        f"{sentence}; one that has also learned from refined images does not see it: it may be the new "
        "style, not the content"
    )


def _drift(change: EstimatorChange) -> str | None:
    low = sorted((share, name) for name, share in change.per_class.items() if share < LEAST_AGREEMENT)
    if low:
        named = ", ".join(f"{name} ({share:.0%})" for share, name in low[:CLASSES_NAMED])
        more = f" and {len(low) - CLASSES_NAMED} more" if len(low) > CLASSES_NAMED else ""
        return (
            f"classes are drifting: after refinement an estimator too rarely says the same for {named}{more}"
        )
    if change.measure.endswith("IoU") and change.mean < LEAST_OVERLAP:
        return f"labels are drifting: {change.measure} before against after is {change.mean:.3f}"
    if change.unit and change.median > MOST_CHANGE.get(change.unit, float("inf")):
        return f"labels are drifting: {change.measure} is {change.median:.2f} {change.unit} (median)"
    return None


def _no_gain(useful: Usefulness | None) -> str | None:
    if useful is None:
        return None
    if useful.gap_closed is not None:
        gap = useful.gap_closed.mean
        if gap > 0:
            return None
        return (
            f"nothing is gained: trained on refined images, {useful.metric} on real ones is no better "
            f"({gap:.2f} of the gap closed)"
        )
    synthetic, refined, real = (useful.primary(arm) for arm in ("synthetic", "refined", "real"))
    if synthetic and real and real.mean <= synthetic.mean:
        return (
            f"there is no gap to close: training on synthetic images gives {useful.metric} "
            f"{synthetic.mean:.3f} on real "
            f"ones, on real labels {real.mean:.3f}"
        )
    if synthetic and refined and refined.mean <= synthetic.mean:
        return (
            f"nothing is gained: {useful.metric} on real images is {refined.mean:.3f} after training on "
            f"refined images and {synthetic.mean:.3f} after synthetic ones"
        )
    return None


def _no_better_than_augmentation(useful: Usefulness | None) -> str | None:
    """Augmentation costs nothing, so it is the rival; the refined images may be augmented, too."""
    if useful is None or (rival := useful.primary("synthetic", "strong")) is None:
        return None
    refined = useful.primary("refined", "strong") or useful.primary("refined")
    if refined is None:
        return None
    numbers = f"{useful.metric} {refined.mean:.3f} against {rival.mean:.3f}"
    if refined.mean <= rival.mean:
        return (
            f"refined is not better than augmentation of the synthetic images ({numbers}): this refiner "
            "is not worth its cost here"
        )
    worst = min(a - b for a, b in zip(refined.values, rival.values, strict=False))
    if worst <= 0:
        return f"that refined is better than augmentation is not certain ({numbers}): not so with every seed"
    return None


def _no_more_real(realities: Realities, realism: Realism) -> str | None:
    start, refined = realities.start.judge.mean, realism.judge.mean
    if (
        start - refined > SAME_JUDGE
        or refined >= SATURATED
        or start - realities.floor.judge.mean <= SAME_JUDGE
    ):
        return None
    return (
        f"refined images look no more real than synthetic ones: the judge tells {refined:.1%} of them, "
        f"before {start:.1%}"
    )


def _saturated(realism: Realism) -> str | None:
    if realism.judge.mean < SATURATED:
        return None
    return (
        f"the judge is saturated: it tells {realism.judge.mean:.1%} of the refined images from real ones, so "
        "it says nothing of how far they are; read KID, patches and spectrum instead"
    )


def _outdone(realism: Realism) -> str | None:
    judge, layout = realism.judge, realism.layout
    if layout is None or layout.mean <= judge.mean + OUTDONE_BY:
        return None
    return (
        f"the judge is too weak here: it tells {judge.mean:.1%}, one that sees only what is lighter or "
        f"darker where tells {layout.mean:.1%}, although all of that is in the pixels; near real images some "
        "of the judges learn nothing, so that the larger number counts"
    )


def _other_content(realism: Realism) -> str | None:
    layout = realism.layout
    if layout is None or layout.low < OTHER_CONTENT:
        return None
    return (
        "what the images show differs: a judge that sees only what is lighter or darker than its "
        f"surroundings, {CELL_PX} px to a cell, tells {layout.mean:.1%} of the refined images from real "
        "ones; haze and specks a refiner can learn in a longer training, but shapes, sizes, places and "
        "clutter, as often as in the real images, are the simulator's to mend"
    )
