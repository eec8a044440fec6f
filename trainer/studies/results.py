"""Owns the results of a study as plain data: its variants, their outcomes, and a table over seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.config import TrainConfig
from trainer.evaluation.html.text import NOTHING, spread
from trainer.evaluation.results import Estimate
from trainer.evaluation.usefulness.statistics import estimate
from trainer.studies.definitions import STEP_COUNTS, Study, Value, changes
from trainer.studies.outcome import MEASURES, Measure, Outcome


@dataclass(frozen=True)
class Results:
    """A study as far as it is."""

    study: Study
    base: TrainConfig
    configs: Mapping[str, TrainConfig]
    """Settings of every variant by its name."""
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    out: Path
    command: str

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.out / "runs"

    def of(self, variant: str) -> tuple[Outcome, ...]:
        """The outcomes of one variant, those that diverged too."""
        return tuple(outcome for outcome in self.outcomes if outcome.variant == variant)

    def changed(self, variant: str) -> dict[str, Value | None]:
        """What a variant changes in the base."""
        return changes(self.configs[variant], self.base)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    detail: str
    """What is changed, or what the row stands for."""
    runs: str
    """How many of the seeds came to their end."""
    cells: tuple[Estimate | None, ...]
    """One for each column."""


@dataclass(frozen=True)
class Table:
    """All measures of all variants, over seeds, between synthetic and real images."""

    columns: tuple[Measure, ...]
    rows: tuple[Row, ...]


def table_of(results: Results) -> Table:
    """Only columns of which something is known; the frame last, from the first outcome that has one."""
    known = {name for outcome in results.outcomes for name in outcome.measures}
    columns = tuple(measure for measure in MEASURES if measure.name in known)
    rows = [_row(results, variant, columns) for variant in results.configs]
    framed = next((outcome for outcome in results.outcomes if outcome.start), None)
    if framed is not None:
        rows.append(_frame_row("synthetic", "not refined", framed.start, columns))
        rows.append(_frame_row("real", "against other real ones", framed.floor, columns))
    return Table(columns, tuple(rows))


def spread_of(outcomes: Sequence[Outcome], measure: str) -> Estimate | None:
    """A measure over the runs that have it; None if none has."""
    values = [outcome.measures[measure] for outcome in outcomes if measure in outcome.measures]
    return estimate(values) if values else None


def shown(cell: Estimate | None, measure: Measure) -> str:
    """One cell: mean ± standard deviation in the unit of its column."""
    return NOTHING if cell is None else spread(cell, measure.unit)


def troubles(results: Results) -> list[tuple[str, str]]:
    """What went wrong, as (variant, sentence): divergence with its seed, an alarm once for all its seeds.

    Alarms are the same when they begin the same, up to the first colon or number; the first seed's is told.
    """
    found = []
    for variant in results.configs:
        outcomes = results.of(variant)
        ends = [(one.seed, one.diverged) for one in outcomes if one.diverged is not None]
        found += [(variant, f"seed {seed} diverged: {sentence}") for seed, sentence in ends]
        raised: dict[str, list[str]] = {}
        for outcome in outcomes:
            for sentence in outcome.alarms:
                raised.setdefault(re.split(r":|\d", sentence)[0], []).append(sentence)
        for sentences in raised.values():
            found.append((variant, f"{len(sentences)} of {len(outcomes)} runs: {sentences[0]}"))
    return found


def said_changes(changed: Mapping[str, Value | None]) -> str:
    """Changed settings in words, without those that only follow `steps`; the base where there is none."""
    said = [f"{name} = {value}" for name, value in changed.items() if name not in STEP_COUNTS]
    return ", ".join(said) or "the base"


def _row(results: Results, variant: str, columns: Sequence[Measure]) -> Row:
    outcomes = results.of(variant)
    diverged = sum(outcome.diverged is not None for outcome in outcomes)
    runs = f"{len(outcomes) - diverged} of {len(results.seeds)}"
    if diverged:
        runs += f", {diverged} diverged"
    cells = tuple(spread_of(outcomes, measure.name) for measure in columns)
    return Row(variant, said_changes(results.changed(variant)), runs, cells)


def _frame_row(name: str, detail: str, measures: Mapping[str, float], columns: Sequence[Measure]) -> Row:
    cells = (measures.get(measure.name) for measure in columns)
    return Row(name, detail, "", tuple(None if cell is None else estimate([cell]) for cell in cells))
