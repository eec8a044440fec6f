"""Owns the top of the page: what was compared, what has gone wrong, and the headline numbers."""

from collections.abc import Callable

from trainer.evaluation.html.charts import swatch
from trainer.evaluation.html.text import (
    NOTHING,
    counted,
    escape,
    gap,
    interval,
    metric_unit,
    number,
)
from trainer.evaluation.results import AUGMENTATIONS, CandidateResult, EstimatorChange, Report

LOOKS = 6
NEEDS_TASK = "not measured: needs labels (--task)"
NEEDS_REAL = "not measured: needs real labels to train on ([upper_bound] of the task)"

Say = Callable[[CandidateResult], tuple[str, str]]
"""The number and the line under it."""


def look(index: int) -> str:
    """The class of a refiner's colour and marker."""
    return f"c{index % LOOKS}"


def header(report: Report) -> str:
    """Title, refiners and sets."""
    names = [candidate.name for candidate in report.candidates]
    title = names[0] if len(names) == 1 else f"{len(names)} refiners side by side"
    listed = "".join(f"<li>{swatch(look(index))}{escape(name)}</li>" for index, name in enumerate(names))
    refiners = f"<ul class='refiners'>{listed}</ul>" if len(names) > 1 else ""
    return (
        f"<header><p class='brand'>Simtrue evaluation</p><h1>{escape(title)}</h1>{refiners}"
        f"<dl class='sets'><dt>synthetic</dt><dd>{escape(report.synthetic)}</dd>"
        f"<dt>real</dt><dd>{escape(report.real)}</dd></dl></header>"
    )


def alarms(report: Report) -> str:
    """What has gone wrong, in words; or that nothing did."""
    told = [(index, candidate) for index, candidate in enumerate(report.candidates) if candidate.alarms]
    if not told:
        return "<p class='calm'>No alarm: nothing that was measured here speaks against refinement.</p>"
    parts = []
    for index, candidate in told:
        name = f"{swatch(look(index))}<b>{escape(candidate.name)}</b>" if len(report.candidates) > 1 else ""
        items = "".join(f"<li>{escape(_capital(sentence))}</li>" for sentence in candidate.alarms)
        parts.append(f"{name}<ul>{items}</ul>")
    return f"<aside class='alarms' aria-label='Alarms'><h2>Read this first</h2>{''.join(parts)}</aside>"


def cards(report: Report) -> str:
    """Five headline numbers, each with a line for every refiner."""
    start, floor = report.realities.start.judge, report.realities.floor.judge
    frame = f"synthetic {number(start.mean, '%')}, real {number(floor.mean, '%')}"
    parts = [
        _card("Judge", f"tells refined from real; {frame}", report, _judge),
        _card("Structure moved", "under the annotations, median", report, _shift),
        _card("Structure left", "under the annotations, median", report, _kept),
        _card("Labels kept", "what an estimator says, before against after", report, _labels),
        _card("Gap closed", "from synthetic (0) to real labels (1)", report, _gap),
    ]
    return f"<div class='cards'>{''.join(parts)}</div>"


def headline(change: EstimatorChange) -> str:
    """The one number of an estimator's change: the mean of fractions, the median of distances."""
    if change.unit:
        return number(change.median, change.unit)
    return number(change.mean, metric_unit(change.measure))


def own_score(change: EstimatorChange, *, refined: bool = False) -> str:
    """What an estimator itself reads right of synthetic images, or of `refined` ones."""
    return number(change.score_after if refined else change.score_before, metric_unit(change.metric))


def _card(title: str, meaning: str, report: Report, say: Say) -> str:
    several = len(report.candidates) > 1
    lines = []
    for index, candidate in enumerate(report.candidates):
        value, detail = say(candidate)
        mark = swatch(look(index)) if several else ""
        missing = " missing" if value == NOTHING else ""
        lines.append(
            f"<p class='big{missing}'>{mark}{escape(value)}</p><p class='detail'>{escape(detail)}</p>"
        )
    head = f"<h3>{title}</h3><p class='meaning'>{escape(meaning)}</p>"
    return f"<article class='card{' many' if several else ''}'>{head}{''.join(lines)}</article>"


def _judge(candidate: CandidateResult) -> tuple[str, str]:
    judge = candidate.realism.judge
    return number(judge.mean, "%"), interval(judge, "%")


def _shift(candidate: CandidateResult) -> tuple[str, str]:
    shift = candidate.preservation.shift_px
    return number(shift.get("median"), "px"), f"95\u202f% moved less than {number(shift.get('p95'), 'px')}"


def _kept(candidate: CandidateResult) -> tuple[str, str]:
    kept = candidate.preservation
    lost = f"{number(kept.lost_fraction, '%')} of {counted(kept.measured)} {kept.regions_of} lost"
    return number(kept.structure_kept.get("median"), "%"), lost


def _labels(candidate: CandidateResult) -> tuple[str, str]:
    change = candidate.preservation.estimator
    if change is None:
        return NOTHING, NEEDS_TASK
    known = f"; it reads synthetic images with {change.metric} {own_score(change)}" if change.metric else ""
    if change.per_class:
        worst = min(change.per_class, key=lambda name: change.per_class[name])
        least = f"least {number(change.per_class[worst], '%')}, of {worst}"
        return headline(change), f"{change.measure}; {least}{known}"
    better = f"95\u202f% better than {number(change.p95_worst, change.unit)}"
    return headline(change), f"{change.measure}; {better}{known}"


def _gap(candidate: CandidateResult) -> tuple[str, str]:
    useful = candidate.usefulness
    if useful is None:
        return NOTHING, NEEDS_TASK
    if useful.gap_closed is None:
        real = any(score.arm == "real" for score in useful.scores)
        return NOTHING, "there is no gap to close" if real else NEEDS_REAL
    seeds = len(useful.gap_closed.values)
    others = [(AUGMENTATIONS[one], closed) for one, closed in useful.gaps.items() if one != "none"]
    told = "".join(f"; all {name} {gap(closed)}" for name, closed in others if closed is not None)
    return gap(useful.gap_closed), f"{seeds} seed{'s' * (seeds > 1)}{told}"


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}"
