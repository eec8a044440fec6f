"""Owns the section on preservation: histograms, the worst regions, the images that changed most."""

from collections.abc import Sequence

from model.preservation.drift import MAX_SHIFT_PX, MIN_LEAST_KEPT, MIN_STRUCTURE_KEPT
from trainer.evaluation.html.charts import Mark, histogram_chart, swatch
from trainer.evaluation.html.overview import headline, look
from trainer.evaluation.html.pictures import Inline
from trainer.evaluation.html.realism import chart
from trainer.evaluation.html.text import counted, escape, metric_unit, number
from trainer.evaluation.pictures import Pair, Pictures, Refinements
from trainer.evaluation.results import CandidateResult, EstimatorChange, Preservation, Report

MANY_PAIRS, FEW_PAIRS = 12, 6
"""Of the worst regions of a refiner, alone on the page and beside others; half as many whole images."""


def preservation(report: Report, pictures: Pictures, inline: Inline) -> str:
    """The whole section."""
    several = len(report.candidates) > 1
    most = FEW_PAIRS if several else MANY_PAIRS
    parts = [
        (_heading(index, candidate.name) if several else "")
        + _candidate(index, candidate, shown, inline, most)
        for index, (candidate, shown) in enumerate(zip(report.candidates, pictures.candidates, strict=True))
    ]
    return (
        "<section><h2>Are the labels still true?</h2><p class='how'>Under every annotation: how far the "
        "structure moved, and how much of it is left. Exposure and contrast do not count, only shape does. "
        f"A region counts as lost when it moved by more than {MAX_SHIFT_PX:.0f} px, or less than "
        f"{number(MIN_STRUCTURE_KEPT, '%')} is left, or less than {number(MIN_LEAST_KEPT, '%')} where "
        f"most was lost.</p>{''.join(parts)}</section>"
    )


def _heading(index: int, name: str) -> str:
    return f"<h3 class='candidate'>{swatch(look(index))}{escape(name)}</h3>"


def _candidate(index: int, candidate: CandidateResult, shown: Refinements, inline: Inline, most: int) -> str:
    kept = candidate.preservation
    return (
        f"<p>{_sentence(kept)}</p><div class='charts'>{_histograms(kept, look(index), candidate.name)}</div>"
        + (_estimator(kept.estimator) if kept.estimator else "")
        + _gallery("Worst regions", "those that lost most, worst first", shown.worst[:most], inline)
        + _gallery(
            "Changed most",
            "whole images, by mean change of grey level",
            shown.most_changed[: most // 2],
            inline,
        )
    )


def _sentence(kept: Preservation) -> str:
    unmeasured = f"; {counted(kept.unmeasured)} more had no structure to measure" if kept.unmeasured else ""
    return (
        f"{counted(kept.measured)} {escape(kept.regions_of)} measured{unmeasured}. Half of them moved less "
        f"than {number(kept.shift_px.get('median'), 'px')}, at most "
        f"{number(kept.shift_px.get('max'), 'px')}; {number(kept.lost_fraction, '%')} are lost. Grey levels "
        f"changed by {number(kept.mean_absolute_change_levels)} on average; edges before and after correlate "
        f"by {number(kept.gradient_correlation)}."
    )


def _histograms(kept: Preservation, colour: str, name: str) -> str:
    drawn = ""
    if kept.shift_histogram:
        mark = Mark("limit", MAX_SHIFT_PX, "limit")
        title = f"Displacement, {name}"
        drawn += chart("Moved", "px", histogram_chart(title, kept.shift_histogram, colour, "px moved", mark))
    if kept.kept_histogram:
        mark = Mark("limit", MIN_STRUCTURE_KEPT, "limit")
        title = f"Structure left, {name}"
        drawn += chart(
            "Left",
            "1 is all of it",
            histogram_chart(title, kept.kept_histogram, colour, "structure left", mark),
        )
    return drawn


def _estimator(change: EstimatorChange) -> str:
    unit = change.unit or metric_unit(change.measure)
    said = (
        "<p>An estimator that learned from the synthetic labels looks at the same images before and after: "
        f"{escape(change.measure)} <b>{headline(change)}</b>"
    )
    if not change.per_class:
        mean, median = number(change.mean, unit), number(change.median, unit)
        worst_case = number(change.p95_worst, unit)
        said += f" (mean {mean}, median {median}, 95 % of the images do better than {worst_case})"
    said += f"{_knowing_the_style(change)}.{_unsteady(change)}</p>"
    if not change.per_class:
        return said
    worst = sorted(change.per_class.items(), key=lambda item: item[1])
    cells = "".join(
        f"<li><span class='class'>{escape(name)}</span><span class='meter'><i "
        f"style='width:{100 * share:.1f}%'></i></span>"
        f"<span>{number(share, '%')}</span></li>"
        for name, share in worst
    )
    return f"{said}<h4>The same class before and after, by class</h4><ul class='classes'>{cells}</ul>"


def _knowing_the_style(change: EstimatorChange) -> str:
    """A style that an estimator never saw may mislead it although the content is the same."""
    if change.of_both is None:
        return ""
    return (
        "; one that has also learned from refined images, and so knows their style: "
        f"<b>{headline(change.of_both)}</b>"
    )


def _unsteady(change: EstimatorChange) -> str:
    """What to hold the number against: nobody can ask for more than an estimator's own steadiness."""
    if change.of_harmless is None:
        return ""
    return (
        " Other light, a blur of 0.7 px and grain of 4 levels instead of refinement, which no label minds, "
        f"give <b>{headline(change.of_harmless)}</b>: so unsteady is the estimator itself."
    )


def _gallery(title: str, meaning: str, pairs: Sequence[Pair], inline: Inline) -> str:
    if not pairs:
        return ""
    drawn = "".join(inline.pair(pair) for pair in pairs)
    group = f"class='gallery' tabindex='0' role='group' aria-label='{title}'"
    return f"<h4>{title} <small>{meaning}</small></h4><div {group}>{drawn}</div>"
